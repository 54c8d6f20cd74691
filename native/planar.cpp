// Weights of a plane's axis, and the readable kernels.
#include "planar.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace penstock {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr size_t kCachedAxes = 64;
constexpr int kLargest = 127;   // weight
constexpr int kColourBits = 5;  // fraction kept while colours are added up

struct Shape {
  double support;
  double (*at)(double x);
};

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(kPi * x) / (kPi * x); }

// The filters' shapes, as resample.cpp describes them.
Shape shape_of(Filter filter) {
  switch (filter) {
    case Filter::bicubic:
      return {2.0, [](double x) {
                x = std::fabs(x);
                if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
                return x < 2.0 ? ((x - 5.0) * x + 8.0) * x * -0.5 + 2.0 : 0.0;
              }};
    case Filter::lanczos:
      return {3.0, [](double x) { return std::fabs(x) < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }};
    case Filter::hamming:
      return {1.0, [](double x) { return std::fabs(x) < 1.0 ? sinc(x) * (0.54 + 0.46 * std::cos(kPi * x)) : 0.0; }};
    case Filter::box:
      return {0.5, [](double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }};
    default:
      return {1.0, [](double x) { return std::max(1.0 - std::fabs(x), 0.0); }};
  }
}

// Whole weights that sum to 1 << bits: what rounding leaves over goes to the largest, and to the one beside it what
// does not fit there. `room`: taps that there are inputs for.
void to_fixed(const std::vector<double>& values, int count, int bits, int at, int room, int8_t* out) {
  double sum = 0.0;
  for (int k = 0; k < count; ++k) sum += values[k];
  int left = 1 << bits, largest = 0;
  std::vector<int> whole(static_cast<size_t>(room), 0);
  for (int k = 0; k < count; ++k) {
    whole[at + k] = static_cast<int>(std::lround(values[k] / sum * (1 << bits)));
    left -= whole[at + k];
    if (k == 0 || whole[at + k] > whole[largest]) largest = at + k;
  }
  whole[largest] += left;
  if (whole[largest] > kLargest && room > 1) {
    whole[largest + 1 < room ? largest + 1 : largest - 1] += whole[largest] - kLargest;
  }
  for (int k = 0; k < room; ++k) out[k] = static_cast<int8_t>(std::min(whole[k], kLargest));
}

// Four outputs a group, four taps a step: the bytes of the group's 16-byte load that each takes.
constexpr int kLoad = 16;

// Whether the outputs of each group begin at most `reach` after its first.
bool groups_fit(const PlaneAxis& axis, size_t group, int reach) {
  for (size_t o = 0; o < axis.first.size(); ++o) {
    const int after = axis.first[o] - axis.first[o / group * group];
    if (after < 0 || after > reach) return false;
  }
  return true;
}

void pack_eights(PlaneAxis& axis) {
  constexpr size_t kGroup = 2 * kPlaneGroup, kPair = 2;
  axis.masks.resize(axis.weights.size());
  axis.packed.resize(axis.weights.size());
  for (size_t o = 0; o < axis.first.size(); ++o) {
    for (size_t k = 0; k < kPlaneTaps; ++k) {
      const size_t group = o / kGroup, at = o % kGroup * kPair + k % kPair;
      const size_t place = (group / 2 * 4 + k / kPair * 2 + group % 2) * kLoad + at;
      axis.masks[place] = static_cast<uint8_t>(axis.first[o] - axis.first[group * kGroup] + static_cast<int>(k));
      axis.packed[place] = axis.weights[o * kPlaneTaps + k];
    }
  }
}

void pack(PlaneAxis& axis) {
  const int groups = static_cast<int>(axis.first.size()) / kPlaneGroup;
  axis.grouped = groups_fit(axis, kPlaneGroup, kPlaneReach);
  if (!axis.grouped) return;
  axis.eights = axis.taps == kPlaneTaps && groups_fit(axis, size_t{2} * kPlaneGroup, kPlaneReach);
  if (axis.eights) {
    pack_eights(axis);
    return;
  }
  const int steps = axis.taps / kPlaneTaps;
  axis.masks.resize(static_cast<size_t>(groups) * kLoad);
  axis.packed.resize(static_cast<size_t>(groups) * steps * kLoad);
  axis.one_load = steps == 2;
  for (int g = 0; g < groups; ++g) {
    for (int j = 0; j < kPlaneGroup; ++j) {
      const int o = g * kPlaneGroup + j;
      for (int k = 0; k < kPlaneTaps; ++k) {
        axis.masks[static_cast<size_t>(g) * kLoad + j * kPlaneTaps + k] =
            static_cast<uint8_t>(axis.first[o] - axis.first[g * kPlaneGroup] + k);
      }
      for (int t = 0; t < axis.taps; ++t) {
        const int8_t weight = axis.weights[static_cast<size_t>(o) * axis.taps + t];
        const size_t place = (static_cast<size_t>(g / 2) * steps + t / kPlaneTaps) * 2 + g % 2;
        axis.packed[place * kLoad + j * kPlaneTaps + t % kPlaneTaps] = weight;
        axis.one_load = axis.one_load && (weight == 0 || axis.first[o] - axis.first[g * kPlaneGroup] + t < kLoad);
      }
    }
  }
}

uint8_t clip8(int32_t value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }

void vertical(const uint8_t* const* rows, const int8_t* weights, int count, int bits, int bytes, uint8_t* out) {
  for (int x = 0; x < bytes; ++x) {
    int32_t sum = 1 << (bits - 1);
    for (int k = 0; k < count; ++k) sum += rows[k][x] * weights[k];
    out[x] = clip8(sum >> bits);
  }
}

