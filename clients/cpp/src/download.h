// The bytes of results, gone on with at the offset where their stream broke.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "core.h"
#include "polybatch/v1/results.grpc.pb.h"
#include "sha256.h"

namespace polybatch::internal {

class Download {
 public:
  Download(std::shared_ptr<Core> core, std::string batch_id, v1::ResultFilter filter,
           std::stop_token stop);

  // Waits for what comes next; false once all has come and its digest is right. Throws Error,
  // DIGEST_MISMATCH too.
  bool next(std::string& chunk);
  // Once anything has come.
  [[nodiscard]] const v1::ResultsHeader& header() const { return *header_; }

 private:
  void open();
  bool read(std::string& chunk);
  void check_digest();

  std::shared_ptr<Core> core_;
  std::stop_token stop_;
  Attempts attempts_;
  // With the bytes received as its offset.
  v1::DownloadResultsRequest request_;
  std::optional<v1::ResultsHeader> header_;
  std::optional<Replies<v1::DownloadResultsResponse>> replies_;
  Sha256 digest_;
  bool done_ = false;
};

}  // namespace polybatch::internal
