// Rows flow through sinks: the decoder pushes stored rows as they come; each sink keeps only what it needs.
#pragma once

#include <memory>
#include <vector>

#include "types.h"

namespace penstock {

constexpr int kChannels = 3;  // uint8 RGB, interleaved, between decode and pack

// Takes the rows of one image in arrival order: `count` rows, `stride` bytes apart, each width * 3 bytes of RGB.
// Whether arrival order is top-down or bottom-up (orientations 3 and 4, stored) is fixed when a sink is built.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void push(const uint8_t* rows, ptrdiff_t stride, int count) = 0;
};

}  // namespace penstock
