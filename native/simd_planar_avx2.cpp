// Kernels of planar.h for x86-64 with AVX2. Built with -mavx2 -mfma; without them there are none.
#include "planar.h"

#if !(defined(__AVX2__) && defined(__FMA__))

namespace penstock {
const PlaneKernels* avx2_plane_kernels() { return nullptr; }
}  // namespace penstock

#else

#include <immintrin.h>

namespace penstock {
namespace {

__m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
__m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

__m256i load_two(const uint8_t* low, const uint8_t* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(low)), load16(high), 1);
}

// Bytes times bytes: the sums of all weights and samples fit 16 bits, because weights sum to 1 << bits.
struct Settle {
  explicit Settle(int bits) : scale(_mm256_set1_epi16(static_cast<int16_t>(1 << (15 - bits)))) {}
  __m256i operator()(__m256i sum) const { return _mm256_mulhrs_epi16(sum, scale); }  // half added, then the shift
  __m256i scale;
};

__m256i pair_of(const int8_t* weights, int k, int count) {
  const int first = static_cast<uint8_t>(weights[k]);
  const int second = k + 1 < count ? static_cast<uint8_t>(weights[k + 1]) : 0;
  return _mm256_set1_epi16(static_cast<int16_t>(second << 8 | first));
}

// kPairs: pairs of rows where known (their weights stay in registers), 0 where counted at run time.
template <int kPairs>
void vertical_pairs(const uint8_t* const* rows, const int8_t* weights, int count, int bits, int bytes, uint8_t* out) {
  constexpr int kKept = kPairs > 0 ? kPairs : 1;
  const int pairs = kPairs > 0 ? kPairs : (count + 1) / 2;
  const Settle settled(bits);
  const uint8_t* first[kKept];
  const uint8_t* second[kKept];
  __m256i kept[kKept];
  for (int p = 0; p < kPairs; ++p) {
    const int one = 2 * p < count ? 2 * p : 0;
    kept[p] = 2 * p < count ? pair_of(weights, 2 * p, count) : _mm256_setzero_si256();
    first[p] = rows[one];
    second[p] = rows[2 * p + 1 < count ? 2 * p + 1 : one];
  }
  for (int at = 0; at < bytes; at += 32) {
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int p = 0; p < pairs; ++p) {
      __m256i a, b, weight;
      if constexpr (kPairs > 0) {
        a = load32(first[p] + at);
        b = load32(second[p] + at);
        weight = kept[p];
      } else {
        a = load32(rows[2 * p] + at);
        b = load32(rows[2 * p + 1 < count ? 2 * p + 1 : 2 * p] + at);
        weight = pair_of(weights, 2 * p, count);
      }
      low = _mm256_add_epi16(low, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), weight));
      high = _mm256_add_epi16(high, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), weight));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), _mm256_packus_epi16(settled(low), settled(high)));
  }
}

void vertical(const uint8_t* const* rows, const int8_t* weights, int count, int bits, int bytes, uint8_t* out) {
  if (count <= 2) {
    vertical_pairs<1>(rows, weights, count, bits, bytes, out);
  } else if (count <= 4) {
    vertical_pairs<2>(rows, weights, count, bits, bytes, out);
  } else if (count <= 6) {
    vertical_pairs<3>(rows, weights, count, bits, bytes, out);
  } else {
    vertical_pairs<0>(rows, weights, count, bits, bytes, out);
  }
}

// The sums of two groups of four outputs, each in two halves. kOneLoad: the second step's taps are in the first's load.
template <int kSteps, bool kOneLoad>
inline __m256i group_sums(const uint8_t* first, const uint8_t* second, __m256i masks, const int8_t* weights,
                          int steps) {
  const int count = kSteps > 0 ? kSteps : steps;
  __m256i pixels = load_two(first, second);
  __m256i sums = _mm256_maddubs_epi16(_mm256_shuffle_epi8(pixels, masks), load32(weights));
  for (int s = 1; s < count; ++s) {
    if constexpr (kOneLoad) {
      // A tap past the load wraps around in it; its weight is zero.
      masks = _mm256_and_si256(_mm256_add_epi8(masks, _mm256_set1_epi8(kPlaneTaps)), _mm256_set1_epi8(15));
    } else {
      pixels = load_two(first + s * kPlaneTaps, second + s * kPlaneTaps);
    }
    sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(_mm256_shuffle_epi8(pixels, masks), load32(weights + s * 32)));
  }
  return sums;
}

