// Kernels for x86-64 with AVX2 and FMA. Built with -mavx2 -mfma; without them there are none.
#include "simd_layout.h"

#if !(defined(__AVX2__) && defined(__FMA__))

namespace penstock {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace penstock

#else

#include <immintrin.h>

namespace penstock {
namespace {

// A 22-bit weight times a byte does not fit a 16-bit multiply: weights are split into a high and a low half, each
// summed by pmaddwd. Sums are exact modulo 2^32 and the true sum fits 32 bits, so the split changes nothing.
__m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
__m256i load_weights(const int16_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
__m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
__m256i both(__m128i v) { return _mm256_broadcastsi128_si256(v); }

__m256i load_two(const uint8_t* low, const uint8_t* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(low)), load16(high), 1);
}

__m256i join(__m256i high, __m256i low) {
  const __m256i round = _mm256_set1_epi32(1 << (kWeightBits - 1));
  return _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(high, kLowBits), _mm256_add_epi32(low, round)),
                           kWeightBits);
}

// Taps (0, 1), (2, 3) and 4 of each half's load as 16-bit R R' G G' B B' 0 0.
struct TapMasks {
  __m256i mask[3];
  TapMasks() {
    const char x = -1;
    mask[0] = both(_mm_setr_epi8(0, x, 3, x, 1, x, 4, x, 2, x, 5, x, x, x, x, x));
    mask[1] = both(_mm_setr_epi8(6, x, 9, x, 7, x, 10, x, 8, x, 11, x, x, x, x, x));
    mask[2] = both(_mm_setr_epi8(12, x, x, x, 13, x, x, x, 14, x, x, x, x, x, x, x));
  }
};

// One slot: two outputs of each of kRows rows. kTaps <= 5: one load an output; 6 and 8: two; 0: `pairs` of taps counted
// at run time, one load for two.
template <int kRows, int kTaps>
inline void slot(const uint8_t* low, const uint8_t* high, ptrdiff_t stride, const int16_t* weights, int pairs,
                 const TapMasks& taps, __m256i* out) {
  __m256i high_sum[kRows] = {}, low_sum[kRows] = {};
  if constexpr (kTaps > 0) {
    // The pair at which the second load begins, the tap it begins at, and the place of that pair in it.
    constexpr int kPairs = (kTaps + 1) / 2;
    constexpr int kSecondPair = kTaps > kLoadTaps ? 2 : kPairs;
    constexpr int kSecondTap = kTaps == kTwoLoadTaps ? kSecondLoadTap : kChunkTaps;
    constexpr int kSecondMask = kTaps == kTwoLoadTaps ? 1 : 0;
    __m256i pixels[kRows] = {};
    for (int p = 0; p < kPairs; ++p) {
      if (p == 0 || p == kSecondPair) {
        const int at = p == 0 ? 0 : kSecondTap * 3;
        for (int r = 0; r < kRows; ++r) pixels[r] = load_two(low + r * stride + at, high + r * stride + at);
      }
      const __m256i high_weights = load_weights(weights + p * kPairWords);
      const __m256i low_weights = load_weights(weights + p * kPairWords + 16);
      for (int r = 0; r < kRows; ++r) {
        const __m256i pair =
            _mm256_shuffle_epi8(pixels[r], taps.mask[p < kSecondPair ? p : p - kSecondPair + kSecondMask]);
        const __m256i h = _mm256_madd_epi16(pair, high_weights), l = _mm256_madd_epi16(pair, low_weights);
        high_sum[r] = p == 0 ? h : _mm256_add_epi32(high_sum[r], h);
        low_sum[r] = p == 0 ? l : _mm256_add_epi32(low_sum[r], l);
      }
    }
  } else {
    for (int r = 0; r < kRows; ++r) high_sum[r] = low_sum[r] = _mm256_setzero_si256();
    for (int p = 0; p < pairs; p += 2, low += kChunkTaps * 3, high += kChunkTaps * 3, weights += 2 * kPairWords) {
      const __m256i high0 = load_weights(weights), low0 = load_weights(weights + 16);
      const __m256i high1 = load_weights(weights + 32), low1 = load_weights(weights + 48);
      for (int r = 0; r < kRows; ++r) {
        const __m256i pixels = load_two(low + r * stride, high + r * stride);
        const __m256i pair0 = _mm256_shuffle_epi8(pixels, taps.mask[0]);
        const __m256i pair1 = _mm256_shuffle_epi8(pixels, taps.mask[1]);
        high_sum[r] = _mm256_add_epi32(
            high_sum[r], _mm256_add_epi32(_mm256_madd_epi16(pair0, high0), _mm256_madd_epi16(pair1, high1)));
        low_sum[r] = _mm256_add_epi32(low_sum[r],
                                      _mm256_add_epi32(_mm256_madd_epi16(pair0, low0), _mm256_madd_epi16(pair1, low1)));
      }
    }
  }
  for (int r = 0; r < kRows; ++r) out[r] = join(high_sum[r], low_sum[r]);
}

