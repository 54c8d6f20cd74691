#include "simd_layout.h"

#include <algorithm>

namespace penstock {

void pack_axis(AxisTable& t) {
  const int taps = std::max(t.max_count, 1);
  const int pairs = pairs_of(taps);
  const int span = span_of(taps);
  const int groups = (t.window_size + kGroup - 1) / kGroup;
  t.loads.assign(static_cast<size_t>(groups) * kGroup, t.input_low * 3);
  t.packed.assign(static_cast<size_t>(groups) * kSlots * pairs * kPairWords + 32, 0);
  t.reach = 0;
  int16_t* const base = const_cast<int16_t*>(t.packed_begin());
  for (int o = 0; o < t.window_size; ++o) {
    const int count = t.count[o];
    // Near the end the span would leave the row: it starts earlier, and the taps move up in it.
    const int start = std::max(t.input_low, std::min(t.first[o], t.input_high - span));
    const int shift = std::min(t.first[o], t.input_high) - start;
    t.loads[o] = start * 3;
    t.reach = std::max(t.reach, static_cast<size_t>(start) * 3 + reach_of(taps));

    const int32_t* weights = t.weights.data() + static_cast<size_t>(o) * t.max_count;
    const int within = o % kGroup;
    int16_t* slot = base + (static_cast<size_t>(o / kGroup) * kSlots + within % kSlots) * pairs * kPairWords +
                    (within / kSlots) * 8;
    for (int k = 0; k < count; k++) {
      const int tap = k + shift;
      int16_t* high = slot + tap / 2 * kPairWords + tap % 2;
      int16_t* low = high + 16;
      const int16_t high_half = static_cast<int16_t>(weights[k] >> kLowBits);
      const int16_t low_half = static_cast<int16_t>(weights[k] & ((1 << kLowBits) - 1));
      high[0] = high[2] = high[4] = high_half;
      low[0] = low[2] = low[4] = low_half;
    }
  }
}

}  // namespace penstock
