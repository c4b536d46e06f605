#include "retry.h"

#include <algorithm>
#include <random>
#include <utility>

namespace polybatch::internal {

namespace {

using namespace std::chrono_literals;

constexpr milliseconds kFirstWait = 200ms;
constexpr milliseconds kLongestWait = 5s;
constexpr int kMostDoublings = 10;
// Every call may be repeated safely, but some failures rarely pass by themselves.
constexpr int kUnclearLimit = 3;

double random_share() {
  thread_local std::mt19937 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

}  // namespace

Backoff::Backoff(milliseconds give_up_after)
    : Backoff(give_up_after, std::chrono::steady_clock::now, random_share) {}

Backoff::Backoff(milliseconds give_up_after, Clock clock, Jitter jitter)
    : give_up_after_(give_up_after), clock_(std::move(clock)), jitter_(std::move(jitter)) {}

void Backoff::progress() { failures_ = unclear_failures_ = 0; }

std::optional<milliseconds> Backoff::wait_before_retry(const Error& error) {
  const auto now = clock_();
  if (failures_++ == 0) first_failure_ = now;
  waited_ = std::chrono::duration_cast<milliseconds>(now - first_failure_);
  timed_out_ = false;
  if (!passes(error)) return std::nullopt;
  const milliseconds asked = error.retry_after().value_or(0ms);
  const milliseconds left = give_up_after_ - waited_;
  if (left <= 0ms || asked > left) {
    timed_out_ = true;
    return std::nullopt;
  }
  // The replica is being stopped, in order: there is another one, or soon will be.
  if (error.reason() == "SERVER_STOPPING" && failures_ == 1) return 0ms;
  const auto ceiling =
      std::min(kLongestWait, kFirstWait * (1 << std::min(failures_ - 1, kMostDoublings)));
  const milliseconds wait{
      static_cast<milliseconds::rep>(static_cast<double>(ceiling.count()) * (0.5 + jitter_() / 2))};
  // The last attempt comes when the time is over, not before.
  return std::min(std::max(wait, asked), left);
}

bool Backoff::passes(const Error& error) {
  // Of codes that pass, yet only what somebody does ends them.
  if (error.reason() == "STORED_BYTES_LIMIT" || error.reason() == "WEBHOOKS_LIMIT" ||
      error.reason() == "TLS_FAILED")
    return false;
  // Another stream of the same upload was there, and took back what it had committed.
  if (error.reason() == "WRITE_OFFSET_MISMATCH") return ++unclear_failures_ <= kUnclearLimit;
  switch (error.code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED: return true;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return error.retry_after().has_value();
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN: return ++unclear_failures_ <= kUnclearLimit;
    case grpc::StatusCode::DATA_LOSS:
      // One of the client's own, of what came, would be the same again.
      return error.reason() == error.code_name() && ++unclear_failures_ <= kUnclearLimit;
    default: return false;
  }
}

}  // namespace polybatch::internal
