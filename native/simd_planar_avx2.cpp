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

__m256i settled(__m256i sum) {
  return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (kPlaneBits - 1))), kPlaneBits);
}

__m256i pair_of(const int16_t* weights, int k, int count) {
  const uint16_t first = static_cast<uint16_t>(weights[k]);
  const uint16_t second = k + 1 < count ? static_cast<uint16_t>(weights[k + 1]) : uint16_t{0};
  return _mm256_set1_epi32(static_cast<int32_t>((static_cast<uint32_t>(second) << 16) | first));
}

// kPairs: pairs of rows where known (their weights stay in registers), 0 where counted at run time.
template <int kPairs>
void vertical_pairs(const uint8_t* const* rows, const int16_t* weights, int count, int bytes, uint8_t* out) {
  constexpr int kKept = kPairs > 0 ? kPairs : 1;
  const int pairs = kPairs > 0 ? kPairs : (count + 1) / 2;
  const __m256i zero = _mm256_setzero_si256();
  __m256i kept[kKept];
  for (int p = 0; p < kPairs; ++p) kept[p] = pair_of(weights, 2 * p, count);
  for (int at = 0; at < bytes; at += 32) {
    __m256i sums[4] = {zero, zero, zero, zero};
    for (int p = 0; p < pairs; ++p) {
      const int second = 2 * p + 1 < count ? 2 * p + 1 : 2 * p;
      const __m256i a = load32(rows[2 * p] + at), b = load32(rows[second] + at);
      const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
      __m256i weight;
      if constexpr (kPairs > 0) {
        weight = kept[p];
      } else {
        weight = pair_of(weights, 2 * p, count);
      }
      sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), weight));
      sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), weight));
      sums[2] = _mm256_add_epi32(sums[2], _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), weight));
      sums[3] = _mm256_add_epi32(sums[3], _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), weight));
    }
    const __m256i low = _mm256_packs_epi32(settled(sums[0]), settled(sums[1]));
    const __m256i high = _mm256_packs_epi32(settled(sums[2]), settled(sums[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), _mm256_packus_epi16(low, high));
  }
}

void vertical(const uint8_t* const* rows, const int16_t* weights, int count, int bytes, uint8_t* out) {
  if (count <= 2) {
    vertical_pairs<1>(rows, weights, count, bytes, out);
  } else if (count <= 4) {
    vertical_pairs<2>(rows, weights, count, bytes, out);
  } else if (count <= 6) {
    vertical_pairs<3>(rows, weights, count, bytes, out);
  } else {
    vertical_pairs<0>(rows, weights, count, bytes, out);
  }
}

// The sums of a group of four outputs, each in two halves.
template <int kSteps>
inline __m256i group_sums(const uint8_t* in, __m128i mask, const int16_t* weights, int steps) {
  __m256i sums = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_shuffle_epi8(load16(in), mask)), load32(weights));
  const int count = kSteps > 0 ? kSteps : steps;
  for (int s = 1; s < count; ++s) {
    const __m256i taps = _mm256_cvtepu8_epi16(_mm_shuffle_epi8(load16(in + s * kPlaneTaps), mask));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(taps, load32(weights + s * 16)));
  }
  return sums;
}

template <int kSteps>
void horizontal_steps(const PlaneAxis& axis, const uint8_t* in, uint8_t* out) {
  const int steps = axis.taps / kPlaneTaps;
  const uint8_t* masks = axis.masks.data();
  const int16_t* weights = axis.packed.data();
  const int32_t* first = axis.first.data();
  const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1);
  for (int o = 0; o < axis.out_size; o += 8, masks += 32, weights += 32 * steps) {
    const __m256i a = group_sums<kSteps>(in + (first[o] - axis.low), load16(masks), weights, steps);
    const __m256i b =
        group_sums<kSteps>(in + (first[o + 4] - axis.low), load16(masks + 16), weights + 16 * steps, steps);
    const __m256i sums = settled(_mm256_hadd_epi32(a, b));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    // Now a0 a1 b0 b1 a2 a3 b2 b3.
    const __m128i bytes = _mm_shuffle_epi8(_mm_packus_epi16(words, words), order);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + o), bytes);
  }
}

