// Submissions, gone on with where their stream broke.

#include <openssl/rand.h>

#include <array>
#include <fstream>
#include <istream>
#include <optional>
#include <utility>

#include "core.h"
#include "polybatch/v1/batches.grpc.pb.h"
#include "polybatch/v1/files.grpc.pb.h"
#include "sha256.h"

namespace polybatch::internal {

namespace {

using v1::BatchService;
using v1::FileService;

constexpr std::int64_t kChunkBytes = 1024 * 1024;  // the most that a message may hold

Error bad_source(const std::string& reason, const std::string& message) {
  return own_error(grpc::StatusCode::INVALID_ARGUMENT, reason, message);
}

// The requests: bytes that can be read again from any position.
class Source {
 public:
  // `describe`: what it is called in errors.
  Source(std::istream& stream, std::string describe)
      : stream_(stream), describe_(std::move(describe)), base_(stream.tellg()) {
    stream_.seekg(0, std::ios::end);
    size_ = stream_.tellg() - base_;
    stream_.seekg(base_);
    if (!stream_ || base_ < 0) throw unreadable("it must be able to seek");
  }

  [[nodiscard]] std::int64_t size() const { return size_; }

  void go_to(std::int64_t offset) {
    stream_.clear();
    stream_.seekg(base_ + offset);
    if (!stream_) throw unreadable("seeking in it failed");
  }

  // Fills the chunk with what comes next, up to its limit; false at the end.
  bool read(std::string& chunk) {
    chunk.resize(kChunkBytes);
    stream_.read(chunk.data(), kChunkBytes);
    chunk.resize(static_cast<std::size_t>(stream_.gcount()));
    if (stream_.bad()) throw unreadable("reading it failed");
    return !chunk.empty();
  }

  [[nodiscard]] Error changed() const {
    return bad_source("SOURCE_CHANGED",
                      describe_ + " was changed during the upload; submit it again");
  }

 private:
  [[nodiscard]] Error unreadable(const std::string& why) const {
    return bad_source("SOURCE_UNREADABLE", describe_ + " cannot be read: " + why);
  }