template <int kRows, int kTaps>
void horizontal_rows(const AxisTable& table, int pairs, const uint8_t* in, ptrdiff_t stride, uint8_t* out,
                     ptrdiff_t out_stride) {
  const TapMasks taps;
  const char x = -1;
  const __m256i drop_fourth = both(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, x, x, x, x));
  const int32_t* loads = table.loads.data();
  const int16_t* weights = table.packed_begin();
  const int slot_words = pairs * kPairWords;
  for (int o = 0; o < table.window_size; o += kGroup, loads += kGroup, weights += kSlots * slot_words) {
    __m256i sums[kSlots][kRows];
    for (int j = 0; j < kSlots; ++j) {
      slot<kRows, kTaps>(in + loads[j], in + loads[j + kSlots], stride, weights + j * slot_words, pairs, taps, sums[j]);
    }
    for (int r = 0; r < kRows; ++r) {
      const __m256i bytes = _mm256_shuffle_epi8(
          _mm256_packus_epi16(_mm256_packus_epi32(sums[0][r], sums[1][r]), _mm256_packus_epi32(sums[2][r], sums[3][r])),
          drop_fourth);
      const __m128i first = _mm256_castsi256_si128(bytes), second = _mm256_extracti128_si256(bytes, 1);
      uint8_t* to = out + r * out_stride + o * 3;
      const int left = (table.window_size - o) * 3;
      if (left >= 28) {
        // The four bytes too many are the next group's to write.
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), first);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 12), second);
      } else {
        uint8_t last[32];
        _mm_storeu_si128(reinterpret_cast<__m128i*>(last), first);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(last + 12), second);
        __builtin_memcpy(to, last, static_cast<size_t>(left < 24 ? left : 24));
      }
    }
  }
}

template <int kTaps>
void horizontal_taps(const AxisTable& table, int pairs, const uint8_t* in, ptrdiff_t stride, int rows, uint8_t* out,
                     ptrdiff_t out_stride) {
  // Two rows share the loads of many weights; where few are needed, one row's sums stay in registers and that is
  // faster.
  constexpr int kTogether = kTaps > 0 ? 1 : 2;
  int row = 0;
  for (; row + kTogether <= rows; row += kTogether) {
    horizontal_rows<kTogether, kTaps>(table, pairs, in + row * stride, stride, out + row * out_stride, out_stride);
  }
  for (; row < rows; ++row) {
    horizontal_rows<1, kTaps>(table, pairs, in + row * stride, stride, out + row * out_stride, out_stride);
  }
}

void horizontal(const AxisTable& table, const uint8_t* in, ptrdiff_t stride, int rows, size_t readable, uint8_t* out,
                ptrdiff_t out_stride) {
  if (table.reach == 0 || readable < table.reach) {
    portable_kernels().horizontal(table, in, stride, rows, readable, out, out_stride);
    return;
  }
  const int taps = table.max_count > 0 ? table.max_count : 1;
  const int pairs = pairs_of(taps);
  const auto run = taps > 8               ? horizontal_taps<0>
                   : taps > kTwoLoadTaps  ? horizontal_taps<8>
                   : taps == kTwoLoadTaps ? horizontal_taps<6>
                   : taps == kLoadTaps    ? horizontal_taps<5>
                   : taps > 2             ? horizontal_taps<4>
                                          : horizontal_taps<2>;
  run(table, pairs, in, stride, rows, out, out_stride);
}

