#include "permute.h"

#include <utility>

#include "splitmix.h"

namespace penstock {
namespace {

constexpr int kRounds = 6;
// Below 64 the halves are too small to mix well; a larger domain with more walking does.
constexpr int kLeastBits = 6;

// What one size and one state make: half the bits of the domain, and a key a round.
struct Network {
  uint64_t low = 0;
  int half = 0;
  uint64_t keys[kRounds] = {};

  void of_size(int64_t size) {
    int bits = 0;
    for (uint64_t last = static_cast<uint64_t>(size) - 1; last != 0; last >>= 1) ++bits;
    half = ((bits < kLeastBits ? kLeastBits : bits) + 1) / 2;
    low = (uint64_t{1} << half) - 1;
  }

  void of_state(uint64_t state) {
    for (uint64_t& key : keys) {
      state += kSplitMixGamma;
      key = splitmix_finalize(state);
    }
  }

  uint64_t cipher(uint64_t value) const {
    uint64_t left = value >> half, right = value & low;
    for (const uint64_t key : keys) {
      left ^= splitmix_finalize(right + key) & low;
      std::swap(left, right);
    }
    return (left << half) | right;
  }

  uint64_t decipher(uint64_t value) const {
    uint64_t left = value >> half, right = value & low;
    for (int round = kRounds - 1; round >= 0; --round) {
      std::swap(left, right);
      left ^= splitmix_finalize(right + keys[round]) & low;
    }
    return (left << half) | right;
  }
};

}  // namespace

bool permutable(const int64_t* values, size_t count, PermuteColumn sizes) {
  for (size_t i = 0; i < count; ++i) {
    if (sizes.at(i) > 1 && (values[i] < 0 || values[i] >= sizes.at(i))) return false;
  }
  return true;
}

void permute(int64_t* values, size_t count, PermuteColumn sizes, PermuteColumn states, bool inverse) {
  Network network;
  int64_t size = 0, state = 0;
  bool keyed = false;
  for (size_t i = 0; i < count; ++i) {
    if (sizes.at(i) <= 1) continue;
    if (sizes.at(i) != size) network.of_size(size = sizes.at(i));
    if (!keyed || states.at(i) != state) network.of_state(static_cast<uint64_t>(state = states.at(i)));
    keyed = true;
    uint64_t value = static_cast<uint64_t>(values[i]);
    do {
      value = inverse ? network.decipher(value) : network.cipher(value);
    } while (value >= static_cast<uint64_t>(size));
    values[i] = static_cast<int64_t>(value);
  }
}

}  // namespace penstock
