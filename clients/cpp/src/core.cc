#include "core.h"

#include <condition_variable>
#include <mutex>
#include <sstream>
#include <utility>

namespace polybatch::internal {

namespace {

Replicas::Open opener(const std::vector<std::string>& addresses,
                      const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  const bool several = addresses.size() > 1;
  return [=](const std::string& address) {
    return open_channel(address, several || may_be_several(address), credentials);
  };
}

// False where the stop token has cut it short.
bool sleep(milliseconds time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any nothing;
  std::unique_lock lock(mutex);
  nothing.wait_for(lock, stop, time, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace

Core::Core(const Connection& connection, RetryObserver observer)
    : Core(connection, std::move(observer), credentials(connection)) {}

Core::Core(const Connection& connection, RetryObserver observer,
           const std::shared_ptr<grpc::ChannelCredentials>& credentials)
    : gateway("gateway", connection.gateway, opener(connection.gateway, credentials)),
      collector("collector", connection.collector, opener(connection.collector, credentials)),
      authorization("Bearer " + connection.api_key),
      wait(connection.wait),
      on_retry(std::move(observer)) {}

Attempts::Attempts(const Core& core, std::stop_token stop)
    : core_(core), stop_(std::move(stop)), backoff_(core.wait) {}

void Attempts::pause(const Error& error, const std::function<bool()>& got_through) {
  const auto stopped = [] {
    return own_error(grpc::StatusCode::CANCELLED, "STOPPED", "stopped as the caller asked for");
  };
  if (stop_.stop_requested()) throw stopped();
  auto wait = backoff_.wait_before_retry(error);
  if (!wait && backoff_.timed_out() && got_through && got_through()) {
    progress();
    wait = backoff_.wait_before_retry(error);
  }
  if (!wait) {
    if (!backoff_.timed_out() || backoff_.waited().count() == 0) throw error;
    std::ostringstream message;
    message << error.what() << "; waited "
            << std::chrono::duration<double>(backoff_.waited()).count() << " s";
    throw Error(message.str(), error.details());
  }
  if (core_.on_retry) core_.on_retry(error, *wait);
  if (!sleep(*wait, stop_)) throw stopped();
}

CallContext::CallContext(const Core& core, const std::stop_token& stop)
    : on_stop_(stop, [this] { context.TryCancel(); }) {
  context.AddMetadata("authorization", core.authorization);
}

}  // namespace polybatch::internal