void horizontal(const PlaneAxis& axis, const uint8_t* in, ptrdiff_t stride, int rows, uint8_t* out) {
  for (int row = 0; row < rows; ++row, in += stride, out += stride) {
    const int8_t* weights = axis.weights.data();
    for (int o = 0; o < axis.out_size; ++o, weights += axis.taps) {
      const uint8_t* from = in + (axis.first[o] - axis.low);
      int32_t sum = 1 << (axis.bits - 1);
      for (int k = 0; k < axis.taps; ++k) sum += from[k] * weights[k];
      out[o] = clip8(sum >> axis.bits);
    }
  }
}

// round(difference * weight / 2^14), where the difference has kColourBits + 1 bits of fraction and the result
// kColourBits; what pmulhrsw computes.
int32_t part(int difference, int weight) { return (difference * weight + (1 << 14)) >> 15; }

void colours(uint8_t* const* planes, int width, int luma_lift, int colour_lift) {
  for (int x = 0; x < width; ++x) {
    const int32_t y = (planes[0][x] << kColourBits) + (1 << (kColourBits - 1)) + luma_lift;
    const int cb = (planes[1][x] - 128) * (2 << kColourBits) + 2 * colour_lift;
    const int cr = (planes[2][x] - 128) * (2 << kColourBits) + 2 * colour_lift;
    planes[0][x] = clip8((y + part(cr, 22970)) >> kColourBits);
    planes[1][x] = clip8((y - part(cb, 5638) - part(cr, 11700)) >> kColourBits);
    planes[2][x] = clip8((y + part(cb, 29032)) >> kColourBits);
  }
}

void join(const uint8_t* const* planes, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x, out += 3) {
    for (int c = 0; c < 3; ++c) out[c] = planes[c][x];
  }
}

}  // namespace

bool PlaneRequest::operator==(const PlaneRequest& o) const {
  return in_size == o.in_size && out_size == o.out_size && box_start == o.box_start && box_end == o.box_end &&
         filter == o.filter && width == o.width;
}

PlaneAxis build_plane_axis(const PlaneRequest& r) {
  PlaneAxis axis;
  axis.out_size = r.out_size;
  const Shape shape = shape_of(r.filter);
  const double width = std::max(r.width, 1.0), scale = (r.box_end - r.box_start) / r.out_size;
  const double support = shape.support * width;
  const auto low_of = [&](double center) { return std::max(static_cast<int>(center - support + 0.5), 0); };
  const auto high_of = [&](double center) { return std::min(static_cast<int>(center + support + 0.5), r.in_size); };
  int longest = 1;
  for (int o = 0; o < r.out_size; ++o) {
    const double center = r.box_start + (o + 0.5) * scale;
    longest = std::max(longest, high_of(center) - low_of(center));
  }
  axis.taps = (longest + kPlaneTaps - 1) / kPlaneTaps * kPlaneTaps;
  axis.bits = r.filter == Filter::bicubic || r.filter == Filter::lanczos ? 6 : 7;
  const int outputs = (r.out_size + kPlaneOutputs - 1) / kPlaneOutputs * kPlaneOutputs;
  axis.first.resize(outputs);
  axis.count.resize(outputs, 1);
  axis.weights.assign(static_cast<size_t>(outputs) * axis.taps, 0);
  axis.low = r.in_size;
  std::vector<double> values(static_cast<size_t>(longest) + 1);
  for (int o = 0; o < r.out_size; ++o) {
    const double center = r.box_start + (o + 0.5) * scale;
    int low = std::min(low_of(center), r.in_size - 1);
    const int count = std::max(high_of(center) - low, 1);
    double sum = 0.0;
    for (int k = 0; k < count; ++k) sum += values[k] = shape.at((k + low - center + 0.5) / width);
    if (sum == 0.0) values[0] = 1.0;
    // Near the end the taps would leave the plane: they start earlier.
    const int start = std::max(std::min(low, r.in_size - axis.taps), 0);
    axis.first[o] = start;
    to_fixed(values, count, axis.bits, low - start, std::min(axis.taps, r.in_size - start),
             axis.weights.data() + static_cast<size_t>(o) * axis.taps);
    for (int k = 0; k < axis.taps; ++k) {
      if (axis.weights[static_cast<size_t>(o) * axis.taps + k] != 0) axis.count[o] = k + 1;
    }
    axis.low = std::min(axis.low, start);
    axis.high = std::max(axis.high, std::min(start + axis.taps, r.in_size));
  }
  for (int o = r.out_size; o < outputs; ++o) axis.first[o] = axis.first[r.out_size - 1];
  pack(axis);
  return axis;
}

std::shared_ptr<const PlaneAxis> PlaneAxisCache::get(const PlaneRequest& request) {
  for (const auto& entry : entries_) {
    if (entry.first == request) return entry.second;
  }
  if (entries_.size() >= kCachedAxes) entries_.erase(entries_.begin());
  entries_.emplace_back(request, std::make_shared<PlaneAxis>(build_plane_axis(request)));
  return entries_.back().second;
}

const PlaneKernels& portable_plane_kernels() {
  static const PlaneKernels table = {"portable", vertical, horizontal, colours, join};
  return table;
}

const PlaneKernels& plane_kernels() {
  static const PlaneKernels& chosen = []() -> const PlaneKernels& {
    const PlaneKernels* avx2 = avx2_plane_kernels();
    const bool wanted = std::strcmp(kernels().name, "avx2") == 0;
    return wanted && avx2 != nullptr ? *avx2 : portable_plane_kernels();
  }();
  return chosen;
}

}  // namespace penstock
