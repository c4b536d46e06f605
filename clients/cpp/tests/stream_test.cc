// What loops over a stream may rely on.
#include <gtest/gtest.h>
#include <polybatch/stream.h>

#include <stdexcept>
#include <vector>

namespace polybatch {
namespace {

class Count : public Stream<int>::Source {
 public:
  Count(bool& open, int fails_at) : open_(open), fails_at_(fails_at) { open_ = true; }
  ~Count() override { open_ = false; }
  bool next(int& item) override {
    if (++last_ == fails_at_) throw std::runtime_error("broken");
    item = last_;
    return last_ <= 3;
  }

 private:
  bool& open_;
  int fails_at_;
  int last_ = 0;
};

class StreamTest : public testing::Test {
 protected:
  Stream<int> count(int fails_at = 0) {
    return Stream<int>(std::make_unique<Count>(open_, fails_at));
  }
  bool open_ = false;
};

TEST_F(StreamTest, GivesEachItemOnceAndClosesAtTheEnd) {
  Stream<int> stream = count();
  std::vector<int> found;
  for (const int item : stream) found.push_back(item);
  EXPECT_EQ(found, (std::vector{1, 2, 3}));
  EXPECT_FALSE(open_);
  EXPECT_TRUE(stream.begin() == stream.end());
}

TEST_F(StreamTest, LeavingTheLoopClosesIt) {
  for (const int item : count()) {
    EXPECT_EQ(item, 1);
    EXPECT_TRUE(open_);
    break;
  }
  EXPECT_FALSE(open_);
}

TEST_F(StreamTest, AnErrorIsItsEnd) {
  Stream<int> stream = count(2);
  EXPECT_THROW(for ([[maybe_unused]] const int item : stream){}, std::runtime_error);
  EXPECT_FALSE(open_);
  EXPECT_TRUE(stream.begin() == stream.end());
}

}  // namespace
}  // namespace polybatch
