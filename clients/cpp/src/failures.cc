#include "failures.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "rpc_status.pb.h"

namespace polybatch {

namespace {

const char* name_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK: return "OK";
    case grpc::StatusCode::CANCELLED: return "CANCELLED";
    case grpc::StatusCode::UNKNOWN: return "UNKNOWN";
    case grpc::StatusCode::INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case grpc::StatusCode::DEADLINE_EXCEEDED: return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::NOT_FOUND: return "NOT_FOUND";
    case grpc::StatusCode::ALREADY_EXISTS: return "ALREADY_EXISTS";
    case grpc::StatusCode::PERMISSION_DENIED: return "PERMISSION_DENIED";
    case grpc::StatusCode::UNAUTHENTICATED: return "UNAUTHENTICATED";
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::FAILED_PRECONDITION: return "FAILED_PRECONDITION";
    case grpc::StatusCode::ABORTED: return "ABORTED";
    case grpc::StatusCode::OUT_OF_RANGE: return "OUT_OF_RANGE";
    case grpc::StatusCode::UNIMPLEMENTED: return "UNIMPLEMENTED";
    case grpc::StatusCode::INTERNAL: return "INTERNAL";
    case grpc::StatusCode::UNAVAILABLE: return "UNAVAILABLE";
    case grpc::StatusCode::DATA_LOSS: return "DATA_LOSS";
    case grpc::StatusCode::DO_NOT_USE: break;
  }
  return "UNKNOWN";
}

ErrorDetails named(ErrorDetails details) {
  if (details.reason.empty()) details.reason = name_of(details.code);
  return details;
}

}  // namespace

Error::Error(const std::string& message, ErrorDetails details)
    : std::runtime_error(message),
      details_(std::make_shared<const ErrorDetails>(named(std::move(details)))) {}

const char* Error::code_name() const noexcept { return name_of(details_->code); }

namespace internal {

namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kLongestDelay = 1'000'000'000;  // seconds

template <class Message>
bool unpack(const rpc::Any& packed, const std::string& name, Message& message) {
  return packed.type_url().substr(packed.type_url().rfind('/') + 1) == name &&
         message.ParseFromString(packed.value());
}

ErrorDetails read_details(const grpc::Status& status) {
  ErrorDetails found;
  found.code = status.error_code();
  rpc::Status details;
  // Where the codes differ, a proxy on the way has put another status in its place.
  if (!details.ParseFromString(status.error_details()) || details.code() != found.code)
    return found;
  for (const rpc::Any& packed : details.details()) {
    rpc::ErrorInfo info;
    rpc::BadRequest bad_request;
    rpc::RetryInfo retry;
    if (unpack(packed, "google.rpc.ErrorInfo", info)) {
      found.reason = info.reason();
      found.metadata.insert(info.metadata().begin(), info.metadata().end());
    } else if (unpack(packed, "google.rpc.BadRequest", bad_request)) {
      for (const auto& violation : bad_request.field_violations())
        found.violations.push_back({violation.field(), violation.description()});
    } else if (unpack(packed, "google.rpc.RetryInfo", retry)) {
      const auto& delay = retry.retry_delay();
      // What goes on for years is not to overflow.
      const std::chrono::seconds seconds(
          std::clamp<std::int64_t>(delay.seconds(), 0, kLongestDelay));
      // Up, as less than what was asked for would be too early.
      found.retry_after =
          std::chrono::ceil<milliseconds>(seconds + std::chrono::nanoseconds(delay.nanos()));
    }
  }
  return found;
}

std::string upper_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string at(const Place& place) { return place.server + " at " + place.address + ": "; }

// Of a status that comes from gRPC, whose message names no server.
std::string explain(const std::string& message, ErrorDetails& details, const Place& place) {
  if (details.code == grpc::StatusCode::UNIMPLEMENTED)
    return at(place) + "it does not know this call; it may be older than this client, or check the "
                       "addresses of gateway and collector";
  if (details.code != grpc::StatusCode::UNAVAILABLE) return at(place) + message;
  // What all addresses of a name came to is that of the last one.
  const std::string last = "last error: ";
  const auto begin = message.rfind(last);
  std::string cause = begin == std::string::npos ? message : message.substr(begin + last.size());
  if (const std::string unclear = "UNKNOWN: "; cause.starts_with(unclear))
    cause.erase(0, unclear.size());
  if (cause.find("andshake failed") != std::string::npos) {
    // What OpenSSL refuses, unlike a connection that breaks, does not pass by itself.
    if (cause.find("SSL_ERROR_SSL") != std::string::npos) details.reason = "TLS_FAILED";
    return at(place) + "TLS failed: " + cause +
           "; check the certificate (POLYBATCH_TLS_CA names the authority's), or set "
           "POLYBATCH_TLS=0 where no TLS is spoken";
  }
  return at(place) + cause + "; check that it runs there, or set POLYBATCH_" +
         upper_case(place.server);
}

}  // namespace

Error failed_call(const grpc::Status& status, const Place& place) {
  ErrorDetails details = read_details(status);
  std::string message = status.error_message();
  if (message.empty()) message = name_of(details.code);
  if (details.reason.empty()) message = explain(message, details, place);
  return Error(message, std::move(details));
}

Error ended_early(const std::string& what, const Place& place) {
  return own_error(grpc::StatusCode::UNAVAILABLE, "STREAM_ENDED",
                   at(place) + what + " ended before its time");
}

Error own_error(grpc::StatusCode code, const std::string& reason, const std::string& message) {
  ErrorDetails details;
  details.code = code;
  details.reason = reason;
  return Error(message, std::move(details));
}

}  // namespace internal

}  // namespace polybatch
