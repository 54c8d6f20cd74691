// The readable kernels: what every other instruction set is held to.
#include <algorithm>
#include <cstring>

#include "resample.h"

namespace penstock {
namespace {

uint8_t clip8(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

constexpr int32_t kHalf = 1 << (kWeightBits - 1);

void horizontal(const AxisTable& table, const uint8_t* in, ptrdiff_t stride, int rows, size_t /*readable*/,
                uint8_t* out, ptrdiff_t out_stride) {
  for (int row = 0; row < rows; ++row, in += stride, out += out_stride) {
    const int32_t* weights = table.weights.data();
    uint8_t* to = out;
    for (int o = 0; o < table.window_size; ++o, weights += table.max_count, to += 3) {
      const uint8_t* from = in + static_cast<ptrdiff_t>(table.first[o]) * 3;
      int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (int k = 0; k < table.count[o]; ++k, from += 3) {
        red += from[0] * weights[k];
        green += from[1] * weights[k];
        blue += from[2] * weights[k];
      }
      to[0] = clip8(red);
      to[1] = clip8(green);
      to[2] = clip8(blue);
    }
  }
}

void vertical(const uint8_t* const* rows, const int32_t* weights, int count, int bytes, uint8_t* out) {
  constexpr int kBlock = 256;
  int32_t sums[kBlock];
  for (int start = 0; start < bytes; start += kBlock) {
    const int n = std::min(kBlock, bytes - start);
    std::fill(sums, sums + n, kHalf);
    for (int k = 0; k < count; ++k) {
      const uint8_t* row = rows[k] + start;
      const int32_t weight = weights[k];
      for (int i = 0; i < n; ++i) sums[i] += row[i] * weight;
    }
    for (int i = 0; i < n; ++i) out[start + i] = clip8(sums[i]);
  }
}

void normalize_planar(const uint8_t* in, int width, const Normalizer& n, float* out, ptrdiff_t plane_stride) {
  for (int c = 0; c < 3; ++c) {
    const float* table = n.table[c];
    float* plane = out + c * plane_stride;
    for (int x = 0; x < width; ++x) plane[x] = table[in[x * 3 + c]];
  }
}

void normalize_planes(const uint8_t* const* in, int width, const Normalizer& n, float* out, ptrdiff_t plane_stride) {
  for (int c = 0; c < 3; ++c) {
    for (int x = 0; x < width; ++x) out[c * plane_stride + x] = n.table[c][in[c][x]];
  }
}

void normalize_interleaved(const uint8_t* in, int width, const Normalizer& n, float* out) {
  for (int x = 0; x < width; ++x, in += 3, out += 3) {
    for (int c = 0; c < 3; ++c) out[c] = n.table[c][in[c]];
  }
}

void normalize_runs(const uint8_t* in, int runs, int run, const Normalizer& n, float* out, ptrdiff_t stride,
                    const float* /*next*/) {
  for (int i = 0; i < runs; ++i, in += run * 3, out += stride) normalize_interleaved(in, run, n, out);
}

void split_planar(const uint8_t* in, int width, uint8_t* out, ptrdiff_t plane_stride) {
  for (int c = 0; c < 3; ++c) {
    uint8_t* plane = out + c * plane_stride;
    for (int x = 0; x < width; ++x) plane[x] = in[x * 3 + c];
  }
}

}  // namespace

const Kernels& portable_kernels() {
  static const Kernels table = {"portable",       horizontal,       vertical,
                                normalize_planar, normalize_planes, normalize_interleaved,
                                normalize_runs,   split_planar,     nullptr};
  return table;
}

}  // namespace penstock
