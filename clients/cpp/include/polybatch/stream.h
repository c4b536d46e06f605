// A range of what comes one by one: for (const auto& item : stream).
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <ranges>
#include <utility>

namespace polybatch {

// Single pass: begin() takes the first item, each increment waits for the next one. Leaving
// the loop and destroying the stream ends the call behind it. Any step may throw Error; the
// stream is at its end then. Not to be used by several threads at once.
template <class T>
class Stream {
 public:
  // Where items come from.
  class Source {
   public:
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;
    // Waits for the next item; false at the end.
    virtual bool next(T& item) = 0;
  };

  explicit Stream(std::unique_ptr<Source> source) : source_(std::move(source)) {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit iterator(Stream& stream) : stream_(&stream) {}
    // The item may be moved from.
    T& operator*() const { return stream_->item_; }
    T* operator->() const { return &stream_->item_; }
    iterator& operator++() {
      stream_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return stream_->source_ == nullptr; }

   private:
    Stream* stream_;
  };

  iterator begin() {
    advance();
    return iterator(*this);
  }
  std::default_sentinel_t end() const { return {}; }

 private:
  void advance() {
    if (source_ == nullptr) return;
    // Given back only where an item came: after an exception, too, this is the end.
    auto source = std::move(source_);
    if (source->next(item_)) source_ = std::move(source);
  }

  std::unique_ptr<Source> source_;
  T item_{};
};

static_assert(std::ranges::input_range<Stream<int>>);

}  // namespace polybatch
