// One decode for several chains: the rows of an image go to each of them.
#pragma once

#include <algorithm>
#include <deque>

#include "transform.h"

namespace penstock {

class Tee final : public RowSink {
 public:
  // The chains stay the caller's, who finishes them.
  explicit Tee(std::deque<Chain>& chains) : chains_(chains) {}

  // The smallest region that holds what each chain wants.
  Region wanted() const override {
    Region all = chains_.front().wanted();
    for (const Chain& chain : chains_) {
      const Region one = chain.wanted();
      if (one.height == 0 || all.height == 0) return {};
      const int bottom = std::max(all.top + all.height, one.top + one.height);
      const int right = std::max(all.left + all.width, one.left + one.width);
      all.top = std::min(all.top, one.top);
      all.left = std::min(all.left, one.left);
      all.height = bottom - all.top;
      all.width = right - all.left;
    }
    return all;
  }
  void expect(const Region& arriving) override {
    for (Chain& chain : chains_) chain.expect(arriving);
  }
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    for (Chain& chain : chains_) chain.push(rows, stride, count);
  }

 private:
  std::deque<Chain>& chains_;
};

}  // namespace penstock
