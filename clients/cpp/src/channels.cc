#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <fstream>
#include <iterator>

#include "connection.h"
#include "failures.h"

namespace polybatch::internal {

namespace {

// An answer for a key that is encrypted, lest OpenSSL asks for its password at the terminal.
int no_password(char* /*buffer*/, int /*size*/, int /*for_writing*/, void* /*data*/) { return 0; }

std::string openssl_cause() {
  const char* cause = ERR_reason_error_string(ERR_peek_last_error());
  std::string text = cause == nullptr ? "unknown cause" : cause;
  ERR_clear_error();
  return text;
}

Error unusable(const std::string& variable, const std::filesystem::path& file) {
  return own_error(grpc::StatusCode::FAILED_PRECONDITION, "TLS_FILE_UNUSABLE",
                   "the file " + file.string() + " cannot be used (" + openssl_cause() + "); set " +
                       variable + " to the right PEM file");
}

std::string content(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> credentials(const Connection& connection) {
  if (!connection.tls) return grpc::InsecureChannelCredentials();
  // gRPC would report files that it cannot use as a server that cannot be reached.
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  SSL_CTX_set_default_passwd_cb(context.get(), &no_password);
  grpc::SslCredentialsOptions options;
  if (const auto& ca = connection.tls_ca; !ca.empty()) {
    if (SSL_CTX_load_verify_locations(context.get(), ca.c_str(), nullptr) != 1)
      throw unusable("POLYBATCH_TLS_CA", ca);
    options.pem_root_certs = content(ca);
  }
  if (const auto& cert = connection.tls_client_cert; !cert.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context.get(), cert.c_str()) != 1)
      throw unusable("POLYBATCH_TLS_CLIENT_CERT", cert);
    const auto& key = connection.tls_client_key;
    if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
      throw unusable("POLYBATCH_TLS_CLIENT_KEY", key);
    options.pem_cert_chain = content(cert);
    options.pem_private_key = content(key);
  }
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::Channel> open_channel(
    const std::string& address, bool several,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix("polybatch-cpp/" POLYBATCH_VERSION);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Without it gRPC sends two pings and no more while an idle watch has no data.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The services send up to 4 MiB; whatever they send is to be readable.
  arguments.SetMaxReceiveMessageSize(-1);
  // Repeating is done here, where an upload knows its offset and a watch its revision.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  if (several) {
    // Calls go by turns to all machines behind a name, and to none that says that it is not
    // serving. Names are looked up again soon after a machine has gone, as the one that takes
    // its place has another address in most clusters.
    arguments.SetServiceConfigJSON(
        R"({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})");
    arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1'000);
  }
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

}  // namespace polybatch::internal