constexpr int kBlock = 32;

// Two rows' bytes side by side, widened: four vectors of 16-bit pairs, in the order in which packs put them back.
inline void interleave(const uint8_t* a, const uint8_t* b, __m256i pairs[4]) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i va = load32(a), vb = load32(b);
  const __m256i low = _mm256_unpacklo_epi8(va, vb), high = _mm256_unpackhi_epi8(va, vb);
  pairs[0] = _mm256_unpacklo_epi8(low, zero);
  pairs[1] = _mm256_unpackhi_epi8(low, zero);
  pairs[2] = _mm256_unpacklo_epi8(high, zero);
  pairs[3] = _mm256_unpackhi_epi8(high, zero);
}

inline __m256i halves(int32_t first, int32_t second, bool high) {
  const int32_t mask = (1 << kLowBits) - 1;
  const int32_t a = high ? first >> kLowBits : first & mask, b = high ? second >> kLowBits : second & mask;
  return _mm256_set1_epi32(
      static_cast<int32_t>((static_cast<uint32_t>(b) << 16) | (static_cast<uint32_t>(a) & 0xffffu)));
}

// kPairs: pairs of rows where known (their weights stay in registers), 0 where counted at run time.
template <int kPairs>
void vertical_pairs(const uint8_t* const* rows, const int32_t* weights, int count, int bytes, uint8_t* out) {
  constexpr int kKept = kPairs > 0 ? kPairs : 1;
  const int pairs = kPairs > 0 ? kPairs : (count + 1) / 2;
  const uint8_t* first[kKept];
  const uint8_t* second[kKept];
  __m256i high[kKept], low[kKept];
  for (int p = 0; p < kPairs; ++p) {
    const bool lone = 2 * p + 1 == count;
    first[p] = rows[2 * p];
    second[p] = rows[lone ? 2 * p : 2 * p + 1];
    high[p] = halves(weights[2 * p], lone ? 0 : weights[2 * p + 1], true);
    low[p] = halves(weights[2 * p], lone ? 0 : weights[2 * p + 1], false);
  }
  for (int at = 0;;) {
    __m256i high_sum[4], low_sum[4];
    for (int q = 0; q < 4; ++q) high_sum[q] = low_sum[q] = _mm256_setzero_si256();
    for (int p = 0; p < pairs; ++p) {
      __m256i words[4];
      __m256i h, l;
      if constexpr (kPairs > 0) {
        interleave(first[p] + at, second[p] + at, words);
        h = high[p];
        l = low[p];
      } else {
        const bool lone = 2 * p + 1 == count;
        interleave(rows[2 * p] + at, rows[lone ? 2 * p : 2 * p + 1] + at, words);
        h = halves(weights[2 * p], lone ? 0 : weights[2 * p + 1], true);
        l = halves(weights[2 * p], lone ? 0 : weights[2 * p + 1], false);
      }
      for (int q = 0; q < 4; ++q) {
        high_sum[q] = _mm256_add_epi32(high_sum[q], _mm256_madd_epi16(words[q], h));
        low_sum[q] = _mm256_add_epi32(low_sum[q], _mm256_madd_epi16(words[q], l));
      }
    }
    for (int q = 0; q < 4; ++q) high_sum[q] = join(high_sum[q], low_sum[q]);
    const __m256i packed = _mm256_packus_epi16(_mm256_packus_epi32(high_sum[0], high_sum[1]),
                                               _mm256_packus_epi32(high_sum[2], high_sum[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), packed);
    if (at + kBlock >= bytes) break;
    // The last block overlaps the one before it.
    at = at + 2 * kBlock <= bytes ? at + kBlock : bytes - kBlock;
  }
}

void vertical(const uint8_t* const* rows, const int32_t* weights, int count, int bytes, uint8_t* out) {
  if (bytes < kBlock || count == 0) {
    portable_kernels().vertical(rows, weights, count, bytes, out);
  } else if (count <= 2) {
    vertical_pairs<1>(rows, weights, count, bytes, out);
  } else if (count <= 4) {
    vertical_pairs<2>(rows, weights, count, bytes, out);
  } else if (count <= 6) {
    vertical_pairs<3>(rows, weights, count, bytes, out);
  } else {
    vertical_pairs<0>(rows, weights, count, bytes, out);
  }
}

struct Scale {
  __m256 unit_high, unit_low, mean, std_high, std_low;
};

inline __m256 normalized(__m256i value, const Scale& s) {
  const __m256 x = _mm256_cvtepi32_ps(value);
  const __m256 unit = _mm256_fmadd_ps(x, s.unit_high, _mm256_mul_ps(x, s.unit_low));
  const __m256 centred = _mm256_sub_ps(unit, s.mean);
  return _mm256_fmadd_ps(centred, s.std_high, _mm256_mul_ps(centred, s.std_low));
}

inline void normalize_eight(const uint8_t* in, const Scale& scale, float* out) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in));
  _mm256_storeu_ps(out, normalized(_mm256_cvtepu8_epi32(bytes), scale));
}

