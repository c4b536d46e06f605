// Where to connect and with which key: options first, then the environment, then defaults.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>
#include <polybatch/client.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace polybatch::internal {

// Returns a variable's value, empty where it is not set.
using Environment = std::function<std::string(const char* name)>;

std::string process_environment(const char* name);

struct Connection {
  // Without their schemes; one for each replica.
  std::vector<std::string> gateway;
  std::vector<std::string> collector;
  std::string api_key;
  bool tls = false;
  std::filesystem::path tls_ca;
  std::filesystem::path tls_client_cert;
  std::filesystem::path tls_client_key;
  std::chrono::milliseconds wait{};
};

// Throws Error where a setting makes no sense, or settings contradict each other.
Connection resolve(const ClientOptions& options, const Environment& environment);

// Reads the PEM files; throws Error where one cannot be used.
std::shared_ptr<grpc::ChannelCredentials> credentials(const Connection& connection);

// `several`: whether there may be more than one machine behind the server or the address.
std::shared_ptr<grpc::Channel> open_channel(
    const std::string& address, bool several,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials);

// Whether the address is a name that more than one machine can have.
bool may_be_several(const std::string& address);

}  // namespace polybatch::internal
