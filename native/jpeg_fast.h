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
  bool planar = false;  // luma and chroma are resampled as stored, colours converted at the end
  Filter filter = Filter::bilinear;
  double box[4] = {0, 0, 0, 0};  // top, left, bottom, right in stored pixels
};

FastPlan plan_fast(const Header& header, const std::vector<Step>& steps);

// As decode_jpeg, but what is pushed are plan.size.height rows of plan.size.width RGB pixels.
DecodeResult decode_jpeg_fast(const uint8_t* data, size_t size, const Header& header, const FastPlan& plan,
                              const Limits& limits, DecodeScratch& scratch, TransformScratch& transform,
                              const std::atomic<bool>& cancel, RowSink& sink);

}  // namespace penstock
