#include "resample_float.h"

#include <algorithm>
#include <cmath>

#include "filters.h"
#include "frame.h"

namespace penstock {
namespace {

constexpr size_t kCachedAxes = 16;
constexpr size_t kKeepFloats = size_t{2} << 20;
constexpr int kLanes = 8;  // rows that the horizontal pass works on side by side

template <class F>
void fill_weights(FloatAxis& t) {
  const double scale = static_cast<double>(t.box_end - t.box_start) / t.out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = F::support * filter_scale;
  const double step = 1.0 / filter_scale;
  // Two walks: the widest output decides the row length of the table.
  for (int o = 0; o < t.out_size; ++o) {
    const double center = t.box_start + (o + 0.5) * scale;
    const int low = std::max(static_cast<int>(center - support + 0.5), 0);
    const int high = std::min(static_cast<int>(center + support + 0.5), t.in_size);
    t.first[o] = low;
    t.count[o] = std::max(high - low, 0);
    t.max_count = std::max(t.max_count, t.count[o]);
  }
  t.weights.assign(static_cast<size_t>(t.out_size) * t.max_count, 0.0f);
  std::vector<double> values(t.max_count);
  for (int o = 0; o < t.out_size; ++o) {
    const double center = t.box_start + (o + 0.5) * scale;
    double sum = 0.0;
    for (int k = 0; k < t.count[o]; ++k) {
      values[k] = F::at((k + t.first[o] - center + 0.5) * step);
      sum += values[k];
    }
    float* row = t.weights.data() + static_cast<size_t>(o) * t.max_count;
    for (int k = 0; k < t.count[o]; ++k) row[k] = static_cast<float>(sum != 0.0 ? values[k] / sum : values[k]);
  }
}

// One weight of 1 each, from the inputs that Pillow's nearest takes (none where it writes zeros).
void fill_nearest(FloatAxis& t) {
  const AxisTable table =
      build_axis({t.in_size, t.out_size, t.box_start, t.box_end, Filter::nearest, 0, t.out_size, false});
  t.first = table.first;
  t.count = table.count;
  t.max_count = 1;
  t.weights.assign(t.out_size, 1.0f);
}

void fill_identity(FloatAxis& t) {
  for (int o = 0; o < t.out_size; ++o) t.first[o] = o;
  t.count.assign(t.out_size, 1);
  t.max_count = 1;
  t.weights.assign(t.out_size, 1.0f);
}

// An image of samples T whose rows begin `stride` bytes apart.
template <class T>
struct Rows {
  const uint8_t* pixels;
  ptrdiff_t stride;
  const T* row(int y) const { return reinterpret_cast<const T*>(pixels + y * stride); }
};

// Samples [low, low + count) of each row, resampled down the columns: out row y begins at out + y * out_stride floats.
// `above`: the row of the image that rows.row(0) is.
template <class T>
void vertical_pass(const FloatAxis& axis, const Rows<T>& rows, int above, size_t low, size_t count, float* out,
                   size_t out_stride) {
  for (int y = 0; y < axis.out_size; ++y) {
    float* sums = out + y * out_stride;
    std::fill(sums, sums + count, 0.0f);
    const float* weights = axis.weights.data() + static_cast<size_t>(y) * axis.max_count;
    for (int k = 0; k < axis.count[y]; ++k) {
      const T* row = rows.row(axis.first[y] - above + k) + low;
      const float weight = weights[k];
      for (size_t i = 0; i < count; ++i) sums[i] += weight * static_cast<float>(row[i]);
    }
  }
}

// `height` rows, resampled along each. `left`: the column of the image that each row begins with. Eight rows at a time
// stand side by side in `block`, so that their sums grow in one register.
template <class T>
void horizontal_pass(const FloatAxis& axis, const Rows<T>& rows, int height, int left, int channels, float* out,
                     size_t out_stride, std::vector<float>& block) {
  const int begin = (axis.input_low - left) * channels, end = (axis.input_high - left) * channels;
  block.assign(static_cast<size_t>(std::max(end - begin, 0)) * kLanes, 0.0f);
  for (int top = 0; top < height; top += kLanes) {
    const int lanes = std::min(kLanes, height - top);
    for (int lane = 0; lane < lanes; ++lane) {
      const T* row = rows.row(top + lane);
      for (int i = begin; i < end; ++i) {
        block[static_cast<size_t>(i - begin) * kLanes + lane] = static_cast<float>(row[i]);
      }
    }
    for (int o = 0; o < axis.out_size; ++o) {
      const float* weights = axis.weights.data() + static_cast<size_t>(o) * axis.max_count;
      const float* inputs = block.data() + static_cast<size_t>(axis.first[o] - axis.input_low) * channels * kLanes;
      for (int channel = 0; channel < channels; ++channel) {
        float sums[kLanes] = {};
        for (int k = 0; k < axis.count[o]; ++k) {
          const float* samples = inputs + (static_cast<size_t>(k) * channels + channel) * kLanes;
          for (int lane = 0; lane < kLanes; ++lane) sums[lane] += weights[k] * samples[lane];
        }
        for (int lane = 0; lane < lanes; ++lane) {
          out[(top + lane) * out_stride + static_cast<size_t>(o) * channels + channel] = sums[lane];
        }
      }
    }
  }
}

// Vertically first where that makes fewer rows, so that the slower pass has less to do.
template <class T>
void resize(const FloatAxis& vertical, const FloatAxis& horizontal, const Frame& in, const Frame& out,
            FloatScratch& scratch) {
  const int channels = in.format.channels;
  const Rows<T> rows{in.pixels, in.stride};
  float* const target = reinterpret_cast<float*>(out.pixels);
  const size_t target_stride = out.stride / sizeof(float);
  if (vertical.out_size <= vertical.in_size) {
    const size_t low = static_cast<size_t>(horizontal.input_low) * channels;
    const size_t count = static_cast<size_t>(horizontal.input_high - horizontal.input_low) * channels;
    scratch.between.resize(count * vertical.out_size);
    vertical_pass(vertical, rows, 0, low, count, scratch.between.data(), count);
    const Rows<float> between{reinterpret_cast<const uint8_t*>(scratch.between.data()),
                              static_cast<ptrdiff_t>(count * sizeof(float))};
    horizontal_pass(horizontal, between, vertical.out_size, horizontal.input_low, channels, target, target_stride,
                    scratch.block);
  } else {
    const size_t count = static_cast<size_t>(horizontal.out_size) * channels;
    const int height = vertical.input_high - vertical.input_low;
    scratch.between.resize(count * height);
    const Rows<T> needed{in.pixels + vertical.input_low * in.stride, in.stride};
    horizontal_pass(horizontal, needed, height, 0, channels, scratch.between.data(), count, scratch.block);
    const Rows<float> between{reinterpret_cast<const uint8_t*>(scratch.between.data()),
                              static_cast<ptrdiff_t>(count * sizeof(float))};
    vertical_pass(vertical, between, vertical.input_low, 0, count, target, target_stride);
  }
}

}  // namespace

FloatAxis build_float_axis(int in_size, int out_size, float box_start, float box_end, Filter filter) {
  FloatAxis t;
  t.in_size = in_size;
  t.out_size = out_size;
  t.box_start = box_start;
  t.box_end = box_end;
  t.filter = filter;
  t.first.assign(out_size, 0);
  t.count.assign(out_size, 0);
  if (axis_is_identity({in_size, out_size, box_start, box_end, filter, 0, out_size, false})) {
    fill_identity(t);
  } else {
    switch (filter) {
      case Filter::nearest:
        fill_nearest(t);
        break;
      case Filter::box:
        fill_weights<BoxFilter>(t);
        break;
      case Filter::bilinear:
        fill_weights<BilinearFilter>(t);
        break;
      case Filter::hamming:
        fill_weights<HammingFilter>(t);
        break;
      case Filter::bicubic:
        fill_weights<BicubicFilter>(t);
        break;
      case Filter::lanczos:
        fill_weights<LanczosFilter>(t);
        break;
    }
  }
  t.input_low = in_size;
  for (int o = 0; o < out_size; ++o) {
    if (t.count[o] == 0) continue;
    t.input_low = std::min(t.input_low, t.first[o]);
    t.input_high = std::max(t.input_high, t.first[o] + t.count[o]);
  }
  t.input_low = std::min(t.input_low, t.input_high);
  for (int o = 0; o < out_size; ++o) {
    if (t.count[o] == 0) t.first[o] = t.input_low;
  }
  return t;
}

std::shared_ptr<const FloatAxis> FloatScratch::axis(int in_size, int out_size, float box_start, float box_end,
                                                    Filter filter) {
  for (size_t i = axes_.size(); i-- > 0;) {
    const FloatAxis& t = *axes_[i];
    if (t.in_size == in_size && t.out_size == out_size && t.box_start == box_start && t.box_end == box_end &&
        t.filter == filter) {
      std::rotate(axes_.begin() + i, axes_.begin() + i + 1, axes_.end());
      return axes_.back();
    }
  }
  if (axes_.size() == kCachedAxes) axes_.erase(axes_.begin());
  axes_.push_back(std::make_shared<const FloatAxis>(build_float_axis(in_size, out_size, box_start, box_end, filter)));
  return axes_.back();
}

void FloatScratch::trim() {
  if (between.capacity() > kKeepFloats) between = {};
  if (block.capacity() > kKeepFloats) block = {};
}

void apply_float_resize(const Step& step, const Frame& in, const Frame& out, TransformScratch& scratch) {
  FloatScratch& floats = scratch.floats;
  const auto vertical = floats.axis(in.size.height, out.size.height, step.box_top, step.box_bottom, step.filter);
  const auto horizontal = floats.axis(in.size.width, out.size.width, step.box_left, step.box_right, step.filter);
  switch (in.format.sample) {
    case Sample::uint8:
      resize<uint8_t>(*vertical, *horizontal, in, out, floats);
      break;
    case Sample::float32:
      resize<float>(*vertical, *horizontal, in, out, floats);
      break;
    case Sample::uint16: {
      resize<uint16_t>(*vertical, *horizontal, in, out, floats);
      // What follows knows floats from 0 to 255; 65535 / 257 is 255.
      const size_t count = static_cast<size_t>(out.size.width) * out.format.channels;
      for (int y = 0; y < out.size.height; ++y) {
        float* row = reinterpret_cast<float*>(out.row(y));
        for (size_t i = 0; i < count; ++i) row[i] /= 257.0f;
      }
      break;
    }
  }
  floats.trim();
}

}  // namespace penstock