// Two rows share the weights; the last of an odd number goes with itself.
template <int kSteps, bool kOneLoad>
void horizontal_steps(const PlaneAxis& axis, const uint8_t* in, ptrdiff_t stride, int rows, uint8_t* out) {
  const int steps = axis.taps / kPlaneTaps;
  const ptrdiff_t half = static_cast<ptrdiff_t>(steps) * 32;
  const int out_size = axis.out_size;  // what is stored might change the table, for all the compiler knows
  const Settle settled(axis.bits);
  in -= axis.low;
  for (int row = 0; row < rows; row += 2, in += 2 * stride, out += 2 * stride) {
    const uint8_t* masks = axis.masks.data();
    const int8_t* weights = axis.packed.data();
    const int32_t* first = axis.first.data();
    const ptrdiff_t next = row + 1 < rows ? stride : 0;
    for (int o = 0; o < out_size; o += kPlaneOutputs, first += kPlaneOutputs, masks += 64, weights += 2 * half) {
      const __m256i mask0 = load32(masks), mask1 = load32(masks + 32);
      __m256i sums[2];
      for (int r = 0; r < 2; ++r) {
        const uint8_t* from = in + r * next;
        const __m256i a = group_sums<kSteps, kOneLoad>(from + first[0], from + first[4], mask0, weights, steps);
        const __m256i b = group_sums<kSteps, kOneLoad>(from + first[8], from + first[12], mask1, weights + half, steps);
        // Each half: a group of `a`, then one of `b`.
        sums[r] = settled(_mm256_hadd_epi16(a, b));
      }
      const __m256i bytes = _mm256_packus_epi16(sums[0], sums[1]);
      const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
      // low: groups 0 and 2 of both rows; high: 1 and 3.
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + next + o), _mm_unpackhi_epi32(low, high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + o), _mm_unpacklo_epi32(low, high));
    }
  }
}

// Four taps, sixteen outputs from two loads; two rows at a time, as above.
void horizontal_eights(const PlaneAxis& axis, const uint8_t* in, ptrdiff_t stride, int rows, uint8_t* out) {
  constexpr int kGroup = 2 * kPlaneGroup;
  const int out_size = axis.out_size;
  const Settle settled(axis.bits);
  in -= axis.low;
  for (int row = 0; row < rows; row += 2, in += 2 * stride, out += 2 * stride) {
    const uint8_t* masks = axis.masks.data();
    const int8_t* weights = axis.packed.data();
    const int32_t* first = axis.first.data();
    const ptrdiff_t next = row + 1 < rows ? stride : 0;
    for (int o = 0; o < out_size; o += 2 * kGroup, first += 2 * kGroup, masks += 64, weights += 64) {
      const __m256i mask0 = load32(masks), mask1 = load32(masks + 32);
      const __m256i weights0 = load32(weights), weights1 = load32(weights + 32);
      __m256i sums[2];
      for (int r = 0; r < 2; ++r) {
        const __m256i pixels = load_two(in + r * next + first[0], in + r * next + first[kGroup]);
        sums[r] = settled(_mm256_add_epi16(_mm256_maddubs_epi16(_mm256_shuffle_epi8(pixels, mask0), weights0),
                                           _mm256_maddubs_epi16(_mm256_shuffle_epi8(pixels, mask1), weights1)));
      }
      // Each half: a group of the first row, then one of the second.
      const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(sums[0], sums[1]), 0xD8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + next + o), _mm256_extracti128_si256(bytes, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + o), _mm256_castsi256_si128(bytes));
    }
  }
}

void horizontal(const PlaneAxis& axis, const uint8_t* in, ptrdiff_t stride, int rows, uint8_t* out) {
  const auto run = !axis.grouped                 ? portable_plane_kernels().horizontal
                   : axis.eights                 ? horizontal_eights
                   : axis.taps == kPlaneTaps     ? horizontal_steps<1, false>
                   : axis.one_load               ? horizontal_steps<2, true>
                   : axis.taps == 2 * kPlaneTaps ? horizontal_steps<2, false>
                                                 : horizontal_steps<0, false>;
  run(axis, in, stride, rows, out);
}

