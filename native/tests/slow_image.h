// The plain statement of what a chain does: one step after the other, on whole images, pixel by pixel.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "../frame.h"

namespace penstock_test {

using namespace penstock;

struct Image {
  int height = 0, width = 0;
  Format format;
  std::vector<uint8_t> data;

  Image(int h, int w, Format f)
      : height(h), width(w), format(f), data(static_cast<size_t>(h) * static_cast<size_t>(w) * f.pixel_bytes()) {}
  size_t pixel_bytes() const { return format.pixel_bytes(); }
  ptrdiff_t stride() const { return static_cast<ptrdiff_t>(width) * static_cast<ptrdiff_t>(pixel_bytes()); }
  Size size() const { return {height, width}; }
  uint8_t* at(int y, int x) { return data.data() + y * stride() + x * static_cast<ptrdiff_t>(pixel_bytes()); }
  const uint8_t* at(int y, int x) const {
    return data.data() + y * stride() + x * static_cast<ptrdiff_t>(pixel_bytes());
  }
  void copy_pixel(int y, int x, const uint8_t* pixel) { std::memcpy(at(y, x), pixel, pixel_bytes()); }
};

inline Image noise(int height, int width, Format format, std::mt19937& random) {
  Image image(height, width, format);
  for (uint8_t& value : image.data) value = static_cast<uint8_t>(random());
  return image;
}

// Every pixel of a new image of `height` x `width` is the one of `in` that `source(y, x)` names.
template <class Source>
Image moved(const Image& in, int height, int width, const Source& source) {
  Image out(height, width, in.format);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const std::pair<int, int> from = source(y, x);
      out.copy_pixel(y, x, in.at(from.first, from.second));
    }
  }
  return out;
}

inline Image upright(const Image& stored, int orientation) {
  const bool transposed = orientation >= 5;
  const bool rows_reversed = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool columns_reversed = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  return moved(stored, transposed ? stored.width : stored.height, transposed ? stored.height : stored.width,
               [&](int y, int x) {
                 const int row = transposed ? x : y, column = transposed ? y : x;
                 return std::make_pair(rows_reversed ? stored.height - 1 - row : row,
                                       columns_reversed ? stored.width - 1 - column : column);
               });
}

inline unsigned sample16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

inline Image grey(const Image& in) {
  Image out(in.height, in.width, {1, in.format.sample});
  for (int y = 0; y < in.height; ++y) {
    for (int x = 0; x < in.width; ++x) {
      const uint8_t* rgb = in.at(y, x);
      const bool wide = in.format.sample == Sample::uint16;
      uint64_t sum = 0x8000;
      const uint64_t weights[] = {19595, 38470, 7471};
      for (int c = 0; c < 3; ++c) sum += weights[c] * (wide ? sample16(rgb + c * 2) : rgb[c]);
      const uint16_t value = static_cast<uint16_t>(sum >> 16);
      if (wide) {
        std::memcpy(out.at(y, x), &value, sizeof value);
      } else {
        *out.at(y, x) = static_cast<uint8_t>(value);
      }
    }
  }
  return out;
}

inline uint8_t times_alpha(int colour, int alpha) {
  const int product = colour * alpha + 128;
  return static_cast<uint8_t>(((product >> 8) + product) >> 8);
}

inline Image weighed_by_alpha(Image image, bool back) {
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      uint8_t* p = image.at(y, x);
      for (int c = 0; c < 3; ++c) {
        if (!back) {
          p[c] = times_alpha(p[c], p[3]);
        } else if (p[3] != 0) {
          p[c] = static_cast<uint8_t>(std::min(255 * p[c] / p[3], 255));
        }
      }
    }
  }
  return image;
}

inline Image along_rows(const Image& in, const AxisTable& table) {
  Image out(in.height, table.window_size, in.format);
  const int channels = in.format.channels;
  for (int y = 0; y < in.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int first = table.first[static_cast<size_t>(x)], count = table.count[static_cast<size_t>(x)];
      if (in.format.sample != Sample::uint8) {
        if (count > 0) out.copy_pixel(y, x, in.at(y, first));
        continue;
      }
      for (int c = 0; c < channels; ++c) {
        int64_t sum = 1 << (kWeightBits - 1);
        for (int k = 0; k < count; ++k) {
          sum += int64_t{in.at(y, first + k)[c]} * table.weights[static_cast<size_t>(x * table.max_count + k)];
        }
        out.at(y, x)[c] = static_cast<uint8_t>(std::clamp<int64_t>(sum >> kWeightBits, 0, 255));
      }
    }
  }
  return out;
}

