// The rules of clients/README.md: what is tried again, how long it waits first, when it gives up.
#include "retry.h"

#include <gtest/gtest.h>

#include <vector>

namespace polybatch::internal {
namespace {

using namespace std::chrono_literals;
using grpc::StatusCode;

Error failed(StatusCode code, const std::string& reason = "",
             std::optional<milliseconds> retry_after = std::nullopt) {
  ErrorDetails details;
  details.code = code;
  details.reason = reason;
  details.retry_after = retry_after;
  return Error("it failed", details);
}

class BackoffTest : public testing::Test {
 protected:
  Backoff backoff(milliseconds give_up_after = 120s) {
    return Backoff(give_up_after, [this] { return now_; }, [this] { return jitter_; });
  }

  // The waits before so many further attempts, each of which fails at once.
  std::vector<std::optional<milliseconds>> waits(const Error& error, int count) {
    Backoff under_test = backoff();
    std::vector<std::optional<milliseconds>> found;
    for (int failure = 0; failure < count; ++failure) {
      found.push_back(under_test.wait_before_retry(error));
      if (found.back()) now_ += *found.back();
    }
    return found;
  }

  std::chrono::steady_clock::time_point now_;
  double jitter_ = 1;
};

using Waits = std::vector<std::optional<milliseconds>>;

TEST_F(BackoffTest, WaitsDoubleUpToTheLongest) {
  EXPECT_EQ(waits(failed(StatusCode::UNAVAILABLE), 7),
            (Waits{200ms, 400ms, 800ms, 1600ms, 3200ms, 5s, 5s}));
  jitter_ = 0;
  EXPECT_EQ(waits(failed(StatusCode::ABORTED, "UPLOAD_CONFLICT"), 2), (Waits{100ms, 200ms}));
}

TEST_F(BackoffTest, ARetryDelayIsTheLeast) {
  EXPECT_EQ(waits(failed(StatusCode::RESOURCE_EXHAUSTED, "REQUEST_RATE_LIMIT", 1s), 5),
            (Waits{1s, 1s, 1s, 1600ms, 3200ms}));
}

TEST_F(BackoffTest, AReplicaThatStopsIsLeftAtOnce) {
  EXPECT_EQ(waits(failed(StatusCode::UNAVAILABLE, "SERVER_STOPPING"), 2), (Waits{0ms, 400ms}));
}

TEST_F(BackoffTest, WhatIsUnclearIsTriedThreeTimes) {
  for (const Error& error :
       {failed(StatusCode::INTERNAL), failed(StatusCode::UNKNOWN), failed(StatusCode::DATA_LOSS),
        failed(StatusCode::FAILED_PRECONDITION, "WRITE_OFFSET_MISMATCH")})
    EXPECT_EQ(waits(error, 4), (Waits{200ms, 400ms, 800ms, std::nullopt})) << error.reason();
}

TEST_F(BackoffTest, WhatDoesNotPassIsNotTriedAgain) {
  for (const Error& error :
       {failed(StatusCode::UNAUTHENTICATED, "API_KEY_REVOKED"),
        failed(StatusCode::INVALID_ARGUMENT, "INVALID_LINES"),
        failed(StatusCode::NOT_FOUND, "BATCH_NOT_FOUND"),
        failed(StatusCode::FAILED_PRECONDITION, "BATCH_ENDED"),
        failed(StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_LINES"),
        failed(StatusCode::RESOURCE_EXHAUSTED, "STORED_BYTES_LIMIT", 1s),
        failed(StatusCode::RESOURCE_EXHAUSTED, "WEBHOOKS_LIMIT", 1s),
        failed(StatusCode::UNAVAILABLE, "TLS_FAILED"),
        failed(StatusCode::DATA_LOSS, "DIGEST_MISMATCH"), failed(StatusCode::UNIMPLEMENTED)})
    EXPECT_EQ(waits(error, 1), (Waits{std::nullopt})) << error.reason();
}

TEST_F(BackoffTest, ItGivesUpWhenNothingGetsThroughForTooLong) {
  Backoff under_test = backoff(10s);
  const Error away = failed(StatusCode::UNAVAILABLE);
  EXPECT_TRUE(under_test.wait_before_retry(away));
  now_ += 9800ms;
  // The last attempt comes when the time is over, not before.
  EXPECT_EQ(under_test.wait_before_retry(away), 200ms);
  now_ += 200ms;
  EXPECT_EQ(under_test.wait_before_retry(away), std::nullopt);
  EXPECT_TRUE(under_test.timed_out());
  EXPECT_EQ(under_test.waited(), 10s);
  under_test.progress();
  EXPECT_EQ(under_test.wait_before_retry(away), 200ms);
}

TEST_F(BackoffTest, ADelayThatIsTooLongIsNotWaitedFor) {
  Backoff under_test = backoff(10s);
  EXPECT_EQ(under_test.wait_before_retry(failed(StatusCode::UNAVAILABLE, "X", 11s)), std::nullopt);
  EXPECT_TRUE(under_test.timed_out());
}

TEST_F(BackoffTest, WithoutAnyWaitTheFirstFailureIsTheLast) {
  Backoff under_test = backoff(0s);
  EXPECT_EQ(under_test.wait_before_retry(failed(StatusCode::UNAVAILABLE)), std::nullopt);
}

}  // namespace
}  // namespace polybatch::internal
