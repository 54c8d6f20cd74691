// SplitMix64 (Steele, Lea, Flood 2014): the increment and the finalizer that draws and permutations are made of.
#pragma once

#include <cstdint>

namespace penstock {

constexpr uint64_t kSplitMixGamma = 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio, odd

inline uint64_t splitmix_finalize(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace penstock
