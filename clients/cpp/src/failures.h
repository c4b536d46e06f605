// From what a call ended with to an Error.
#pragma once

#include <grpcpp/support/status.h>
#include <polybatch/error.h>

#include <string>

namespace polybatch::internal {

// Where a call went: "gateway" or "collector", and the address.
struct Place {
  std::string server;
  std::string address;
};

// Of a status other than OK. Its google.rpc.Status, where it has one, gives all but the message.
Error failed_call(const grpc::Status& status, const Place& place);

// Of a stream that ended with OK before `what`, such as "the watch", was done.
Error ended_early(const std::string& what, const Place& place);

// Of what the client itself finds.
Error own_error(grpc::StatusCode code, const std::string& reason, const std::string& message);

}  // namespace polybatch::internal