  std::istream& stream_;
  std::string describe_;
  std::int64_t base_;
  std::int64_t size_ = 0;
};

std::string random_id() {
  std::array<unsigned char, 18> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    throw own_error(grpc::StatusCode::INTERNAL, "", "OpenSSL has no random bytes");
  Sha256 digest;
  digest.update({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return digest.hex();
}

// The same as of the Python client, which so goes on with an upload of this one and this with one
// of that. Of all the content: what other content has committed is not gone on with.
std::string upload_id_of(Source& source, const SubmitOptions& options,
                         const std::stop_token& stop) {
  Sha256 content, id;
  std::int64_t read = 0;
  for (std::string chunk; !stop.stop_requested() && source.read(chunk);) {
    content.update(chunk);
    read += static_cast<std::int64_t>(chunk.size());
  }
  if (!stop.stop_requested() && read != source.size()) throw source.changed();
  id.update(options.batch.request_id());
  for (const std::string& part : {content.hex(), options.default_provider, options.default_model}) {
    id.update(std::string_view("\0", 1));
    id.update(part);
  }
  return id.hex();
}

class Submission {
 public:
  Submission(Core& core, Source& source, const SubmitOptions& options, std::stop_token stop)
      : core_(core),
        source_(source),
        options_(options),
        stop_(std::move(stop)),
        upload_id_(options.batch.request_id().empty() ? random_id()
                                                      : upload_id_of(source, options, stop_)) {}

  v1::Batch run() {
    Attempts attempts(core_, stop_);
    for (std::int64_t offset = ask_committed();;) {
      try {
        v1::Batch batch = send_from(offset);
        if (!options_.batch.request_id().empty()) delete_copy(batch.input_file_id());
        return batch;
      } catch (const Error& error) {
        attempts.pause(error, [&] { return ask_committed() > offset; });
      }
      const std::int64_t committed = ask_committed();
      if (committed > offset) attempts.progress();
      offset = committed;
    }
  }

 private:
  std::optional<v1::UploadStatus> ask() {
    v1::GetUploadStatusRequest request;
    request.set_upload_id(upload_id_);
    try {
      return call<FileService>(core_, core_.gateway, stop_, &FileService::Stub::GetUploadStatus,
                               request);
    } catch (const Error& error) {
      if (error.code() == grpc::StatusCode::NOT_FOUND) return std::nullopt;
      throw;
    }
  }

  std::int64_t ask_committed() {
    const auto status = ask();
    if (!status) return 0;
    const std::int64_t committed = status->committed_size();
    if (committed > source_.size() || (status->complete() && committed != source_.size()))
      throw source_.changed();
    return committed;
  }

  v1::Batch send_from(std::int64_t offset) {
    const Replicas::Turn turn = core_.gateway.turn();
    const auto stub = BatchService::NewStub(turn.channel());
    CallContext calling(core_, stop_);
    v1::Batch batch;
    const auto writer = stub->SubmitBatch(&calling.context, &batch);
    try {
      send(*writer, offset);
    } catch (...) {
      calling.context.TryCancel();
      writer->Finish();
      throw;
    }
    turn.take_in(writer->Finish());
    return batch;
  }

  // Ends early where the service has already replied, which it may at any time.
  void send(grpc::ClientWriter<v1::SubmitBatchRequest>& writer, std::int64_t offset) {
    v1::SubmitBatchRequest message;
    v1::UploadSpec& upload = *message.mutable_spec()->mutable_upload();
    upload.set_filename(options_.filename);
    upload.set_upload_id(upload_id_);
    upload.set_write_offset(offset);
    upload.set_default_provider(options_.default_provider);
    upload.set_default_model(options_.default_model);
    *message.mutable_spec()->mutable_batch() = options_.batch;
    source_.go_to(offset);
    if (!writer.Write(message)) return;
    std::int64_t sent = offset;
    // One message at a time: the file is never in memory.
    while (source_.read(*message.mutable_chunk())) {
      sent += static_cast<std::int64_t>(message.chunk().size());
      if (!writer.Write(message)) return;
      if (options_.on_progress) options_.on_progress(sent, source_.size());
    }
    // Without `finish` nothing is made of what was sent.
    if (sent != source_.size()) throw source_.changed();
    message.set_finish(true);
    writer.WriteLast(message, grpc::WriteOptions());
  }

  // What was uploaded for a batch that was there already, made of another upload.
  void delete_copy(const std::string& read_by_batch) {
    const auto status = ask();
    if (!status || status->file_id().empty() || status->file_id() == read_by_batch) return;
    v1::DeleteFileRequest request;
    request.set_file_id(status->file_id());
    try {
      call<FileService>(core_, core_.gateway, stop_, &FileService::Stub::DeleteFile, request);
    } catch (const Error& error) {
      // An attempt whose reply was lost has deleted it.
      if (error.code() != grpc::StatusCode::NOT_FOUND) throw;
    }
  }

  Core& core_;
  Source& source_;
  const SubmitOptions& options_;
  std::stop_token stop_;
  std::string upload_id_;
};

}  // namespace

v1::Batch submit_file(Core& core, const std::filesystem::path& requests,
                      const SubmitOptions& options, const std::stop_token& stop) {
  std::error_code ignored;
  std::ifstream file(requests, std::ios::binary);
  // A folder can be opened, but not read.
  if (!file || std::filesystem::is_directory(requests, ignored))
    throw bad_source("SOURCE_UNREADABLE", "the file " + requests.string() +
                                              " cannot be read; check its name and permissions");
  SubmitOptions named = options;
  if (named.filename.empty()) named.filename = requests.filename().string();
  Source source(file, "the file " + requests.string());
  return Submission(core, source, named, stop).run();
}

v1::Batch submit_stream(Core& core, std::istream& requests, const SubmitOptions& options,
                        const std::stop_token& stop) {
  Source source(requests, "the stream of requests");
  return Submission(core, source, options, stop).run();
}

}  // namespace polybatch::internal
