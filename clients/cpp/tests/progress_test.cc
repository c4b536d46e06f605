// What `submit` lets through to a terminal.
#include "progress.h"

#include <gtest/gtest.h>

namespace {

std::string said(const std::string& text) {
  testing::internal::CaptureStderr();
  say(text);
  return testing::internal::GetCapturedStderr();
}

TEST(Say, ControlCharactersAreShownAsQuestionMarks) {
  EXPECT_EQ(said("a\x1b[31m\r\nb\x7f"), "a?[31m??b?\n");
  EXPECT_EQ(said("\xc2\x9b"
                 "1m \xe2\x80\xae"),
            "?1m ?\n");
}

TEST(Say, TextInAnyLanguageIsLeftAsItIs) {
  EXPECT_EQ(said("Zürich, 東京, 🙂"), "Zürich, 東京, 🙂\n");
}

TEST(Say, BytesThatAreNotUtf8AreShownAsQuestionMarks) {
  EXPECT_EQ(said("a\xff\xe2\x82z\xc0\x80"), "a???z??\n");
}

TEST(Progress, SaysASnapshotOnlyWhereItSaysMoreThanCounts) {
  polybatch::v1::Batch batch;
  batch.set_id("batch_1");
  batch.set_state(polybatch::v1::BATCH_STATE_COMPLETED);
  batch.set_display_state("Completed");
  batch.set_progress_percent(99.9);
  batch.mutable_request_counts()->set_total(4);
  batch.mutable_request_counts()->set_succeeded(3);
  batch.mutable_request_counts()->set_failed(1);
  Progress progress;
  testing::internal::CaptureStderr();
  progress.show(batch);
  progress.show(batch);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "batch_1: Completed (completed), 99 %, 4 of 4 lines, 1 failed\n");
}

}  // namespace
