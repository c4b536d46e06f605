// What the operations share: the servers, the key, and how calls are tried again.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>
#include <polybatch/client.h>

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "connection.h"
#include "replicas.h"
#include "retry.h"

namespace polybatch::internal {

class Core {
 public:
  using RetryObserver = std::function<void(const Error&, milliseconds)>;

  Core(const Connection& connection, RetryObserver on_retry);

  Replicas gateway;
  Replicas collector;
  const std::string authorization;
  const milliseconds wait;
  const RetryObserver on_retry;

 private:
  Core(const Connection& connection, RetryObserver on_retry,
       const std::shared_ptr<grpc::ChannelCredentials>& credentials);
};

// The attempts of one operation.
class Attempts {
 public:
  Attempts(const Core& core, std::stop_token stop);

  // Something got through: waits start over.
  void progress() { backoff_.progress(); }
  // Waits before the next attempt; throws the error where none makes sense, and STOPPED where the
  // stop token asks for it. `got_through` is asked before it gives up for lack of time, where
  // progress is not known otherwise.
  void pause(const Error& error, const std::function<bool()>& got_through = {});

 private:
  const Core& core_;
  std::stop_token stop_;
  Backoff backoff_;
};

// What every call has: the key, and its end when the stop token asks for it.
class CallContext {
 public:
  CallContext(const Core& core, const std::stop_token& stop);
  grpc::ClientContext context;

 private:
  std::stop_callback<std::function<void()>> on_stop_;
};

// Makes a call with one reply, again while its failure is one that passes.
template <class Service, class Request, class Reply>
Reply call(const Core& core, Replicas& server, const std::stop_token& stop,
           grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
           const Request& request) {
  constexpr std::chrono::minutes kTimeout{1};
  Attempts attempts(core, stop);
  for (;;) {
    const Replicas::Turn turn = server.turn();
    const auto stub = Service::NewStub(turn.channel());
    CallContext calling(core, stop);
    calling.context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    Reply reply;
    try {
      turn.take_in((stub.get()->*method)(&calling.context, request, &reply));
      return reply;
    } catch (const Error& error) {
      attempts.pause(error);
    }
  }
}

// An open call of many replies; destroying it ends it.
template <class Reply>
class Replies {
 public:
  // `open` is given a replica's channel and the context.
  template <class Open>
  Replies(const Core& core, Replicas& server, const std::stop_token& stop, Open open)
      : turn_(server.turn()),
        calling_(core, stop),
        reader_(open(turn_.channel(), &calling_.context)) {}
  Replies(const Replies&) = delete;
  Replies& operator=(const Replies&) = delete;
  ~Replies() {
    if (finished_) return;
    calling_.context.TryCancel();
    reader_->Finish();
  }

  // Waits for the next one. False after the last one of a call that ended with OK; else throws.
  bool read(Reply& reply) {
    if (reader_->Read(&reply)) return true;
    finished_ = true;
    turn_.take_in(reader_->Finish());
    return false;
  }

  [[nodiscard]] Place place() const { return turn_.place(); }

 private:
  Replicas::Turn turn_;
  CallContext calling_;
  std::unique_ptr<grpc::ClientReader<Reply>> reader_;
  bool finished_ = false;
};

// The operations, each in a file of its own.

v1::Batch submit_file(Core& core, const std::filesystem::path& requests,
                      const SubmitOptions& options, const std::stop_token& stop);
v1::Batch submit_stream(Core& core, std::istream& requests, const SubmitOptions& options,
                        const std::stop_token& stop);
Stream<v1::Batch> watch_batch(std::shared_ptr<Core> core, std::string batch_id,
                              std::stop_token stop);
Stream<std::string> result_lines(std::shared_ptr<Core> core, std::string batch_id,
                                 v1::ResultFilter filter, std::stop_token stop);
v1::Manifest download_results(std::shared_ptr<Core> core, const std::string& batch_id,
                              const std::filesystem::path& target, std::stop_token stop);

}  // namespace polybatch::internal