void normalize_planar(const uint8_t* in, int width, const Normalizer& n, float* out, ptrdiff_t plane_stride) {
  int x = 0;
  if (n.computable) {
    Scale scale[3];
    __m256i mask[3];
    for (int c = 0; c < 3; ++c) {
      scale[c] = {_mm256_set1_ps(n.unit_high), _mm256_set1_ps(n.unit_low), _mm256_set1_ps(n.mean[c]),
                  _mm256_set1_ps(n.std_high[c]), _mm256_set1_ps(n.std_low[c])};
      const char z = -1, first = static_cast<char>(c), second = static_cast<char>(c + 3);
      const char third = static_cast<char>(c + 6), fourth = static_cast<char>(c + 9);
      mask[c] = both(_mm_setr_epi8(first, z, z, z, second, z, z, z, third, z, z, z, fourth, z, z, z));
    }
    // Eight pixels: two loads of 16 bytes, 12 apart, the second four bytes into the ninth pixel and beyond.
    for (; x + 10 <= width; x += 8) {
      const __m256i pixels = load_two(in + x * 3, in + x * 3 + 12);
      for (int c = 0; c < 3; ++c) {
        _mm256_storeu_ps(out + c * plane_stride + x, normalized(_mm256_shuffle_epi8(pixels, mask[c]), scale[c]));
      }
    }
  }
  if (x < width) portable_kernels().normalize_planar(in + x * 3, width - x, n, out + x, plane_stride);
}

void normalize_planes(const uint8_t* const* in, int width, const Normalizer& n, float* out, ptrdiff_t plane_stride) {
  if (!n.computable || width < 8) {
    portable_kernels().normalize_planes(in, width, n, out, plane_stride);
    return;
  }
  Scale scale[3];
  for (int c = 0; c < 3; ++c) {
    scale[c] = {_mm256_set1_ps(n.unit_high), _mm256_set1_ps(n.unit_low), _mm256_set1_ps(n.mean[c]),
                _mm256_set1_ps(n.std_high[c]), _mm256_set1_ps(n.std_low[c])};
  }
  // The last eight overlap those before them.
  for (int x = 0; x < width; x = x + 8 < width && x + 16 > width ? width - 8 : x + 8) {
    for (int c = 0; c < 3; ++c) normalize_eight(in[c] + x, scale[c], out + c * plane_stride + x);
  }
}

// Constants for eight samples in a row: those of vector v of three, then again from the first.
void interleaved_scales(const Normalizer& n, Scale scale[3]) {
  for (int v = 0; v < 3; ++v) {
    alignas(32) float mean[8], high[8], low[8];
    for (int i = 0; i < 8; ++i) {
      const int c = (v * 8 + i) % 3;
      mean[i] = n.mean[c];
      high[i] = n.std_high[c];
      low[i] = n.std_low[c];
    }
    scale[v] = {_mm256_set1_ps(n.unit_high), _mm256_set1_ps(n.unit_low), _mm256_load_ps(mean), _mm256_load_ps(high),
                _mm256_load_ps(low)};
  }
}

