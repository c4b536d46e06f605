// Watches that outlive broken connections.

#include <optional>
#include <utility>

#include "core.h"
#include "polybatch/v1/status.grpc.pb.h"

namespace polybatch::internal {

namespace {

// The first one may be that of a service that is stopping.
constexpr int kEndsOfUnknownState = 2;

// Whether only the service can tell if the batch has ended.
bool unknown(v1::BatchState state) {
  return !v1::BatchState_IsValid(state) || state == v1::BATCH_STATE_UNSPECIFIED;
}

class Watch : public Stream<v1::Batch>::Source {
 public:
  Watch(std::shared_ptr<Core> core, std::string batch_id, std::stop_token stop)
      : core_(std::move(core)), stop_(std::move(stop)), attempts_(*core_, stop_) {
    request_.set_batch_id(std::move(batch_id));
  }

  bool next(v1::Batch& batch) override {
    if (ended_) return false;
    for (;;) {
      try {
        if (!replies_) open();
        for (v1::WatchBatchResponse reply; replies_->read(reply);) {
          attempts_.progress();
          // A sign of life holds no batch; an old revision is a replica's lag.
          if (!reply.has_batch() || reply.batch().revision() <= request_.last_revision()) continue;
          batch = std::move(*reply.mutable_batch());
          request_.set_last_revision(batch.revision());
          ended_ = ended(batch);
          unknown_ = unknown(batch.state());
          ends_ = 0;
          if (ended_) replies_.reset();
          return true;
        }
        if (!unknown_) throw ended_early("the watch", replies_->place());
        replies_.reset();
        ended_ = ++ends_ == kEndsOfUnknownState;
        if (ended_) return false;
      } catch (const Error& error) {
        replies_.reset();
        attempts_.pause(error);
      }
    }
  }

 private:
  void open() {
    replies_.emplace(*core_, core_->collector, stop_,
                     [&](const std::shared_ptr<grpc::Channel>& channel, auto* context) {
                       return v1::StatusService::NewStub(channel)->WatchBatch(context, request_);
                     });
  }

  std::shared_ptr<Core> core_;
  std::stop_token stop_;
  Attempts attempts_;
  // With the last revision seen.
  v1::WatchBatchRequest request_;
  std::optional<Replies<v1::WatchBatchResponse>> replies_;
  bool ended_ = false;
  // Of the last snapshot: its state is of a later version than this client.
  bool unknown_ = false;
  // Streams that ended with OK since then.
  int ends_ = 0;
};

}  // namespace

Stream<v1::Batch> watch_batch(std::shared_ptr<Core> core, std::string batch_id,
                              std::stop_token stop) {
  return Stream<v1::Batch>(
      std::make_unique<Watch>(std::move(core), std::move(batch_id), std::move(stop)));
}

}  // namespace polybatch::internal
