// What lets a decode begin once more from the first row without its sink noticing.
#pragma once

#include <algorithm>

#include "rows.h"

namespace penstock {

// Passes rows on, each once: after begin_again() those that have been passed on before are dropped. Both times the same
// rows have to be pushed.
class RepeatableSink final : public RowSink {
 public:
  explicit RepeatableSink(RowSink& sink) : sink_(sink) {}
  Region wanted() const override { return sink_.wanted(); }
  void expect(const Region& arriving) override {
    if (!expected_) sink_.expect(arriving);
    expected_ = true;
  }
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    const int known = pass(count);
    if (known < count) sink_.push(rows + known * stride, stride, count - known);
  }
  bool takes_planes() const override { return sink_.takes_planes(); }
  void push_planes(const uint8_t* const* planes, ptrdiff_t stride, int count) override {
    const int known = pass(count);
    if (known == count) return;
    const uint8_t* const rest[kChannels] = {planes[0] + known * stride, planes[1] + known * stride,
                                            planes[2] + known * stride};
    sink_.push_planes(rest, stride, count - known);
  }
  void begin_again() { at_ = 0; }

 private:
  // How many of the next `count` rows have been passed on before.
  int pass(int count) {
    const int known = std::min(count, passed_ - at_);
    at_ += count;
    passed_ = std::max(passed_, at_);
    return known;
  }

  RowSink& sink_;
  int at_ = 0, passed_ = 0;
  bool expected_ = false;
};

}  // namespace penstock