void normalize_interleaved(const uint8_t* in, int width, const Normalizer& n, float* out) {
  int x = 0;
  if (n.computable) {
    Scale scale[3];
    interleaved_scales(n, scale);
    for (; x + 8 <= width; x += 8) {
      for (int v = 0; v < 3; ++v) normalize_eight(in + x * 3 + v * 8, scale[v], out + x * 3 + v * 8);
    }
  }
  if (x < width) portable_kernels().normalize_interleaved(in + x * 3, width - x, n, out + x * 3);
}

void normalize_runs(const uint8_t* in, int runs, int run, const Normalizer& n, float* out, ptrdiff_t stride,
                    const float* next) {
  const int samples = run * 3;
  if (!n.computable || samples < 8) {
    portable_kernels().normalize_runs(in, runs, run, n, out, stride, next);
    return;
  }
  constexpr int kLine = 16;  // floats of a line of the cache
  Scale scale[3];
  interleaved_scales(n, scale);
  for (int i = 0; i < runs; ++i, in += samples, out += stride) {
    if (next != nullptr) {
      for (int at = 0; at < samples; at += kLine) _mm_prefetch(reinterpret_cast<const char*>(next + at), _MM_HINT_T0);
      next += samples;
    }
    int at = 0;
    for (; at + 24 <= samples; at += 24) {
      for (int v = 0; v < 3; ++v) normalize_eight(in + at + v * 8, scale[v], out + at + v * 8);
    }
    if (at + 8 <= samples) normalize_eight(in + at, scale[0], out + at);
    if (at + 16 <= samples) normalize_eight(in + at + 8, scale[1], out + at + 8);
    // What is left of a run is the end of eight samples that begin with a green one.
    if (samples % 8 != 0) normalize_eight(in + samples - 8, scale[2], out + samples - 8);
  }
}

void split_planar(const uint8_t* in, int width, uint8_t* out, ptrdiff_t plane_stride) {
  const char z = -1;
  int x = 0;
  // Sixteen pixels are three loads; each channel takes its bytes from all three.
  const __m128i from_first[3] = {_mm_setr_epi8(0, 3, 6, 9, 12, 15, z, z, z, z, z, z, z, z, z, z),
                                 _mm_setr_epi8(1, 4, 7, 10, 13, z, z, z, z, z, z, z, z, z, z, z),
                                 _mm_setr_epi8(2, 5, 8, 11, 14, z, z, z, z, z, z, z, z, z, z, z)};
  const __m128i from_second[3] = {_mm_setr_epi8(z, z, z, z, z, z, 2, 5, 8, 11, 14, z, z, z, z, z),
                                  _mm_setr_epi8(z, z, z, z, z, 0, 3, 6, 9, 12, 15, z, z, z, z, z),
                                  _mm_setr_epi8(z, z, z, z, z, 1, 4, 7, 10, 13, z, z, z, z, z, z)};
  const __m128i from_third[3] = {_mm_setr_epi8(z, z, z, z, z, z, z, z, z, z, z, 1, 4, 7, 10, 13),
                                 _mm_setr_epi8(z, z, z, z, z, z, z, z, z, z, z, 2, 5, 8, 11, 14),
                                 _mm_setr_epi8(z, z, z, z, z, z, z, z, z, z, 0, 3, 6, 9, 12, 15)};
  for (; x + 16 <= width; x += 16) {
    const __m128i a = load16(in + x * 3), b = load16(in + x * 3 + 16), c = load16(in + x * 3 + 32);
    for (int k = 0; k < 3; ++k) {
      const __m128i plane =
          _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(a, from_first[k]), _mm_shuffle_epi8(b, from_second[k])),
                       _mm_shuffle_epi8(c, from_third[k]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + k * plane_stride + x), plane);
    }
  }
  if (x < width) portable_kernels().split_planar(in + x * 3, width - x, out + x, plane_stride);
}

}  // namespace

const Kernels* avx2_kernels() {
  static const Kernels table = {"avx2",           horizontal,       vertical,
                                normalize_planar, normalize_planes, normalize_interleaved,
                                normalize_runs,   split_planar,     pack_axis};
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return supported ? &table : nullptr;
}

}  // namespace penstock

#endif
