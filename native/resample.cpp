// Weight tables, their cache, the normaliser's table, and the choice of kernels.
#include "resample.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "filters.h"

namespace penstock {
namespace {

constexpr size_t kCachedAxes = 64;

int32_t to_fixed(double weight) {
  const double scaled = weight * (1 << kWeightBits);
  return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

// Where output `o` of the window is written: flipped tables list the outputs last to first.
int place_of(const AxisRequest& r, int o) { return r.flipped ? r.window_size - 1 - o : o; }

int arrival_of(const AxisRequest& r, int first, int count) { return r.mirrored ? r.in_size - first - count : first; }

template <class F>
void fill_weights(const AxisRequest& r, AxisTable& t) {
  const double scale = static_cast<double>(r.box_end - r.box_start) / r.out_size;
  const double filter_scale = scale < 1.0 ? 1.0 : scale;
  const double support = F::support * filter_scale;
  const double step = 1.0 / filter_scale;
  const int limit = static_cast<int>(std::ceil(support)) * 2 + 1;
  constexpr int kSmall = 64;
  double small[kSmall];
  std::vector<double> large;
  double* values = small;
  if (limit > kSmall) {
    large.resize(limit);
    values = large.data();
  }

  // Two walks: the widest output decides the row length of the table.
  for (int o = 0; o < r.window_size; ++o) {
    const double center = r.box_start + (o + r.window_start + 0.5) * scale;
    const int low = std::max(static_cast<int>(center - support + 0.5), 0);
    const int high = std::min(static_cast<int>(center + support + 0.5), r.in_size);
    const int place = place_of(r, o);
    t.first[place] = low;
    t.count[place] = std::max(high - low, 0);
    t.max_count = std::max(t.max_count, high - low);
  }
  t.weights.assign(static_cast<size_t>(t.window_size) * t.max_count, 0);
  for (int o = 0; o < r.window_size; ++o) {
    const int place = place_of(r, o);
    const double center = r.box_start + (o + r.window_start + 0.5) * scale;
    const int low = t.first[place], count = t.count[place];
    double sum = 0.0;
    for (int k = 0; k < count; ++k) {
      values[k] = F::at((k + low - center + 0.5) * step);
      sum += values[k];
    }
    if (sum != 0.0) {
      for (int k = 0; k < count; ++k) values[k] /= sum;
    }
    int32_t* row = t.weights.data() + static_cast<size_t>(place) * t.max_count;
    if (r.mirrored) {
      for (int k = 0; k < count; ++k) row[count - 1 - k] = to_fixed(values[k]);
    } else {
      for (int k = 0; k < count; ++k) row[k] = to_fixed(values[k]);
    }
    t.first[place] = arrival_of(r, low, count);
  }
}

// Pillow scales nearest through an affine transform that adds the step up in double precision; outputs whose
// coordinate has drifted out of the image stay zero.
void fill_nearest(const AxisRequest& r, AxisTable& t) {
  const double step = static_cast<double>(r.box_end - r.box_start) / r.out_size;
  double at = r.box_start + step * 0.5;
  t.max_count = 1;
  t.weights.assign(t.window_size, 0);
  for (int o = -r.window_start; o < r.window_size; ++o, at += step) {
    if (o < 0) continue;
    const int place = place_of(r, o);
    const int in = at < 0.0 ? -1 : static_cast<int>(at);
    const bool inside = in >= 0 && in < r.in_size;
    t.count[place] = inside ? 1 : 0;
    t.weights[place] = inside ? 1 << kWeightBits : 0;
    t.first[place] = inside ? arrival_of(r, in, 1) : arrival_of(r, r.in_size - 1, 1);
  }
}

float computed(float x, float high, float low) { return std::fma(x, high, x * low); }

}  // namespace

bool AxisRequest::operator==(const AxisRequest& o) const {
  return in_size == o.in_size && out_size == o.out_size && box_start == o.box_start && box_end == o.box_end &&
         filter == o.filter && window_start == o.window_start && window_size == o.window_size &&
         mirrored == o.mirrored && flipped == o.flipped;
}

bool axis_is_identity(const AxisRequest& r) {
  return r.in_size == r.out_size && r.box_start == 0.0f && r.box_end == static_cast<float>(r.out_size);
}

int axis_support(const AxisRequest& r) {
  const double scale = static_cast<double>(r.box_end - r.box_start) / r.out_size;
  const int limit = static_cast<int>(std::ceil(filter_support(r.filter) * std::max(scale, 1.0))) * 2 + 1;
  return std::min(limit, r.in_size);
}

AxisTable build_axis(const AxisRequest& r) {
  AxisTable t;
  t.in_size = r.in_size;
  t.out_size = r.out_size;
  t.window_start = r.window_start;
  t.window_size = r.window_size;
  t.identity = axis_is_identity(r);
  t.descending = r.mirrored != r.flipped;
  t.first.resize(r.window_size);
  t.count.resize(r.window_size);
  switch (r.filter) {
    case Filter::nearest:
      fill_nearest(r, t);
      break;
    case Filter::box:
      fill_weights<BoxFilter>(r, t);
      break;
    case Filter::bilinear:
      fill_weights<BilinearFilter>(r, t);
      break;
    case Filter::hamming:
      fill_weights<HammingFilter>(r, t);
      break;
    case Filter::bicubic:
      fill_weights<BicubicFilter>(r, t);
      break;
    case Filter::lanczos:
      fill_weights<LanczosFilter>(r, t);
      break;
  }
  t.input_low = r.in_size;
  for (int o = 0; o < t.window_size; ++o) {
    t.input_low = std::min(t.input_low, t.first[o]);
    t.input_high = std::max(t.input_high, t.first[o] + t.count[o]);
  }
  t.input_low = std::min(t.input_low, t.input_high);
  return t;
}

std::shared_ptr<const AxisTable> AxisCache::get(const AxisRequest& request) {
  for (size_t i = entries_.size(); i-- > 0;) {
    if (entries_[i].first == request) {
      if (i + 2 < entries_.size()) std::rotate(entries_.begin() + i, entries_.begin() + i + 1, entries_.end());
      for (const auto& entry : entries_) {
        if (entry.first == request) return entry.second;
      }
    }
  }
  if (entries_.size() >= kCachedAxes) entries_.erase(entries_.begin());
  auto table = std::make_shared<AxisTable>(build_axis(request));
  if (kernels().pack_axis != nullptr) kernels().pack_axis(*table);
  entries_.emplace_back(request, table);
  return table;
}

const Kernels& kernels() {
  static const Kernels& chosen = []() -> const Kernels& {
    const char* wanted = std::getenv("PENSTOCK_SIMD");
    if (wanted != nullptr && std::strcmp(wanted, "portable") == 0) return portable_kernels();
    const Kernels* avx2 = avx2_kernels();
    return avx2 != nullptr ? *avx2 : portable_kernels();
  }();
  return chosen;
}

Normalizer::Normalizer(const float* mean_in, const float* std_in, int channel_count) : channels(channel_count) {
  unit_high = 1.0f / 255.0f;
  unit_low = static_cast<float>(1.0 / 255.0 - static_cast<double>(unit_high));
  computable = true;
  for (int c = 0; c < channels; ++c) {
    mean[c] = mean_in[c];
    std[c] = std_in[c];
    std_high[c] = 1.0f / std[c];
    std_low[c] = static_cast<float>(1.0 / static_cast<double>(std[c]) - static_cast<double>(std_high[c]));
    for (int v = 0; v < 256; ++v) {
      const float x = static_cast<float>(v);
      const float unit = x / 255.0f;
      const float centred = unit - mean[c];
      table[c][v] = centred / std[c];
      half[c][v] = half_of(table[c][v]);
      bfloat16[c][v] = bfloat16_of(table[c][v]);
      const float close = computed(computed(x, unit_high, unit_low) - mean[c], std_high[c], std_low[c]);
      computable = computable && std::memcmp(&close, &table[c][v], sizeof close) == 0;
    }
  }
}

}  // namespace penstock
