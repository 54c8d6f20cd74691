// The second resampler: the weights of the first, in floating point, with nothing rounded between the passes.
#pragma once

#include <memory>
#include <vector>

#include "resample.h"

namespace penstock {

// The weights of one axis: output o is made of inputs [first[o], first[o] + count[o]). Computed in double precision as
// build_axis does, then kept as floats; an axis that changes nothing has one weight of 1 each.
struct FloatAxis {
  int in_size = 0, out_size = 0;
  float box_start = 0, box_end = 0;
  Filter filter = Filter::bilinear;
  std::vector<int32_t> first, count;
  std::vector<float> weights;  // out_size x max_count, zero padded
  int max_count = 0;
  int input_low = 0, input_high = 0;  // inputs that any output needs: [input_low, input_high)
};

FloatAxis build_float_axis(int in_size, int out_size, float box_start, float box_end, Filter filter);

// What a thread keeps from image to image: the last tables, and memory for the rows between the passes.
class FloatScratch {
 public:
  std::shared_ptr<const FloatAxis> axis(int in_size, int out_size, float box_start, float box_end, Filter filter);
  std::vector<float> between, block;
  void trim();  // lets go of what only a large image needed

 private:
  std::vector<std::shared_ptr<const FloatAxis>> axes_;  // most recent last, bounded
};

}  // namespace penstock
