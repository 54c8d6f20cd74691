// Image.transform(size, AFFINE, inverse, filter, fillcolor=fill) for uint8 images, bit for bit Pillow's.
//
// A pixel's centre is at +0.5. Pillow takes four ways: nearest in 16.16 fixed point, nearest by position tables where
// the matrix only scales, nearest in doubles where a corner does not fit fixed point, and the interpolating filters in
// doubles. Pixels whose source lies outside keep the fill.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "frame.h"

namespace penstock {
namespace {

constexpr double kFixedLimit = 32768.0;  // 16.16 holds less
constexpr int kOutside = -1;

// A position's pixel, or kOutside; also for what is no number.
inline int pixel_at(double position, int size) {
  return position >= 0.0 && position < size ? static_cast<int>(position) : kOutside;
}

void fill_with(const uint8_t* fill, const Frame& out) {
  const size_t channels = static_cast<size_t>(out.format.channels), row_bytes = channels * out.size.width;
  uint8_t* first = out.row(0);
  for (size_t i = 0; i < row_bytes; i += channels) std::memcpy(first + i, fill, channels);
  for (int y = 1; y < out.size.height; ++y) std::memcpy(out.row(y), first, row_bytes);
}

template <int C>
void nearest_scaled(const double* a, const Frame& in, const Frame& out) {
  // Positions are added up, not multiplied: the drift is part of the result.
  std::vector<int> columns(static_cast<size_t>(out.size.width));
  double position = a[2] + a[0] * 0.5;
  for (int& column : columns) {
    column = pixel_at(position, in.size.width);
    position += a[0];
  }
  position = a[5] + a[4] * 0.5;
  for (int y = 0; y < out.size.height; ++y, position += a[4]) {
    const int row = pixel_at(position, in.size.height);
    if (row == kOutside) continue;
    const uint8_t* from = in.row(row);
    uint8_t* to = out.row(y);
    for (int column : columns) {
      if (column != kOutside) std::memcpy(to, from + static_cast<ptrdiff_t>(column) * C, C);
      to += C;
    }
  }
}

// 16.16, rounded; what does not fit is not read by any pixel.
uint32_t fixed(double value) {
  const double scaled = std::floor(value * 65536.0 + 0.5);
  return std::fabs(scaled) < 2147483648.0 ? static_cast<uint32_t>(static_cast<int32_t>(scaled)) : 0x80000000u;
}

template <int C>
void nearest_fixed(const double* a, const Frame& in, const Frame& out) {
  // Unsigned, so that running over the end is defined; read back as signed.
  const uint32_t x_right = fixed(a[0]), x_down = fixed(a[1]), y_right = fixed(a[3]), y_down = fixed(a[4]);
  uint32_t x_start = fixed(a[2] + a[0] * 0.5 + a[1] * 0.5), y_start = fixed(a[5] + a[3] * 0.5 + a[4] * 0.5);
  const uint32_t width = static_cast<uint32_t>(in.size.width), height = static_cast<uint32_t>(in.size.height);
  for (int y = 0; y < out.size.height; ++y, x_start += x_down, y_start += y_down) {
    uint8_t* to = out.row(y);
    uint32_t x_at = x_start, y_at = y_start;
    for (int x = 0; x < out.size.width; ++x, to += C, x_at += x_right, y_at += y_right) {
      const uint32_t column = static_cast<uint32_t>(static_cast<int32_t>(x_at) >> 16);
      const uint32_t row = static_cast<uint32_t>(static_cast<int32_t>(y_at) >> 16);
      if (column < width && row < height) {
        std::memcpy(to, in.row(static_cast<int>(row)) + static_cast<ptrdiff_t>(column) * C, C);
      }
    }
  }
}

template <int C>
void nearest_wide(const double* a, const Frame& in, const Frame& out) {
  double x_start = a[2] + a[1] * 0.5 + a[0] * 0.5, y_start = a[5] + a[4] * 0.5 + a[3] * 0.5;
  for (int y = 0; y < out.size.height; ++y, x_start += a[1], y_start += a[4]) {
    uint8_t* to = out.row(y);
    double x_at = x_start, y_at = y_start;
    for (int x = 0; x < out.size.width; ++x, to += C, x_at += a[0], y_at += a[3]) {
      const int column = pixel_at(x_at, in.size.width), row = pixel_at(y_at, in.size.height);
      if (column != kOutside && row != kOutside) {
        std::memcpy(to, in.row(row) + static_cast<ptrdiff_t>(column) * C, C);
      }
    }
  }
}

template <int C>
void nearest(const double* a, const Frame& in, const Frame& out) {
  if (a[1] == 0.0 && a[3] == 0.0) return nearest_scaled<C>(a, in, out);
  const auto fits = [&](int x, int y) {
    return std::fabs(x * a[0] + y * a[1] + a[2]) < kFixedLimit && std::fabs(x * a[3] + y * a[4] + a[5]) < kFixedLimit;
  };
  const int height = out.size.height, width = out.size.width;
  if (fits(0, 0) && fits(width, height) && fits(0, height) && fits(width, 0)) return nearest_fixed<C>(a, in, out);
  nearest_wide<C>(a, in, out);
}

struct Bilinear {
  static constexpr int kTaps = 2, kBefore = 0;
  template <typename Value>
  static double mix(const Value* v, double along) {
    return v[0] + (v[1] - v[0]) * along;
  }
  static uint8_t cut(double level) { return static_cast<uint8_t>(level); }  // never outside 0 to 255
};

// Pillow's cubic through two points with the slopes of their neighbours, a = -1.
struct Bicubic {
  static constexpr int kTaps = 4, kBefore = 1;
  template <typename Value>
  static double mix(const Value* v, double along) {
    const double p1 = v[1], p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3], p4 = -v[0] + v[1] - v[2] + v[3];
    return p1 + along * (p2 + along * (p3 + along * p4));
  }
  static uint8_t cut(double level) { return level <= 0.0 ? 0 : level >= 255.0 ? 255 : static_cast<uint8_t>(level); }
};

// One pixel from its neighbourhood: along x in every row, then along y. Rows and columns outside are the nearest
// inside.
template <int C, typename Filter>
inline void interpolate(const uint8_t* const* rows, const ptrdiff_t* columns, double dx, double dy, uint8_t* to) {
  for (int channel = 0; channel < C; ++channel) {
    double down[Filter::kTaps];
    for (int j = 0; j < Filter::kTaps; ++j) {
      int taps[Filter::kTaps];
      for (int i = 0; i < Filter::kTaps; ++i) taps[i] = rows[j][columns[i] + channel];
      down[j] = Filter::mix(taps, dx);
    }
    to[channel] = Filter::cut(Filter::mix(down, dy));
  }
}

template <int C, typename Filter>
void interpolated(const double* a, const Frame& in, const Frame& out) {
  const int width = in.size.width, height = in.size.height;
  for (int y = 0; y < out.size.height; ++y) {
    uint8_t* to = out.row(y);
    const double y_out = y + 0.5;
    for (int x = 0; x < out.size.width; ++x, to += C) {
      const double x_out = x + 0.5;
      double x_in = a[0] * x_out + a[1] * y_out + a[2], y_in = a[3] * x_out + a[4] * y_out + a[5];
      if (!(x_in >= 0.0 && x_in < width && y_in >= 0.0 && y_in < height)) continue;
      x_in -= 0.5;
      y_in -= 0.5;
      const int column = x_in < 0.0 ? -1 : static_cast<int>(x_in), row = y_in < 0.0 ? -1 : static_cast<int>(y_in);
      const uint8_t* rows[Filter::kTaps];
      ptrdiff_t columns[Filter::kTaps];
      for (int i = 0; i < Filter::kTaps; ++i) {
        rows[i] = in.row(std::clamp(row - Filter::kBefore + i, 0, height - 1));
        columns[i] = static_cast<ptrdiff_t>(std::clamp(column - Filter::kBefore + i, 0, width - 1)) * C;
      }
      interpolate<C, Filter>(rows, columns, x_in - column, y_in - row, to);
    }
  }
}

template <int C>
void warp_channels(const Step& step, const Frame& in, const Frame& out) {
  fill_with(step.fill, out);
  switch (step.filter) {
    case Filter::bilinear:
      return interpolated<C, Bilinear>(step.inverse, in, out);
    case Filter::bicubic:
      return interpolated<C, Bicubic>(step.inverse, in, out);
    default:
      return nearest<C>(step.inverse, in, out);
  }
}

// Image.transform interpolates RGBA with its colours multiplied by alpha; the fill is taken as if it were so already.
void warp_rgba(const Step& step, const Frame& in, const Frame& out) {
  const size_t row_bytes = static_cast<size_t>(in.size.width) * 4;
  std::vector<uint8_t> memory(row_bytes * static_cast<size_t>(in.size.height));
  const Frame multiplied{memory.data(), static_cast<ptrdiff_t>(row_bytes), in.size, in.format};
  for (int y = 0; y < in.size.height; ++y) {
    const uint8_t* from = in.row(y);
    uint8_t* to = multiplied.row(y);
    for (int x = 0; x < in.size.width; ++x, from += 4, to += 4) {
      const unsigned alpha = from[3];
      for (int channel = 0; channel < 3; ++channel) {
        const unsigned product = from[channel] * alpha + 128;
        to[channel] = static_cast<uint8_t>(((product >> 8) + product) >> 8);  // divided by 255, rounded
      }
      to[3] = from[3];
    }
  }
  warp_channels<4>(step, multiplied, out);
  for (int y = 0; y < out.size.height; ++y) {
    uint8_t* pixel = out.row(y);
    for (int x = 0; x < out.size.width; ++x, pixel += 4) {
      const unsigned alpha = pixel[3];
      if (alpha == 0 || alpha == 255) continue;
      for (int channel = 0; channel < 3; ++channel) {
        pixel[channel] = static_cast<uint8_t>(std::min(255u * pixel[channel] / alpha, 255u));
      }
    }
  }
}

}  // namespace

void apply_warp(const Step& step, const Frame& in, const Frame& out) {
  switch (in.format.channels) {
    case 1:
      return warp_channels<1>(step, in, out);
    case 3:
      return warp_channels<3>(step, in, out);
    default:
      return step.filter == Filter::nearest ? warp_channels<4>(step, in, out) : warp_rgba(step, in, out);
  }
}

}  // namespace penstock
