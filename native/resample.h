// Pillow's resampling, exactly: 22-bit fixed-point weights, uint8 between the passes.
#pragma once

#include <memory>
#include <utility>

#include "types.h"

namespace penstock {

constexpr int kWeightBits = 22;

enum class Filter : uint8_t { nearest, box, bilinear, hamming, bicubic, lanczos };

// The weights of one axis: output o (window-relative: 0 is window_start) is made of inputs [first[o], first[o] +
// count[o]). Values are those of Pillow's precompute_coeffs + normalize_coeffs_8bpc for the *whole* axis (out_size), of
// which only outputs [window_start, window_start + window_size) are kept. `mirrored`: the input arrives reversed
// (stored right to left, or bottom up): first/weights refer to arrival positions. `flipped`: the kept outputs are
// listed last to first. nearest: count is 1 (0 where Pillow writes zeros), weight 1 << 22.
struct AxisTable {
  int in_size = 0, out_size = 0, window_start = 0, window_size = 0;
  bool identity = false;    // Pillow skips this pass (in_size == out_size and the box is the whole axis)
  bool descending = false;  // first[] falls as o grows (mirrored or flipped, not both)
  int max_count = 0;
  int input_low = 0, input_high = 0;  // arrival positions that any output needs: [input_low, input_high)
  std::vector<int32_t> first, count;
  std::vector<int32_t> weights;  // window_size x max_count, zero padded
  // Packed form for the SIMD kernels (pack_axis_avx2): byte offset of each output's first load, then the weights'
  // halves.
  std::vector<int32_t> loads;
  std::vector<int16_t> packed;
  size_t reach = 0;                      // bytes of a row that the packed form's loads may touch; 0: no packed form
  const int16_t* packed_begin() const {  // 32-byte aligned
    return reinterpret_cast<const int16_t*>((reinterpret_cast<uintptr_t>(packed.data()) + 31) & ~uintptr_t{31});
  }
};

struct AxisRequest {
  int in_size, out_size;
  float box_start, box_end;  // float, as Pillow's C code takes them
  Filter filter;
  int window_start, window_size;
  bool mirrored;
  bool flipped = false;
  bool operator==(const AxisRequest& o) const;
};

AxisTable build_axis(const AxisRequest& request);

// The most inputs that one output of this axis can need: known before any table is built.
int axis_support(const AxisRequest& request);

// Whether Pillow skips the pass.
bool axis_is_identity(const AxisRequest& request);

// Whether Pillow >= 13 runs the vertical pass before the horizontal one: where the height loses more than twice the
// rows that the width loses columns. Earlier versions never do. Sizes are those of the whole image and of the whole
// output.
constexpr bool vertical_pass_first(Size in, Size out) {
  const int64_t rows = static_cast<int64_t>(in.height) - out.height;
  const int64_t columns = static_cast<int64_t>(in.width) - out.width;
  return rows > 0 && rows > columns * 2;
}

// A small per-thread cache: data sets repeat sizes.
class AxisCache {
 public:
  std::shared_ptr<const AxisTable> get(const AxisRequest& request);

 private:
  std::vector<std::pair<AxisRequest, std::shared_ptr<const AxisTable>>> entries_;  // most recent last, bounded
};

// Kernels, chosen once for the CPU ("avx2", "portable"); every one equal to the portable one, bit for bit.
struct Kernels {
  const char* name;
  // `rows` rows, `channels` == 3 interleaved: out[o] = clip8((1 << 21) + sum in[first[o] + k] * weights[o][k] >> 22).
  // `readable`: bytes that may be read from the start of each row (>= input_high * 3), so that wide loads stay inside.
  void (*horizontal)(const AxisTable& table, const uint8_t* in, ptrdiff_t stride, int rows, size_t readable,
                     uint8_t* out, ptrdiff_t out_stride);
  // One output row of `bytes` bytes from `count` input rows with `weights`.
  void (*vertical)(const uint8_t* const* rows, const int32_t* weights, int count, int bytes, uint8_t* out);
  // Normalises one row of `width` RGB pixels: (x / 255 - mean) / std per channel, float32, true divisions' bits.
  // planar: out + c * plane_stride floats; interleaved: 3 floats a pixel at out.
  void (*normalize_planar)(const uint8_t* in, int width, const struct Normalizer& n, float* out,
                           ptrdiff_t plane_stride);
  // The same of a row in three planes.
  void (*normalize_planes)(const uint8_t* const* in, int width, const struct Normalizer& n, float* out,
                           ptrdiff_t plane_stride);
  void (*normalize_interleaved)(const uint8_t* in, int width, const struct Normalizer& n, float* out);
  // The pixels at `in` in runs of `run`, each normalised as above, interleaved, to a place `stride` floats behind that
  // of the run before. `next`, where it is not null, is memory of as many floats that will be written soon: the
  // fetching of it may begin.
  void (*normalize_runs)(const uint8_t* in, int runs, int run, const struct Normalizer& n, float* out, ptrdiff_t stride,
                         const float* next);
  void (*split_planar)(const uint8_t* in, int width, uint8_t* out, ptrdiff_t plane_stride);
  // Fills the packed form of a table that is otherwise complete; null where the kernels need none.
  void (*pack_axis)(AxisTable& table);
};
const Kernels& kernels();  // the best for this CPU (environment PENSTOCK_SIMD=portable|avx2 overrides)
const Kernels& portable_kernels();
const Kernels* avx2_kernels();  // nullptr where not built or not supported

// The nearest half-precision and bfloat16 values, ties to even.
uint16_t half_of(float value);
uint16_t bfloat16_of(float value);

// (x / 255 - mean) / std for all 256 values a channel, by true float32 divisions; kernels may compute instead of look
// up only where `computable` says that the computed form was checked equal for all 256 x 3 values.
// The computed form multiplies by a reciprocal in two parts: x / d is fma(x, high, x * low), rounded once at the end.
struct Normalizer {
  int channels;
  float mean[4], std[4];
  alignas(64) float table[4][256];
  uint16_t half[4][256], bfloat16[4][256];  // the same values rounded to nearest even
  bool computable = false;
  float unit_high, unit_low;      // 1 / 255
  float std_high[4], std_low[4];  // 1 / std
  Normalizer(const float* mean, const float* std, int channels = 3);
};

}  // namespace penstock
