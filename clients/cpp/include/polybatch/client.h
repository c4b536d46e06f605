// Client of polybatch: one JSONL file of requests in, one JSONL file of results out.
#pragma once

#include <polybatch/error.h>
#include <polybatch/stream.h>
#include <polybatch/v1/batches.pb.h>
#include <polybatch/v1/results.pb.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

namespace polybatch {

namespace internal {
class Core;
}

// Where to connect and with which key. What is left empty is taken from the environment, then
// from what a service on this machine has left in its data folder, then from defaults.
struct ClientOptions {
  // "host:port", "grpc://host:port" or "grpcs://host:port" (TLS); several replicas separated
  // by commas. POLYBATCH_GATEWAY, POLYBATCH_COLLECTOR; else $POLYBATCH_DATA_DIR/addresses.json;
  // else localhost:50051 and localhost:50052.
  std::string gateway;
  std::string collector;
  // POLYBATCH_API_KEY, else the file $POLYBATCH_DATA_DIR/api-key (.polybatch/api-key).
  std::string api_key;
  // POLYBATCH_TLS; else on unless all addresses are of this machine: a key crosses a network
  // in the clear only where that was asked for.
  std::optional<bool> tls;
  // PEM files: POLYBATCH_TLS_CA, else the authorities of the system; POLYBATCH_TLS_CLIENT_CERT
  // and POLYBATCH_TLS_CLIENT_KEY where the services ask for a certificate.
  std::filesystem::path tls_ca;
  std::filesystem::path tls_client_cert;
  std::filesystem::path tls_client_key;
  // In which nothing gets through before an operation is given up; 0: at its first failure.
  // POLYBATCH_WAIT in seconds, else two minutes.
  std::optional<std::chrono::milliseconds> wait;
  // Told before each further attempt what went wrong, and how long it waits; by the thread
  // that made the call.
  std::function<void(const Error&, std::chrono::milliseconds)> on_retry;
};

struct SubmitOptions {
  // All that a batch may be asked for; its input_file_id is ignored. With a request_id the same
  // content gives the same batch, whenever and in whatever process it is submitted again, and an
  // upload that was broken off is gone on with.
  v1::CreateBatchRequest batch;
  // For people; empty: the name of the path.
  std::string filename;
  // Of lines that name no provider and whose model tells none; of lines that name no model.
  std::string default_provider;
  std::string default_model;
  // Told the bytes sent so far, and all of them, after each chunk of up to 1 MiB.
  std::function<void(std::int64_t sent, std::int64_t total)> on_progress;
};

// True of a batch that will not change any more, late answers aside.
[[nodiscard]] bool ended(const v1::Batch& batch);

// May be shared by threads. Every method throws Error. What breaks off is gone on with where it
// broke; a service that is away is waited for (ClientOptions::wait). A stop token ends a method
// at once, from any thread, with an Error of the reason STOPPED; the batch goes on.
class Client {
 public:
  explicit Client(const ClientOptions& options = {});

  // Uploads the requests and makes a batch of them. Error INVALID_LINES where lines are bad and
  // options.batch.skip_invalid_lines is not set.
  v1::Batch submit(const std::filesystem::path& requests, const SubmitOptions& options = {},
                   std::stop_token stop = {}) const;
  // From where the stream stands to its end; it must be able to seek (open files in binary mode).
  v1::Batch submit(std::istream& requests, const SubmitOptions& options = {},
                   std::stop_token stop = {}) const;

  [[nodiscard]] v1::Batch get(const std::string& batch_id, std::stop_token stop = {}) const;
  // Asks for its end; watch it until then. Cancelling it again is no error.
  v1::Batch cancel(const std::string& batch_id, std::stop_token stop = {}) const;
  // Of a refused submission, say: its id is "file_id" in Error::metadata.
  void delete_file(const std::string& file_id, std::stop_token stop = {}) const;

  // Snapshots with rising revisions; the last one is of the ended batch.
  [[nodiscard]] Stream<v1::Batch> watch(std::string batch_id, std::stop_token stop = {}) const;
  // Returns the ended batch.
  v1::Batch wait(const std::string& batch_id, std::stop_token stop = {}) const;

  // Lines of the results, each a JSON object, without their newlines. Their digest is checked
  // after the last one of all lines (a filtered stream has none): Error DIGEST_MISMATCH.
  [[nodiscard]] Stream<std::string> results(std::string batch_id,
                                            v1::ResultFilter filter = v1::RESULT_FILTER_UNSPECIFIED,
                                            std::stop_token stop = {}) const;
  // Writes the results to a file, whole or not at all: to a hidden file beside it, which takes
  // its name once size and digest are right.
  v1::Manifest download(const std::string& batch_id, const std::filesystem::path& target,
                        std::stop_token stop = {}) const;

 private:
  // Shared with the streams, which may outlive the client.
  std::shared_ptr<internal::Core> core_;
};

}  // namespace polybatch