void horizontal(const PlaneAxis& axis, const uint8_t* in, uint8_t* out) {
  if (!axis.grouped) {
    portable_plane_kernels().horizontal(axis, in, out);
  } else if (axis.taps == kPlaneTaps) {
    horizontal_steps<1>(axis, in, out);
  } else if (axis.taps == 2 * kPlaneTaps) {
    horizontal_steps<2>(axis, in, out);
  } else {
    horizontal_steps<0>(axis, in, out);
  }
}

inline __m128i bytes_of(__m256i words) {
  const __m256i packed = _mm256_packus_epi16(words, words);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0xD8));
}

void colours(const uint8_t* luma, const uint8_t* blue, const uint8_t* red, int width, uint8_t* out) {
  constexpr int kColourBits = 5;
  const __m256i middle = _mm256_set1_epi16(128), half = _mm256_set1_epi16(1 << (kColourBits - 1));
  const char z = -1;
  const __m128i red_at[3] = {_mm_setr_epi8(0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z, z, 5),
                             _mm_setr_epi8(z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z, 10, z),
                             _mm_setr_epi8(z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15, z, z)};
  const __m128i green_at[3] = {_mm_setr_epi8(z, 0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z, z),
                               _mm_setr_epi8(5, z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z, 10),
                               _mm_setr_epi8(z, z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15, z)};
  const __m128i blue_at[3] = {_mm_setr_epi8(z, z, 0, z, z, 1, z, z, 2, z, z, 3, z, z, 4, z),
                              _mm_setr_epi8(z, 5, z, z, 6, z, z, 7, z, z, 8, z, z, 9, z, z),
                              _mm_setr_epi8(10, z, z, 11, z, z, 12, z, z, 13, z, z, 14, z, z, 15)};
  for (int x = 0; x < width; x += 16) {
    const __m256i y = _mm256_add_epi16(_mm256_slli_epi16(_mm256_cvtepu8_epi16(load16(luma + x)), kColourBits), half);
    const __m256i cb =
        _mm256_slli_epi16(_mm256_sub_epi16(_mm256_cvtepu8_epi16(load16(blue + x)), middle), kColourBits + 1);
    const __m256i cr =
        _mm256_slli_epi16(_mm256_sub_epi16(_mm256_cvtepu8_epi16(load16(red + x)), middle), kColourBits + 1);
    const __m256i r16 = _mm256_add_epi16(y, _mm256_mulhrs_epi16(cr, _mm256_set1_epi16(22970)));
    const __m256i g16 = _mm256_sub_epi16(_mm256_sub_epi16(y, _mm256_mulhrs_epi16(cb, _mm256_set1_epi16(5638))),
                                         _mm256_mulhrs_epi16(cr, _mm256_set1_epi16(11700)));
    const __m256i b16 = _mm256_add_epi16(y, _mm256_mulhrs_epi16(cb, _mm256_set1_epi16(29032)));
    const __m128i r = bytes_of(_mm256_srai_epi16(r16, kColourBits));
    const __m128i g = bytes_of(_mm256_srai_epi16(g16, kColourBits));
    const __m128i b = bytes_of(_mm256_srai_epi16(b16, kColourBits));
    for (int part = 0; part < 3; ++part) {
      const __m128i joined =
          _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(r, red_at[part]), _mm_shuffle_epi8(g, green_at[part])),
                       _mm_shuffle_epi8(b, blue_at[part]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x * 3 + part * 16), joined);
    }
  }
}

}  // namespace

const PlaneKernels* avx2_plane_kernels() {
  static const PlaneKernels table = {"avx2", vertical, horizontal, colours};
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return supported ? &table : nullptr;
}

}  // namespace penstock

#endif