// Sixteen pixels in 16 bits; each sample in the upper byte of its word.
inline void sixteen_colours(__m256i luma, __m256i blue, __m256i red, __m256i half, __m256i lift, __m256i out[3]) {
  constexpr int kColourBits = 5;
  const __m256i y = _mm256_add_epi16(_mm256_srli_epi16(luma, 8 - kColourBits), half);
  const __m256i cb = _mm256_add_epi16(_mm256_srai_epi16(blue, 7 - kColourBits), lift);
  const __m256i cr = _mm256_add_epi16(_mm256_srai_epi16(red, 7 - kColourBits), lift);
  const __m256i r = _mm256_add_epi16(y, _mm256_mulhrs_epi16(cr, _mm256_set1_epi16(22970)));
  const __m256i g = _mm256_sub_epi16(_mm256_sub_epi16(y, _mm256_mulhrs_epi16(cb, _mm256_set1_epi16(5638))),
                                     _mm256_mulhrs_epi16(cr, _mm256_set1_epi16(11700)));
  const __m256i b = _mm256_add_epi16(y, _mm256_mulhrs_epi16(cb, _mm256_set1_epi16(29032)));
  out[0] = _mm256_srai_epi16(r, kColourBits);
  out[1] = _mm256_srai_epi16(g, kColourBits);
  out[2] = _mm256_srai_epi16(b, kColourBits);
}

void colours(uint8_t* const* planes, int width, int luma_lift, int colour_lift) {
  const __m256i zero = _mm256_setzero_si256(), middle = _mm256_set1_epi8(-128);
  const __m256i half = _mm256_set1_epi16(static_cast<int16_t>(16 + luma_lift));
  const __m256i lift = _mm256_set1_epi16(static_cast<int16_t>(2 * colour_lift));
  uint8_t *const first = planes[0], *const second = planes[1], *const third = planes[2];
  for (int x = 0; x < width; x += 32) {
    const __m256i luma = load32(first + x);
    const __m256i blue = _mm256_xor_si256(load32(second + x), middle);  // 128 less, with a sign
    const __m256i red = _mm256_xor_si256(load32(third + x), middle);
    __m256i low[3], high[3];
    sixteen_colours(_mm256_unpacklo_epi8(zero, luma), _mm256_unpacklo_epi8(zero, blue), _mm256_unpacklo_epi8(zero, red),
                    half, lift, low);
    sixteen_colours(_mm256_unpackhi_epi8(zero, luma), _mm256_unpackhi_epi8(zero, blue), _mm256_unpackhi_epi8(zero, red),
                    half, lift, high);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(first + x), _mm256_packus_epi16(low[0], high[0]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(second + x), _mm256_packus_epi16(low[1], high[1]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(third + x), _mm256_packus_epi16(low[2], high[2]));
  }
}

void join(const uint8_t* const* planes, int width, uint8_t* out) {
  const char z = -1;
  const __m128i first_at[3] = {_mm_setr_epi8(0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z, z, 5),
                               _mm_setr_epi8(z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z, 10, z),
                               _mm_setr_epi8(z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15, z, z)};
  const __m128i second_at[3] = {_mm_setr_epi8(z, 0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z, z),
                                _mm_setr_epi8(5, z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z, 10),
                                _mm_setr_epi8(z, z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15, z)};
  const __m128i third_at[3] = {_mm_setr_epi8(z, z, 0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z),
                               _mm_setr_epi8(z, 5, z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z),
                               _mm_setr_epi8(10, z, z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15)};
  for (int x = 0; x < width; x += 16) {
    const __m128i a = load16(planes[0] + x), b = load16(planes[1] + x), c = load16(planes[2] + x);
    for (int part = 0; part < 3; ++part) {
      const __m128i joined =
          _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(a, first_at[part]), _mm_shuffle_epi8(b, second_at[part])),
                       _mm_shuffle_epi8(c, third_at[part]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x * 3 + part * 16), joined);
    }
  }
}

}  // namespace

const PlaneKernels* avx2_plane_kernels() {
  static const PlaneKernels table = {"avx2", vertical, horizontal, colours, join};
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return supported ? &table : nullptr;
}

}  // namespace penstock

#endif
