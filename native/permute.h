// A permutation of 0 to n - 1 without memory: a balanced Feistel network over the next even number of bits, walked
// until it falls below n. Twin: penstock/_reference/permute.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock {

// One number per element, or one for all of them (step 0).
struct PermuteColumn {
  const int64_t* data = nullptr;
  size_t step = 0;

  int64_t at(size_t i) const { return data[i * step]; }
};

// True where every value is in 0 to size - 1, or its size is at most 1: the others may never come back.
bool permutable(const int64_t* values, size_t count, PermuteColumn sizes);

// Replaces each of `count` values by its place in the permutation of its size that its state (64 bits) starts, or by
// the value at that place (`inverse`). Sizes of at most 1 leave their value as it is.
void permute(int64_t* values, size_t count, PermuteColumn sizes, PermuteColumn states, bool inverse);

}  // namespace penstock
