// Random draws that depend on their key and nothing else: SplitMix64 over (seed, epoch, source index, ordinal of the
// step).
#pragma once

#include <cstdint>

namespace penstock {

struct DrawKey {
  uint64_t seed = 0, epoch = 0, index = 0;

  // Of one copy among all that a line's views make of an image; copy 0 draws as the image alone. Twin: views.py.
  DrawKey of_copy(uint64_t number) const { return {seed, epoch, index + (number << 48)}; }
};

// The draws of one random step for one sample, in order. Twin: penstock/_reference/random.py.
class Draws {
 public:
  Draws(const DrawKey& key, uint64_t ordinal);
  uint64_t bits();                          // next 64 bits
  double uniform();                         // [0, 1): the top 53 bits
  double uniform(double low, double high);  // low + (high - low) * uniform()
  int64_t integer(int64_t n);               // [0, n): high half of bits() * n (128-bit product)

 private:
  uint64_t state_;
};

}  // namespace penstock
