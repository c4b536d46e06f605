#include "progress.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

namespace v1 = polybatch::v1;

namespace {

constexpr int kMostWaitingReasons = 5;

// One character: its code point, and its length in bytes. Of what is not UTF-8: a control
// character, of one byte.
std::pair<std::uint32_t, std::size_t> decode(std::string_view text) {
  constexpr std::pair<std::uint32_t, std::size_t> kBad = {0, 1};
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return kBad;
  std::uint32_t point = first & (0xffU >> (length + 1));
  for (std::size_t at = 1; at < length; ++at) {
    const auto next = static_cast<unsigned char>(text[at]);
    if ((next & 0xc0) != 0x80) return kBad;
    point = point << 6 | (next & 0x3f);
  }
  const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
  const bool none = (point >= 0xd800 && point < 0xe000) || point > 0x10ffff;
  return overlong || none ? kBad : std::pair{point, length};
}

// Also marks that turn the direction of what follows, or are not seen.
bool is_control(std::uint32_t point) {
  return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x61c ||
         (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
         (point >= 0x2060 && point <= 0x206f) || point == 0xfeff ||
         (point >= 0xe0000 && point <= 0xe007f);
}

std::string printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const auto [point, length] = decode(text);
    if (is_control(point))
      shown += '?';
    else
      shown.append(text.substr(0, length));
    text.remove_prefix(length);
  }
  return shown;
}

// "BATCH_STATE_IN_PROGRESS" as "in_progress".
std::string word_of(v1::BatchState state) {
  std::string name = v1::BatchState_Name(state);
  constexpr std::string_view kPrefix = "BATCH_STATE_";
  if (name.starts_with(kPrefix)) name.erase(0, kPrefix.size());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::vector<std::string> reasons_of(const v1::Batch& batch) {
  std::vector<std::string> reasons;
  for (const auto& error : batch.errors()) reasons.push_back(error.code() + ": " + error.message());
  if (batch.has_common_cause())
    reasons.push_back("every line failed for one cause: " + batch.common_cause().code() + ": " +
                      batch.common_cause().message());
  int waiting = 0;
  for (const auto& shard : batch.shards())
    if (!shard.waiting_reason().empty() && waiting++ < kMostWaitingReasons)
      reasons.push_back(shard.model() + " waits: " + shard.waiting_reason());
  return reasons;
}

}  // namespace

void say(const std::string& text) { std::fprintf(stderr, "%s\n", printable(text).c_str()); }

long long unsuccessful(const v1::Batch& batch) {
  const auto& counts = batch.request_counts();
  return counts.failed() + counts.cancelled() + counts.expired();
}

void Progress::show(const v1::Batch& batch) {
  const auto& counts = batch.request_counts();
  const std::string state = word_of(batch.state());
  const std::string percent =
      std::to_string(static_cast<int>(std::floor(batch.progress_percent()))) + " %";
  std::string reasons;
  for (const std::string& reason : reasons_of(batch)) reasons += "; " + reason;
  std::string news = state + percent + reasons;
  if (news == shown_) return;
  shown_ = std::move(news);
  std::string apart;
  for (const auto& [count, word] : {std::pair{counts.failed(), "failed"},
                                    {counts.cancelled(), "cancelled"},
                                    {counts.expired(), "expired"}})
    if (count > 0) apart += ", " + std::to_string(count) + " " + word;
  say(batch.id() + ": " + batch.display_state() + " (" + state + "), " + percent + ", " +
      std::to_string(counts.succeeded() + unsuccessful(batch)) + " of " +
      std::to_string(counts.total()) + " lines" + apart + reasons);
}
