// The client against a service in this process: what the program `submit` makes no use of.
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <polybatch/client.h>

#include <sstream>
#include <thread>
#include <vector>

#include "polybatch/v1/batches.grpc.pb.h"
#include "polybatch/v1/files.grpc.pb.h"
#include "polybatch/v1/results.grpc.pb.h"
#include "polybatch/v1/status.grpc.pb.h"
#include "sha256.h"

namespace polybatch {
namespace {

using grpc::ServerContext;
using grpc::Status;

const Status kAway(grpc::StatusCode::UNAVAILABLE, "away for a moment");

// Keeps what it is sent; its first stream breaks after one chunk, which is committed.
class Gateway : public v1::BatchService::Service, public v1::FileService::Service {
 public:
  Status GetUploadStatus(ServerContext*, const v1::GetUploadStatusRequest* request,
                         v1::UploadStatus* status) override {
    if (received.empty()) return {grpc::StatusCode::NOT_FOUND, "not begun"};
    status->set_upload_id(request->upload_id());
    status->set_committed_size(static_cast<std::int64_t>(received.size()));
    return Status::OK;
  }

  Status SubmitBatch(ServerContext*, grpc::ServerReader<v1::SubmitBatchRequest>* stream,
                     v1::Batch* batch) override {
    v1::SubmitBatchRequest message;
    while (stream->Read(&message)) {
      if (message.has_spec()) specs.push_back(message.spec());
      received += message.chunk();
      if (message.has_chunk() && specs.size() == 1) return kAway;
      if (message.finish()) finished = true;
    }
    batch->set_id("batch_1");
    return Status::OK;
  }

  std::vector<v1::SubmitBatchRequest::Spec> specs;
  std::string received;
  bool finished = false;
};

// Its first download breaks in the middle of a line; its watch stays as it is.
class Collector : public v1::StatusService::Service, public v1::ResultService::Service {
 public:
  Status WatchBatch(ServerContext* context, const v1::WatchBatchRequest* request,
                    grpc::ServerWriter<v1::WatchBatchResponse>* stream) override {
    v1::WatchBatchResponse reply;
    reply.mutable_batch()->set_id(request->batch_id());
    reply.mutable_batch()->set_revision(1);
    if (ends_in_unknown_state) {
      watched_after.push_back(request->last_revision());
      reply.mutable_batch()->set_state(static_cast<v1::BatchState>(99));
      if (request->last_revision() == 0) stream->Write(reply);
      return Status::OK;
    }
    // Signs of life follow, as fast as they are read.
    for (; stream->Write(reply) && !context->IsCancelled(); std::this_thread::yield())
      reply.clear_batch();
    return Status::CANCELLED;
  }

  Status DownloadResults(ServerContext*, const v1::DownloadResultsRequest* request,
                         grpc::ServerWriter<v1::DownloadResultsResponse>* stream) override {
    requests.push_back(*request);
    v1::DownloadResultsResponse reply;
    reply.mutable_header()->set_total_bytes(static_cast<std::int64_t>(content.size()));
    reply.mutable_header()->set_results_revision(3);
    reply.mutable_header()->mutable_manifest()->set_results_sha256(digest);
    stream->Write(reply);
    constexpr std::size_t kChunk = 7;
    for (auto at = static_cast<std::size_t>(request->offset()); at < content.size(); at += kChunk) {
      if (requests.size() == 1 && at >= 3 * kChunk) return kAway;
      reply.set_chunk(content.substr(at, kChunk));
      stream->Write(reply);
    }
    return Status::OK;
  }

  std::string content = "{\"id\": \"first\"}\n{\"id\": \"the second\"}\n\n{\"id\": \"last\"}";
  std::string digest;
  std::vector<v1::DownloadResultsRequest> requests;
  bool ends_in_unknown_state = false;
  std::vector<std::int64_t> watched_after;
};

class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    internal::Sha256 digest;
    digest.update(collector_.content);
    collector_.digest = digest.hex();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (grpc::Service* service : std::initializer_list<grpc::Service*>{
             static_cast<v1::BatchService::Service*>(&gateway_),
             static_cast<v1::FileService::Service*>(&gateway_),
             static_cast<v1::StatusService::Service*>(&collector_),
             static_cast<v1::ResultService::Service*>(&collector_)})
      builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    options_.gateway = options_.collector = "127.0.0.1:" + std::to_string(port);
    options_.api_key = "key";
  }

