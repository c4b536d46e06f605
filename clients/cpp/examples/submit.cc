// Runs one batch: uploads a JSONL file of requests, watches the batch to its end, and writes its
// results to a file.

#include <getopt.h>
#include <polybatch/client.h>
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>

#include "progress.h"

namespace {

namespace fs = std::filesystem;
namespace v1 = polybatch::v1;

constexpr char kUsage[] =
    R"(Usage: submit [options] REQUESTS.jsonl RESULTS.jsonl
       submit --watch BATCH_ID [options] RESULTS.jsonl

Uploads the requests, prints the batch's id, watches the batch, writes its results.

  --skip-invalid    run the good lines; bad ones come back as failed lines
  --lenient         leave out what a line asks for and its provider lacks
  --request-id ID   8 to 64 characters of [A-Za-z0-9_-]: run again with the same id, it goes on
                    with the same upload, or with the batch that was made of it
  --watch ID        go on with a batch that was made before
  --help

Environment, as for the Python client:
  POLYBATCH_GATEWAY, POLYBATCH_COLLECTOR   localhost:50051, localhost:50052; grpcs://host:port
                                           for TLS; several replicas separated by commas
  POLYBATCH_API_KEY                        else the file api-key in POLYBATCH_DATA_DIR (.polybatch)
  POLYBATCH_TLS                            1 or 0; else on unless both are this machine
  POLYBATCH_TLS_CA, POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY   PEM files
  POLYBATCH_WAIT                           seconds in which nothing gets through before it
                                           gives up: 120

Exit codes: 0 all lines succeeded, 1 error, 2 bad input, 3 completed with failed lines,
4 failed, expired or cancelled, 130 Ctrl-C (a batch that was made goes on).
)";

enum ExitCode {
  kSucceeded = 0,
  kError = 1,
  kBadInput = 2,
  kLinesFailed = 3,
  kBatchFailed = 4,
  kSignalled = 128,  // and the signal's number
};

// The command line, or a file that it names, cannot be used.
struct BadInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Arguments {
  bool help = false;
  std::string request_id;
  std::string watch;
  fs::path requests;
  fs::path results;
  polybatch::SubmitOptions options;
};

bool is_request_id(const std::string& id) {
  return id.size() >= 8 && id.size() <= 64 &&
         id.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") ==
             std::string::npos;
}

// getopt says itself on stderr what it does not know.
Arguments parse(int argc, char** argv) {
  enum Option { kSkipInvalid = 1, kLenient, kRequestId, kWatch, kHelp };
  const option known[] = {{"skip-invalid", no_argument, nullptr, kSkipInvalid},
                          {"lenient", no_argument, nullptr, kLenient},
                          {"request-id", required_argument, nullptr, kRequestId},
                          {"watch", required_argument, nullptr, kWatch},
                          {"help", no_argument, nullptr, kHelp},
                          {}};
  Arguments found;
  for (int named = 0; (named = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    switch (named) {
      case kSkipInvalid: found.options.batch.set_skip_invalid_lines(true); break;
      case kLenient: found.options.batch.set_lenient_translation(true); break;
      case kRequestId: found.request_id = optarg; break;
      case kWatch: found.watch = optarg; break;
      case kHelp: found.help = true; return found;
      default: throw BadInput("these options make no sense; --help lists those that there are");
    }
  }
  const int wanted = found.watch.empty() ? 2 : 1;
  if (argc - optind != wanted)
    throw BadInput("expected " + std::to_string(wanted) + " file name" + (wanted > 1 ? "s" : "") +
                   ", got " + std::to_string(argc - optind) + "; see --help");
  if (!found.request_id.empty() && !is_request_id(found.request_id))
    throw BadInput("the request id has to be 8 to 64 characters of [A-Za-z0-9_-]");
  if (wanted == 2) found.requests = argv[optind];
  found.results = argv[argc - 1];
  return found;
}

// Before anything is sent: nobody wants to pay for results that cannot be written.
void check_files(const Arguments& arguments) {
  std::error_code error;
  const fs::path& requests = arguments.requests;
  if (!requests.empty() &&
      (!fs::is_regular_file(requests, error) || ::access(requests.c_str(), R_OK) != 0))
    throw BadInput(requests.string() + " is not a file that can be read");
  const fs::path& results = arguments.results;
  if (fs::exists(results, error) && !fs::is_regular_file(results, error))
    throw BadInput(results.string() + " exists and is not a regular file");
  const fs::path folder = results.has_parent_path() ? results.parent_path() : ".";
  if (!fs::is_directory(folder, error) || ::access(folder.c_str(), W_OK) != 0)
    throw BadInput("the folder " + folder.string() + " cannot be written to");
}

std::string random_id() {
  std::random_device random;
  std::string id = "submit-";
  for (int part = 0; part < 4; ++part) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", random());
    id += digits;
  }
  return id;
}

