// From a call's status to an Error.
#include "failures.h"

#include <gtest/gtest.h>

#include <limits>

#include "rpc_status.pb.h"

namespace polybatch::internal {
namespace {

using grpc::StatusCode;

const Place kGateway = {"gateway", "host:1"};

grpc::Status status(StatusCode code, const std::string& message, const rpc::Status& details) {
  return {code, message, details.SerializeAsString()};
}

template <class Message>
void pack(rpc::Status& status, const std::string& name, const Message& message) {
  rpc::Any& packed = *status.add_details();
  packed.set_type_url("type.googleapis.com/" + name);
  packed.set_value(message.SerializeAsString());
}

rpc::Status full_details(StatusCode code) {
  rpc::Status details;
  details.set_code(code);
  rpc::ErrorInfo info;
  info.set_reason("INVALID_LINES");
  (*info.mutable_metadata())["file_id"] = "file_1";
  pack(details, "google.rpc.ErrorInfo", info);
  rpc::BadRequest bad;
  auto& violation = *bad.add_field_violations();
  violation.set_field("line 7: body.model");
  violation.set_description("is missing");
  pack(details, "google.rpc.BadRequest", bad);
  rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'001);
  pack(details, "google.rpc.RetryInfo", retry);
  pack(details, "google.rpc.Unheard", info);
  return details;
}

TEST(FailedCall, AllThatTheServiceSays) {
  const Error error = failed_call(status(StatusCode::INVALID_ARGUMENT, "1 of 9 lines is bad",
                                         full_details(StatusCode::INVALID_ARGUMENT)),
                                  kGateway);
  EXPECT_STREQ(error.what(), "1 of 9 lines is bad");
  EXPECT_EQ(error.code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(error.reason(), "INVALID_LINES");
  EXPECT_EQ(error.metadata().at("file_id"), "file_1");
  ASSERT_EQ(error.violations().size(), 1U);
  EXPECT_EQ(error.violations()[0].field, "line 7: body.model");
  EXPECT_EQ(error.violations()[0].description, "is missing");
  // Less would be too early.
  EXPECT_EQ(error.retry_after(), std::chrono::milliseconds(1501));
}

TEST(FailedCall, DetailsOfAnotherStatusAreNotOfThisOne) {
  const Error error = failed_call(status(StatusCode::UNAVAILABLE, "no healthy upstream",
                                         full_details(StatusCode::INVALID_ARGUMENT)),
                                  kGateway);
  EXPECT_EQ(error.reason(), "UNAVAILABLE");
  EXPECT_TRUE(error.violations().empty());
  EXPECT_FALSE(error.retry_after());
}

TEST(FailedCall, DetailsThatCannotBeReadAreLeftOut) {
  const Error error = failed_call({StatusCode::NOT_FOUND, "gone", "\xff\xff"}, kGateway);
  EXPECT_EQ(error.reason(), "NOT_FOUND");
  EXPECT_STREQ(error.what(), "gateway at host:1: gone");
}

TEST(FailedCall, ADelayOfAgesDoesNotOverflow) {
  rpc::Status details;
  details.set_code(StatusCode::UNAVAILABLE);
  rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(std::numeric_limits<std::int64_t>::max());
  pack(details, "google.rpc.RetryInfo", retry);
  const Error error = failed_call(status(StatusCode::UNAVAILABLE, "away", details), kGateway);
  EXPECT_GT(error.retry_after(), std::chrono::hours(24 * 365));
}

TEST(FailedCall, AServerThatIsNotThere) {
  const Error error =
      failed_call({StatusCode::UNAVAILABLE,
                   "failed to connect to all addresses; last error: UNKNOWN: "
                   "ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused"},
                  kGateway);
  EXPECT_STREQ(error.what(),
               "gateway at host:1: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection "
               "refused; check that it runs there, or set POLYBATCH_GATEWAY");
}

TEST(FailedCall, ACertificateThatIsNotAcceptedDoesNotPass) {
  const Error refused = failed_call({StatusCode::UNAVAILABLE,
                                     "x; last error: UNKNOWN: Ssl handshake failed: SSL_ERROR_SSL: "
                                     "error:0A000086:SSL routines::certificate verify failed"},
                                    kGateway);
  EXPECT_EQ(refused.reason(), "TLS_FAILED");
  const Error broken = failed_call(
      {StatusCode::UNAVAILABLE, "x; last error: UNKNOWN: SSL handshake failed: Socket closed"},
      kGateway);
  EXPECT_EQ(broken.reason(), "UNAVAILABLE");
}

}  // namespace
}  // namespace polybatch::internal
