// When to try again, how long to wait first, and when to give up.
#pragma once

#include <polybatch/error.h>

#include <chrono>
#include <functional>
#include <optional>

namespace polybatch::internal {

using std::chrono::milliseconds;

// The waits of one operation, which double from 0.2 s to 5 s, with jitter.
class Backoff {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  // Returns a number from 0 to 1.
  using Jitter = std::function<double()>;

  // Gives up once nothing has got through for so long, counted from the first failure.
  explicit Backoff(milliseconds give_up_after);
  Backoff(milliseconds give_up_after, Clock clock, Jitter jitter);

  // Something got through: the next failure is a first one again.
  void progress();
  // Returns the wait before the next attempt; empty where none makes sense.
  std::optional<milliseconds> wait_before_retry(const Error& error);
  // Whether the last failure was a transient one that came too late.
  [[nodiscard]] bool timed_out() const { return timed_out_; }
  // From the first failure to the last one.
  [[nodiscard]] milliseconds waited() const { return waited_; }

 private:
  bool passes(const Error& error);

  milliseconds give_up_after_;
  Clock clock_;
  Jitter jitter_;
  int failures_ = 0;
  int unclear_failures_ = 0;
  std::chrono::steady_clock::time_point first_failure_;
  milliseconds waited_{0};
  bool timed_out_ = false;
};

}  // namespace polybatch::internal