  Gateway gateway_;
  Collector collector_;
  std::unique_ptr<grpc::Server> server_;
  ClientOptions options_;
};

TEST_F(ClientTest, AStreamIsSentFromWhereItStandsAndGoneOnWithWhereItBroke) {
  const std::string content(1'500'000, 'x');
  std::istringstream requests("before" + content);
  requests.seekg(6);
  std::vector<std::int64_t> sent;
  SubmitOptions options;
  options.filename = "mine.jsonl";
  options.on_progress = [&](std::int64_t bytes, std::int64_t total) {
    EXPECT_EQ(total, 1'500'000);
    sent.push_back(bytes);
  };
  EXPECT_EQ(Client(options_).submit(requests, options).id(), "batch_1");
  EXPECT_TRUE(gateway_.received == content);
  EXPECT_TRUE(gateway_.finished);
  ASSERT_EQ(gateway_.specs.size(), 2U);
  EXPECT_EQ(gateway_.specs[0].upload().upload_id(), gateway_.specs[1].upload().upload_id());
  EXPECT_EQ(gateway_.specs[1].upload().write_offset(), 1024 * 1024);
  EXPECT_EQ(gateway_.specs[1].upload().filename(), "mine.jsonl");
  EXPECT_EQ(sent.back(), 1'500'000);
}

TEST_F(ClientTest, AWatchEndsInAStateOfALaterVersion) {
  collector_.ends_in_unknown_state = true;
  EXPECT_EQ(Client(options_).wait("batch_1").revision(), 1);
  // Once more than the first OK, which may be that of a service that is stopping.
  EXPECT_EQ(collector_.watched_after, (std::vector<std::int64_t>{0, 1}));
}

TEST_F(ClientTest, WhatCannotSeekIsRefusedBeforeAnyCall) {
  std::istream nothing(nullptr);
  try {
    Client(options_).submit(nothing);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "SOURCE_UNREADABLE");
  }
  EXPECT_TRUE(gateway_.specs.empty());
}

TEST_F(ClientTest, LinesOfResultsComeWholeThoughTheirStreamBreaks) {
  std::vector<std::string> lines;
  // The client is gone before the loop begins.
  for (std::string& line : Client(options_).results("batch_1")) lines.push_back(std::move(line));
  EXPECT_EQ(lines, (std::vector<std::string>{"{\"id\": \"first\"}", "{\"id\": \"the second\"}", "",
                                             "{\"id\": \"last\"}"}));
  ASSERT_EQ(collector_.requests.size(), 2U);
  EXPECT_EQ(collector_.requests[1].offset(), 21);
  EXPECT_EQ(collector_.requests[1].results_revision(), 3);
}

TEST_F(ClientTest, LinesThatAreNotThoseOfTheManifestEndWithAnError) {
  collector_.digest = std::string(64, '0');
  std::size_t lines = 0;
  try {
    for ([[maybe_unused]] const std::string& line : Client(options_).results("batch_1")) ++lines;
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "DIGEST_MISMATCH");
    EXPECT_EQ(error.code(), grpc::StatusCode::DATA_LOSS);
  }
  EXPECT_EQ(lines, 3U);
}

TEST_F(ClientTest, AStopTokenEndsAWatchFromAnotherThread) {
  std::stop_source stop;
  std::thread other;
  try {
    for (const v1::Batch& batch : Client(options_).watch("batch_1", stop.get_token())) {
      EXPECT_EQ(batch.revision(), 1);
      other = std::thread([&] { stop.request_stop(); });
    }
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.reason(), "STOPPED");
  }
  other.join();
}

}  // namespace
}  // namespace polybatch
