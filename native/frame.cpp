// The frame steps that only move pixels, and which function does which step.
#include "frame.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

// Which input position an output position outside the image shows; -1: the fill.
int source_of(int position, int size, PadMode mode) {
  if (position >= 0 && position < size) return position;
  switch (mode) {
    case PadMode::constant:
      return -1;
    case PadMode::edge:
      return std::clamp(position, 0, size - 1);
    case PadMode::reflect: {
      if (size == 1) return 0;
      const int period = 2 * (size - 1);
      const int at = ((position % period) + period) % period;
      return at < size ? at : period - at;
    }
    case PadMode::symmetric: {
      const int period = 2 * size;
      const int at = ((position % period) + period) % period;
      return at < size ? at : period - 1 - at;
    }
  }
  return -1;
}

// One pixel of the fill in a format: samples of 8 bits are meant, whatever the format holds.
void fill_pixel(const Step& step, Format format, uint8_t* out) {
  for (int c = 0; c < format.channels; ++c) {
    if (format.sample == Sample::uint8) {
      out[c] = step.fill[c];
    } else if (format.sample == Sample::uint16) {
      const uint16_t value = static_cast<uint16_t>(step.fill[c] * 257);
      std::memcpy(out + c * 2, &value, sizeof value);
    } else {
      const float value = step.fill[c];
      std::memcpy(out + c * 4, &value, sizeof value);
    }
  }
}

void fill_run(const uint8_t* pixel, size_t pixel_bytes, uint8_t* out, int count) {
  for (int x = 0; x < count; ++x) std::memcpy(out + static_cast<size_t>(x) * pixel_bytes, pixel, pixel_bytes);
}

void pad(const Step& step, const Frame& in, const Frame& out) {
  const size_t pixel_bytes = in.format.pixel_bytes();
  uint8_t pixel[16] = {};
  fill_pixel(step, in.format, pixel);
  const int right = step.left + in.size.width;
  for (int y = 0; y < out.size.height; ++y) {
    uint8_t* to = out.row(y);
    const int from_row = source_of(y - step.top, in.size.height, step.pad_mode);
    if (from_row < 0) {
      fill_run(pixel, pixel_bytes, to, out.size.width);
      continue;
    }
    const uint8_t* from = in.row(from_row);
    const auto border = [&](int begin, int end) {
      for (int x = begin; x < end; ++x) {
        const int column = source_of(x - step.left, in.size.width, step.pad_mode);
        std::memcpy(to + static_cast<size_t>(x) * pixel_bytes,
                    column < 0 ? pixel : from + static_cast<size_t>(column) * pixel_bytes, pixel_bytes);
      }
    };
    border(0, step.left);
    std::memcpy(to + static_cast<size_t>(step.left) * pixel_bytes, from,
                static_cast<size_t>(in.size.width) * pixel_bytes);
    border(right, out.size.width);
  }
}

void rotate90(const Step& step, const Frame& in, const Frame& out) {
  const size_t pixel_bytes = in.format.pixel_bytes();
  const int height = in.size.height, width = in.size.width;
  for (int y = 0; y < out.size.height; ++y) {
    uint8_t* to = out.row(y);
    for (int x = 0; x < out.size.width; ++x) {
      const int row = step.turns == 1 ? x : step.turns == 2 ? height - 1 - y : height - 1 - x;
      const int column = step.turns == 1 ? width - 1 - y : step.turns == 2 ? width - 1 - x : y;
      std::memcpy(to + static_cast<size_t>(x) * pixel_bytes, in.row(row) + static_cast<size_t>(column) * pixel_bytes,
                  pixel_bytes);
    }
  }
}

void erase(const Step& step, const Frame& frame) {
  const size_t pixel_bytes = frame.format.pixel_bytes();
  uint8_t pixel[16] = {};
  fill_pixel(step, frame.format, pixel);
  for (int y = step.top; y < step.top + step.height; ++y) {
    fill_run(pixel, pixel_bytes, frame.row(y) + static_cast<size_t>(step.left) * pixel_bytes, step.width);
  }
}

}  // namespace

bool is_frame_step(const Step& step) {
  switch (step.kind) {
    case Step::Kind::crop:
    case Step::Kind::flip_x:
    case Step::Kind::flip_y:
      return false;
    case Step::Kind::resize:
      return step.float32;
    default:
      return true;
  }
}

Size size_after(const Step& step, Size in) {
  switch (step.kind) {
    case Step::Kind::crop:
    case Step::Kind::resize:
    case Step::Kind::pad:
    case Step::Kind::warp:
      return {step.height, step.width};
    case Step::Kind::rotate90:
      return step.turns == 2 ? in : Size{in.width, in.height};
    default:
      return in;
  }
}

Format format_after(const Step& step, Format in) {
  return step.kind == Step::Kind::resize && step.float32 ? Format{in.channels, Sample::float32} : in;
}

bool in_place(const Step& step) {
  return step.kind == Step::Kind::erase || step.kind == Step::Kind::jpeg ||
         (step.kind == Step::Kind::color && step.op != ColorOp::sharpness);  // sharpness looks at its neighbours
}

void apply_frame_step(const Step& step, const Frame& in, const Frame& out, TransformScratch& scratch) {
  switch (step.kind) {
    case Step::Kind::pad:
      return pad(step, in, out);
    case Step::Kind::rotate90:
      return rotate90(step, in, out);
    case Step::Kind::erase:
      return erase(step, out);
    case Step::Kind::warp:
      return apply_warp(step, in, out);
    case Step::Kind::color:
      return apply_color(step, in, out, scratch);
    case Step::Kind::jpeg:
      return apply_jpeg(step, in, out, scratch);
    case Step::Kind::resize:
      return apply_float_resize(step, in, out, scratch);
    default:
      return;
  }
}

}  // namespace penstock