// Turns the signals that end a program into a request to stop, in a thread of its own.
class Signals {
 public:
  explicit Signals(std::stop_source stop) {
    sigset_t awaited;
    sigemptyset(&awaited);
    for (const int signal : {SIGINT, SIGTERM, kDone}) sigaddset(&awaited, signal);
    // Inherited by all threads that are begun from now on.
    pthread_sigmask(SIG_BLOCK, &awaited, nullptr);
    thread_ = std::thread([this, stop = std::move(stop), awaited]() mutable {
      int signal = 0;
      sigwait(&awaited, &signal);
      if (signal == kDone) return;
      caught_ = signal;
      stop.request_stop();
    });
  }
  ~Signals() {
    pthread_kill(thread_.native_handle(), kDone);
    thread_.join();
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Valid once the stop is seen.
  [[nodiscard]] int caught() const { return caught_; }

 private:
  static constexpr int kDone = SIGUSR1;
  int caught_ = 0;
  std::thread thread_;
};

class Job {
 public:
  explicit Job(const Arguments& arguments) : arguments_(arguments), signals_(stop_) {}

  int run() try {
    polybatch::ClientOptions options;
    options.on_retry = [](const polybatch::Error& error, std::chrono::milliseconds wait) {
      if (wait >= std::chrono::seconds(1))
        say(std::string(error.what()) + "; trying again in " +
            std::to_string(std::chrono::round<std::chrono::seconds>(wait).count()) + " s");
    };
    const polybatch::Client client(options);
    const std::string batch_id = arguments_.watch.empty() ? submit(client) : arguments_.watch;
    how_to_go_on_ = batch_id + " goes on; watch it again with --watch " + batch_id;
    return follow(client, batch_id);
  } catch (const polybatch::Error& error) {
    return complain(error);
  }

 private:
  std::string submit(const polybatch::Client& client) {
    polybatch::SubmitOptions options = arguments_.options;
    const std::string id = arguments_.request_id.empty() ? random_id() : arguments_.request_id;
    options.batch.set_request_id(id);
    how_to_go_on_ = "to go on with this upload, run it again with --request-id " + id;
    const std::string batch_id =
        client.submit(arguments_.requests, options, stop_.get_token()).id();
    std::printf("%s\n", batch_id.c_str());
    std::fflush(stdout);
    return batch_id;
  }

  int follow(const polybatch::Client& client, const std::string& batch_id) {
    Progress progress;
    v1::Batch batch;
    for (v1::Batch& snapshot : client.watch(batch_id, stop_.get_token())) {
      progress.show(snapshot);
      batch = std::move(snapshot);
    }
    try {
      client.download(batch_id, arguments_.results, stop_.get_token());
    } catch (const polybatch::Error& error) {
      // It failed as such; why was shown.
      if (error.reason() != "NO_RESULTS") throw;
    }
    if (batch.state() != v1::BATCH_STATE_COMPLETED) return kBatchFailed;
    return unsuccessful(batch) > 0 ? kLinesFailed : kSucceeded;
  }

  int complain(const polybatch::Error& error) {
    if (error.reason() == "STOPPED") {
      say("submit: stopped" + (how_to_go_on_.empty() ? "" : "; " + how_to_go_on_));
      return kSignalled + signals_.caught();
    }
    say(std::string("submit: ") + error.what() + " (" + error.reason() + ")");
    for (const auto& [field, description] : error.violations())
      say("  " + field + ": " + description);
    if (error.reason() == "INVALID_LINES") {
      const auto lenient = error.metadata().find("lenient_line_count");
      say((lenient != error.metadata().end() && lenient->second != "0"
               ? "--lenient takes " + lenient->second + " of them; "
               : "") +
          "--skip-invalid runs the others");
    } else if (!how_to_go_on_.empty() && may_pass(error.code())) {
      say(how_to_go_on_);
    }
    return is_bad_input(error) ? kBadInput : kError;
  }

  static bool may_pass(grpc::StatusCode code) {
    return code != grpc::StatusCode::INVALID_ARGUMENT &&
           code != grpc::StatusCode::UNAUTHENTICATED && code != grpc::StatusCode::NOT_FOUND;
  }

  static bool is_bad_input(const polybatch::Error& error) {
    return error.code() == grpc::StatusCode::INVALID_ARGUMENT ||
           error.code() == grpc::StatusCode::OUT_OF_RANGE ||
           error.code() == grpc::StatusCode::UNIMPLEMENTED || error.reason() == "FILE_TOO_LARGE" ||
           error.reason() == "TOO_MANY_LINES";
  }

  const Arguments& arguments_;
  std::stop_source stop_;
  Signals signals_;
  std::string how_to_go_on_;
};

}  // namespace

int main(int argc, char** argv) try {
  // What gRPC would log stands in the errors.
  ::setenv("GRPC_VERBOSITY", "NONE", 0);
  const Arguments arguments = parse(argc, argv);
  if (arguments.help) {
    std::fputs(kUsage, stdout);
    return kSucceeded;
  }
  check_files(arguments);
  return Job(arguments).run();
} catch (const BadInput& error) {
  say(std::string("submit: ") + error.what());
  return kBadInput;
}
