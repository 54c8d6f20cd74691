// Single planes resampled to 8 bits: what fast mode is made of. Weights have 7 bits, so that bytes times bytes add up
// in 16: near Pillow's result, not equal to it.
#pragma once

#include "resample.h"

namespace penstock {

constexpr int kPlaneTaps = 4;                   // taps are a multiple
constexpr int kPlaneGroup = 4;                  // outputs that one 16-byte load serves
constexpr int kPlaneOutputs = 4 * kPlaneGroup;  // tables have room for a multiple
constexpr int kPlaneReach = 12;                 // the most that the last output of a group may start after the first
constexpr size_t kPlanePad = 64;                // bytes behind every row that kernels may read and write

// One axis: output o is made of inputs [first[o], first[o] + taps). Where the plane has fewer inputs than that, the
// weights behind the last are zero and the row's padding is read.
struct PlaneAxis {
  int out_size = 0, taps = 0, low = 0, high = 0;  // inputs [low, high) are read
  int bits = 7;  // of the weights: each output's sum to 1 << bits; 6 where some are negative
  std::vector<int32_t> first;
  std::vector<int32_t> count;   // taps an output really has: the weights behind them are zero
  std::vector<int8_t> weights;  // taps an output
  // For the kernels: whether groups of four share a load; then, a group, the bytes of it that each tap takes, and the
  // weights in that order, two groups after another for every step of four taps. one_load: eight taps need no more.
  // eights: where there are four taps, groups of eight share one; then bytes and weights are those of taps 0 and 1 of
  // two groups, then those of taps 2 and 3.
  bool grouped = false, one_load = false, eights = false;
  std::vector<uint8_t> masks;
  std::vector<int8_t> packed;
};

struct PlaneRequest {
  int in_size, out_size;
  double box_start, box_end;
  Filter filter;
  double width;  // of the filter, in inputs: what Pillow would use is max(1, (box_end - box_start) / out_size)
  bool operator==(const PlaneRequest& o) const;
};

PlaneAxis build_plane_axis(const PlaneRequest& request);

class PlaneAxisCache {
 public:
  std::shared_ptr<const PlaneAxis> get(const PlaneRequest& request);

 private:
  std::vector<std::pair<PlaneRequest, std::shared_ptr<const PlaneAxis>>> entries_;  // bounded
};

// Every one equal to the portable one, bit for bit. Rows have kPlanePad bytes behind their end.
struct PlaneKernels {
  const char* name;
  void (*vertical)(const uint8_t* const* rows, const int8_t* weights, int count, int bits, int bytes, uint8_t* out);
  // in: input `low` comes first; `stride` bytes from row to row, of the input and of the output.
  void (*horizontal)(const PlaneAxis& axis, const uint8_t* in, ptrdiff_t stride, int rows, uint8_t* out);
  // A row of Y, Cb, Cr of the full range (JFIF) to R, G, B in their places; luma_lift and colour_lift, in 1/32, are
  // added to the samples.
  void (*colours)(uint8_t* const* planes, int width, int luma_lift, int colour_lift);
  // A row of three planes to interleaved pixels.
  void (*join)(const uint8_t* const* planes, int width, uint8_t* out);
};
const PlaneKernels& plane_kernels();  // the best for this CPU, under the same rule as kernels()
const PlaneKernels& portable_plane_kernels();
const PlaneKernels* avx2_plane_kernels();  // nullptr where not built or not supported

}  // namespace penstock
