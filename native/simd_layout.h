// How simd_avx2.cpp finds the weights of a horizontal pass. Built by plain code, so that no inline function is compiled
// twice.
#pragma once

#include "resample.h"

namespace penstock {

// Outputs go in groups of eight, in four slots: slot j holds output j of the group in its low half and output j + 4 in
// its high half. A vector pair multiplies two neighbouring taps: 16 high halves (weight >> kLowBits), then 16 low
// halves, each half-vector laid out as R R' G G' B B' 0 0. One 16-byte load holds five RGB pixels: up to five taps take
// one load, six take a second one two taps on, more take one per four.
constexpr int kGroup = 8;
constexpr int kSlots = 4;
constexpr int kLowBits = 11;
constexpr int kLoadTaps = 5;
constexpr int kTwoLoadTaps = 6;
constexpr int kSecondLoadTap = 2;  // where the second load of six taps starts
constexpr int kChunkTaps = 4;
constexpr int kLoadBytes = 16;
constexpr int kPairWords = 32;  // int16 of one vector pair

// Vector pairs a slot has: 1, 2 or 3 from one load, an even number from several.
constexpr int pairs_of(int max_count) {
  return max_count <= kTwoLoadTaps ? (max_count + 1) / 2 : (max_count + kChunkTaps - 1) / kChunkTaps * 2;
}

// Taps that the weights of one output have room for.
constexpr int span_of(int max_count) { return max_count == kLoadTaps ? kLoadTaps : pairs_of(max_count) * 2; }

// Bytes from the start of an output's first load to the end of its last.
constexpr int reach_of(int max_count) {
  if (max_count <= kLoadTaps) return kLoadBytes;
  return max_count == kTwoLoadTaps ? kSecondLoadTap * 3 + kLoadBytes
                                   : (span_of(max_count) - kChunkTaps) * 3 + kLoadBytes;
}

void pack_axis(AxisTable& table);

}  // namespace penstock
