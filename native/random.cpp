#include "random.h"

#include <initializer_list>

#include "splitmix.h"

namespace penstock {

// The key's four words are absorbed one after the other: state = splitmix_finalize((state ^ word) + gamma). Each round
// is a bijection of its word, so two keys that differ in one word never start from the same state at that round.
Draws::Draws(const DrawKey& key, uint64_t ordinal) : state_(0) {
  for (const uint64_t word : {key.seed, key.epoch, key.index, ordinal})
    state_ = splitmix_finalize((state_ ^ word) + kSplitMixGamma);
}

uint64_t Draws::bits() {
  state_ += kSplitMixGamma;
  return splitmix_finalize(state_);
}

double Draws::uniform() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }

double Draws::uniform(double low, double high) { return low + (high - low) * uniform(); }

int64_t Draws::integer(int64_t n) {
  // High half of the 128-bit product, from 32-bit halves: no compiler extension needed.
  const uint64_t a = bits(), b = static_cast<uint64_t>(n);
  const uint64_t a_low = a & 0xFFFFFFFFu, a_high = a >> 32, b_low = b & 0xFFFFFFFFu, b_high = b >> 32;
  const uint64_t middle = a_high * b_low + ((a_low * b_low) >> 32);
  const uint64_t carry = a_low * b_high + (middle & 0xFFFFFFFFu);
  return static_cast<int64_t>(a_high * b_high + (middle >> 32) + (carry >> 32));
}

}  // namespace penstock
