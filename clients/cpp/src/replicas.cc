#include "replicas.h"

#include <algorithm>
#include <random>
#include <utility>

namespace polybatch::internal {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kFirstRest = 1s;
constexpr std::chrono::seconds kLongestRest = 10s;
constexpr int kMostDoublings = 10;

}  // namespace

Replicas::Replicas(std::string name, const std::vector<std::string>& addresses, const Open& open)
    // Many clients make one call each: not all of them at the same replica.
    : name_(std::move(name)), next_(std::random_device{}() % addresses.size()) {
  for (const std::string& address : addresses) {
    Replica replica;
    replica.address = address;
    replica.channel = open(address);
    replicas_.push_back(std::move(replica));
  }
}

Replicas::Turn Replicas::turn() {
  const std::lock_guard lock(mutex_);
  const Time now = std::chrono::steady_clock::now();
  std::size_t chosen = next_;
  for (std::size_t step = 1; step < replicas_.size(); ++step) {
    const std::size_t other = (next_ + step) % replicas_.size();
    if (std::max(replicas_[other].rests_until, now) < std::max(replicas_[chosen].rests_until, now))
      chosen = other;
  }
  next_ = (chosen + 1) % replicas_.size();
  return {*this, chosen};
}

void Replicas::note(std::size_t index, bool away) {
  const std::lock_guard lock(mutex_);
  Replica& replica = replicas_[index];
  const Time now = std::chrono::steady_clock::now();
  if (!away) {
    replica.failures = 0;
    replica.rests_until = {};
  } else if (replica.rests_until <= now) {
    // Calls that were under way together fail together: that is one failure.
    const auto rest =
        std::min(kLongestRest, kFirstRest * (1 << std::min(replica.failures, kMostDoublings)));
    ++replica.failures;
    replica.rests_until = now + rest;
  }
}

// Addresses and channels never change, so they need no lock.
std::shared_ptr<grpc::Channel> Replicas::Turn::channel() const {
  return replicas_->replicas_[index_].channel;
}

Place Replicas::Turn::place() const {
  return {replicas_->name_, replicas_->replicas_[index_].address};
}

void Replicas::Turn::take_in(const grpc::Status& status) const {
  replicas_->note(index_, status.error_code() == grpc::StatusCode::UNAVAILABLE);
  if (!status.ok()) throw failed_call(status, place());
}

}  // namespace polybatch::internal
