// What can go wrong, as one exception type.
#pragma once

#include <grpcpp/support/status_code_enum.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace polybatch {

// Of a field of the request: for bad lines of a file, `field` is "line 7: body.model", or
// "line 7" for the line as a whole. At most 20 come with an error.
struct Violation {
  std::string field;
  std::string description;
};

struct ErrorDetails {
  // Also of what the client itself finds, without any call: see Error::reason.
  grpc::StatusCode code = grpc::StatusCode::UNKNOWN;
  std::string reason;
  std::vector<Violation> violations;
  std::map<std::string, std::string> metadata;
  std::optional<std::chrono::milliseconds> retry_after;
};

// Thrown by everything of this library once no further attempt makes sense. `what()` is for
// people: what happened, where, and what to do about it.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, ErrorDetails details);

  [[nodiscard]] grpc::StatusCode code() const noexcept { return details_->code; }

  // gRPC's name of the code, such as "NOT_FOUND".
  [[nodiscard]] const char* code_name() const noexcept;

  // The services' own word, such as "INVALID_LINES": see the comments of
  // protos/polybatch/v1. gRPC's name of the code where there is none. Of the client's own:
  //   ADDRESS_INVALID, ADDRESSES_UNREADABLE, API_KEY_MISSING, API_KEY_INVALID,
  //   TLS_SETTING_INVALID, TLS_FILE_UNUSABLE, WAIT_INVALID   the settings (FAILED_PRECONDITION)
  //   TLS_FAILED         the other side's certificate, or ours, is not accepted (UNAVAILABLE)
  //   STREAM_ENDED       a stream ended well, but before its time (UNAVAILABLE)
  //   SOURCE_UNREADABLE  the requests cannot be read (INVALID_ARGUMENT)
  //   SOURCE_CHANGED     they changed during the upload (INVALID_ARGUMENT)
  //   TARGET_UNWRITABLE  the results cannot be written (FAILED_PRECONDITION)
  //   HEADER_MISSING, DIGEST_MISMATCH   what came is not what was announced (DATA_LOSS)
  //   STOPPED            the caller's stop token asked for it (CANCELLED)
  [[nodiscard]] const std::string& reason() const noexcept { return details_->reason; }

  [[nodiscard]] const std::vector<Violation>& violations() const noexcept {
    return details_->violations;
  }

  // What goes with the reason, such as ids and sizes.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept {
    return details_->metadata;
  }

  // How long the service asks to wait; empty where it names no time.
  [[nodiscard]] std::optional<std::chrono::milliseconds> retry_after() const noexcept {
    return details_->retry_after;
  }

  [[nodiscard]] const ErrorDetails& details() const noexcept { return *details_; }

 private:
  // Shared, as copying an exception must not throw.
  std::shared_ptr<const ErrorDetails> details_;
};

}  // namespace polybatch
