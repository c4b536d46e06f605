// The replicas of one server, and which of them takes the next call.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>
#include <polybatch/error.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "failures.h"

namespace polybatch::internal {

// Gives calls to the replicas by turns; may be shared by threads. One that was away is left
// alone for a moment, longer each time, as long as another one can be asked: so the repetition
// of a call goes elsewhere.
class Replicas {
 public:
  using Open = std::function<std::shared_ptr<grpc::Channel>(const std::string& address)>;

  // `name`: "gateway" or "collector".
  Replicas(std::string name, const std::vector<std::string>& addresses, const Open& open);

  // One call's replica. What comes of the call says how the replica does.
  class Turn {
   public:
    Turn(Replicas& replicas, std::size_t index) : replicas_(&replicas), index_(index) {}
    [[nodiscard]] std::shared_ptr<grpc::Channel> channel() const;
    [[nodiscard]] Place place() const;
    // Returns normally for OK, else throws the error for it.
    void take_in(const grpc::Status& status) const;

   private:
    Replicas* replicas_;
    std::size_t index_;
  };

  // The next one that does not rest; where all do, the one that has to rest least.
  Turn turn();

 private:
  using Time = std::chrono::steady_clock::time_point;

  struct Replica {
    std::string address;
    std::shared_ptr<grpc::Channel> channel;
    int failures = 0;  // in a row
    Time rests_until{};
  };

  void note(std::size_t index, bool away);

  std::string name_;
  std::mutex mutex_;
  std::vector<Replica> replicas_;
  std::size_t next_;
};

}  // namespace polybatch::internal
