// fidelity="fast": the first resize of a chain done while decoding, by the scaled IDCT and on the planes as stored.
#pragma once

#include "jpeg.h"
#include "transform.h"

namespace penstock {

// How the first resize is done while decoding. The steps it stands for are steps[0, consumed); what comes out is an
// image of `size` in the stored frame (the orientation is still to be applied), on which the other steps run.
struct FastPlan {
  bool possible = false;  // false: nothing is gained or it cannot be done; decode exactly
  size_t consumed = 0;
  Size size;
  int scale = 8;        // of the IDCT, in eighths
  bool planar = false;  // all of the file, luma and chroma resampled as stored; else rows of the part around the box
  Filter filter = Filter::bilinear;
  double box[4] = {0, 0, 0, 0};  // top, left, bottom, right in stored pixels
  uint64_t working_bytes = 0;    // of the planes, beside header.working_bytes
};

FastPlan plan_fast(const Header& header, const std::vector<Step>& steps);

// As decode_jpeg, but what is pushed are rows of an image of plan.size, RGB: all, or those that the sink wants.
DecodeResult decode_jpeg_fast(const uint8_t* data, size_t size, const Header& header, const FastPlan& plan,
                              const Limits& limits, DecodeScratch& scratch, TransformScratch& transform,
                              const std::atomic<bool>& cancel, RowSink& sink);

}  // namespace penstock
