// What the decoders of PNG and WebP share: the clock, and which part of the image they push.
#pragma once

#include <chrono>

#include "header.h"
#include "rows.h"

namespace penstock {

inline int64_t decode_clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The part of the stored image that will be pushed, no more than the sink wants; it is told where that is not all.
inline Region arriving_region(const Header& header, RowSink& sink) {
  const Region all{0, 0, header.stored_height, header.stored_width}, wanted = sink.wanted();
  if (wanted.height <= 0 || wanted.width <= 0 || wanted == all) return all;
  sink.expect(wanted);
  return wanted;
}

}  // namespace penstock
