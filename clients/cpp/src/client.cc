#include <polybatch/client.h>

#include <utility>

#include "connection.h"
#include "core.h"
#include "polybatch/v1/batches.grpc.pb.h"
#include "polybatch/v1/files.grpc.pb.h"

namespace polybatch {

using internal::call;
using v1::BatchService;
using v1::FileService;

bool ended(const v1::Batch& batch) {
  switch (batch.state()) {
    case v1::BATCH_STATE_COMPLETED:
    case v1::BATCH_STATE_FAILED:
    case v1::BATCH_STATE_EXPIRED:
    case v1::BATCH_STATE_CANCELLED: return true;
    default: return false;
  }
}

Client::Client(const ClientOptions& options)
    : core_(std::make_shared<internal::Core>(
          internal::resolve(options, internal::process_environment), options.on_retry)) {}

v1::Batch Client::submit(const std::filesystem::path& requests, const SubmitOptions& options,
                         std::stop_token stop) const {
  return internal::submit_file(*core_, requests, options, stop);
}

v1::Batch Client::submit(std::istream& requests, const SubmitOptions& options,
                         std::stop_token stop) const {
  return internal::submit_stream(*core_, requests, options, stop);
}

v1::Batch Client::get(const std::string& batch_id, std::stop_token stop) const {
  v1::GetBatchRequest request;
  request.set_batch_id(batch_id);
  return call<BatchService>(*core_, core_->gateway, stop, &BatchService::Stub::GetBatch, request);
}

v1::Batch Client::cancel(const std::string& batch_id, std::stop_token stop) const {
  v1::CancelBatchRequest request;
  request.set_batch_id(batch_id);
  return call<BatchService>(*core_, core_->gateway, stop, &BatchService::Stub::CancelBatch,
                            request);
}

void Client::delete_file(const std::string& file_id, std::stop_token stop) const {
  v1::DeleteFileRequest request;
  request.set_file_id(file_id);
  call<FileService>(*core_, core_->gateway, stop, &FileService::Stub::DeleteFile, request);
}

Stream<v1::Batch> Client::watch(std::string batch_id, std::stop_token stop) const {
  return internal::watch_batch(core_, std::move(batch_id), std::move(stop));
}

v1::Batch Client::wait(const std::string& batch_id, std::stop_token stop) const {
  v1::Batch last;
  for (v1::Batch& batch : watch(batch_id, std::move(stop))) last = std::move(batch);
  return last;
}

Stream<std::string> Client::results(std::string batch_id, v1::ResultFilter filter,
                                    std::stop_token stop) const {
  return internal::result_lines(core_, std::move(batch_id), filter, std::move(stop));
}

v1::Manifest Client::download(const std::string& batch_id, const std::filesystem::path& target,
                              std::stop_token stop) const {
  return internal::download_results(core_, batch_id, target, std::move(stop));
}

}  // namespace polybatch
