// Rows flow through sinks: the decoder pushes stored rows as they come; each sink keeps only what it needs.
#pragma once

#include <memory>
#include <vector>

#include "types.h"

namespace penstock {

constexpr int kChannels = 3;  // of RGB, what the kernels are written for; other formats take the plain path

// Takes the rows of one image in arrival order: `count` rows, `stride` bytes apart, each width pixels of the format the
// sink was built for (decoders: RGB for modes rgb and grey, RGBA for mode rgba; uint16 in native byte order for depth
// sixteen). Whether arrival order is top-down or bottom-up (orientations 3 and 4, stored) is fixed when a sink is
// built.
class RowSink {
 public:
  virtual ~RowSink() = default;
  // The part of the stored image that anything after needs; nothing else has to be pushed. {0, 0, 0, 0}: all of it.
  virtual Region wanted() const { return {}; }
  // Said before the first push by a decoder that pushes only a part of the stored image, one that holds wanted().
  virtual void expect(const Region& /*arriving*/) {}
  virtual void push(const uint8_t* rows, ptrdiff_t stride, int count) = 0;
  // Whether rows of RGB may come as three planes instead, for a decoder that has them so: spares joining and splitting.
  virtual bool takes_planes() const { return false; }
  virtual void push_planes(const uint8_t* const* /*planes*/, ptrdiff_t /*stride*/, int /*count*/) {}
};

}  // namespace penstock
