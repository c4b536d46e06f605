#include "download.h"

#include <utility>

namespace polybatch::internal {

Download::Download(std::shared_ptr<Core> core, std::string batch_id, v1::ResultFilter filter,
                   std::stop_token stop)
    : core_(std::move(core)), stop_(std::move(stop)), attempts_(*core_, stop_) {
  request_.set_batch_id(std::move(batch_id));
  request_.set_filter(filter);
}

bool Download::next(std::string& chunk) {
  while (!done_) {
    try {
      if (!replies_) open();
      if (read(chunk)) return true;
      done_ = true;
    } catch (const Error& error) {
      replies_.reset();
      attempts_.pause(error);
    }
  }
  return false;
}

void Download::open() {
  // Of two revisions nothing can be put together.
  request_.set_results_revision(request_.offset() > 0 ? header_->results_revision() : 0);
  replies_.emplace(*core_, core_->collector, stop_,
                   [&](const std::shared_ptr<grpc::Channel>& channel, auto* context) {
                     return v1::ResultService::NewStub(channel)->DownloadResults(context, request_);
                   });
}

bool Download::read(std::string& chunk) {
  for (v1::DownloadResultsResponse reply; replies_->read(reply);) {
    if (reply.has_header()) {
      header_ = std::move(*reply.mutable_header());
      continue;
    }
    if (!header_)
      throw own_error(grpc::StatusCode::DATA_LOSS, "HEADER_MISSING",
                      "the results came without a header; download them again");
    if (reply.chunk().empty()) continue;
    // A header alone is none: a server that always breaks after it is given up.
    attempts_.progress();
    chunk = std::move(*reply.mutable_chunk());
    request_.set_offset(request_.offset() + static_cast<std::int64_t>(chunk.size()));
    digest_.update(chunk);
    return true;
  }
  if (!header_ || request_.offset() != header_->total_bytes())
    throw ended_early("the download", replies_->place());
  check_digest();
  return false;
}

void Download::check_digest() {
  // The manifest's is of all lines.
  if (request_.filter() != v1::RESULT_FILTER_UNSPECIFIED) return;
  const std::string found = digest_.hex(), expected = header_->manifest().results_sha256();
  if (found != expected)
    throw own_error(grpc::StatusCode::DATA_LOSS, "DIGEST_MISMATCH",
                    "what came is not what the manifest names: its SHA-256 is " + found + ", not " +
                        expected + "; download it again");
}

}  // namespace polybatch::internal