inline Image turned(const Image& in) { return upright(in, 5); }

inline Image resized(const Image& in, const Step& step) {
  const AxisRequest x{in.width, step.width, step.box_left, step.box_right, step.filter, 0, step.width, false};
  const AxisRequest y{in.height, step.height, step.box_top, step.box_bottom, step.filter, 0, step.height, false};
  if (axis_is_identity(x) && axis_is_identity(y)) return in;
  const bool weighed = in.format.channels == 4 && step.filter != Filter::nearest;
  const bool vertical_first = step.adaptive_order && vertical_pass_first(in.size(), {step.height, step.width});
  Image out = weighed ? weighed_by_alpha(in, false) : in;
  for (int pass = 0; pass < 2; ++pass) {
    const bool horizontal = (pass == 0) != vertical_first;
    if (axis_is_identity(horizontal ? x : y)) continue;
    out = horizontal ? along_rows(out, build_axis(x)) : turned(along_rows(turned(out), build_axis(y)));
  }
  return weighed ? weighed_by_alpha(out, true) : out;
}

// Steps back and forth between the borders until it is inside; -1: nothing of the image.
inline int inside(int position, int size, PadMode mode) {
  if (mode == PadMode::reflect && size == 1) return 0;
  while (position < 0 || position >= size) {
    if (mode == PadMode::constant) return -1;
    if (mode == PadMode::edge) return position < 0 ? 0 : size - 1;
    const int repeated = mode == PadMode::symmetric ? 1 : 0;
    position = position < 0 ? -position - repeated : 2 * (size - 1) - position + repeated;
  }
  return position;
}

inline std::vector<uint8_t> fill_of(const Step& step, Format format) {
  std::vector<uint8_t> pixel(format.pixel_bytes());
  for (int c = 0; c < format.channels; ++c) {
    const uint16_t wide = static_cast<uint16_t>(step.fill[c] * 257);
    const float real = step.fill[c];
    const void* sample = format.sample == Sample::uint8    ? static_cast<const void*>(&step.fill[c])
                         : format.sample == Sample::uint16 ? static_cast<const void*>(&wide)
                                                           : &real;
    std::memcpy(pixel.data() + static_cast<size_t>(c) * sample_bytes(format.sample), sample,
                sample_bytes(format.sample));
  }
  return pixel;
}

inline Image padded(const Image& in, const Step& step) {
  Image out(step.height, step.width, in.format);
  const std::vector<uint8_t> fill = fill_of(step, in.format);
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int row = inside(y - step.top, in.height, step.pad_mode);
      const int column = inside(x - step.left, in.width, step.pad_mode);
      out.copy_pixel(y, x, row < 0 || column < 0 ? fill.data() : in.at(row, column));
    }
  }
  return out;
}

// The arithmetic of a resize in float32 has a test of its own; here it changes the format in the middle of a chain.
inline Image float_resized(const Image& in, const Step& step) {
  Image from = in, out(step.height, step.width, {in.format.channels, Sample::float32});
  TransformScratch scratch;
  apply_frame_step(step, {from.data.data(), from.stride(), from.size(), from.format},
                   {out.data.data(), out.stride(), out.size(), out.format}, scratch);
  return out;
}

inline Image apply(const Image& in, const Step& step) {
  switch (step.kind) {
    case Step::Kind::resize:
      return step.float32 ? float_resized(in, step) : resized(in, step);
    case Step::Kind::crop:
      return moved(in, step.height, step.width,
                   [&](int y, int x) { return std::make_pair(step.top + y, step.left + x); });
    case Step::Kind::flip_x:
      return moved(in, in.height, in.width, [&](int y, int x) { return std::make_pair(y, in.width - 1 - x); });
    case Step::Kind::flip_y:
      return moved(in, in.height, in.width, [&](int y, int x) { return std::make_pair(in.height - 1 - y, x); });
    case Step::Kind::rotate90: {
      Image out = in;
      for (int turn = 0; turn < step.turns; ++turn) {
        const Image before = out;
        out = moved(before, before.width, before.height,
                    [&](int y, int x) { return std::make_pair(x, before.width - 1 - y); });
      }
      return out;
    }
    case Step::Kind::pad:
      return padded(in, step);
    case Step::Kind::erase: {
      Image out = in;
      const std::vector<uint8_t> fill = fill_of(step, in.format);
      for (int y = step.top; y < step.top + step.height; ++y) {
        for (int x = step.left; x < step.left + step.width; ++x) out.copy_pixel(y, x, fill.data());
      }
      return out;
    }
    default:
      return in;
  }
}

}  // namespace penstock_test
