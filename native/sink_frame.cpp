// The link that holds a whole image, and the functions of one row.
#include <algorithm>
#include <cstring>

#include "sinks.h"

namespace penstock {
namespace {

constexpr size_t kFramePadding = 64;  // room behind each row for wide loads

uint32_t divided_by_255(uint32_t value) {  // Pillow's MULDIV255, after the product
  value += 128;
  return ((value >> 8) + value) >> 8;
}

template <typename Value>
void grey(const uint8_t* in, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x) {
    Value rgb[3];
    std::memcpy(rgb, in + static_cast<size_t>(x) * sizeof rgb, sizeof rgb);
    const uint64_t sum = rgb[0] * uint64_t{19595} + rgb[1] * uint64_t{38470} + rgb[2] * uint64_t{7471} + 0x8000;
    const Value value = static_cast<Value>(sum >> 16);
    std::memcpy(out + static_cast<size_t>(x) * sizeof value, &value, sizeof value);
  }
}

void mirror_row(const uint8_t* in, int width, size_t pixel_bytes, uint8_t* out) {
  for (int x = 0; x < width; ++x) {
    std::memcpy(out + static_cast<size_t>(x) * pixel_bytes, in + static_cast<size_t>(width - 1 - x) * pixel_bytes,
                pixel_bytes);
  }
}

}  // namespace

void grey_of_rgb(const uint8_t* in, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x, in += 3) {
    out[x] = static_cast<uint8_t>((in[0] * 19595u + in[1] * 38470u + in[2] * 7471u + 0x8000u) >> 16);
  }
}

void grey_of_rgb16(const uint8_t* in, int width, uint8_t* out) { grey<uint16_t>(in, width, out); }

void premultiply(const uint8_t* in, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x, in += 4, out += 4) {
    for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(divided_by_255(uint32_t{in[c]} * in[3]));
    out[3] = in[3];
  }
}

void unpremultiply(const uint8_t* in, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x, in += 4, out += 4) {
    const uint32_t alpha = in[3];
    for (int c = 0; c < 3; ++c) {
      out[c] = alpha == 255 || alpha == 0 ? in[c] : static_cast<uint8_t>(std::min(255u * in[c] / alpha, 255u));
    }
    out[3] = in[3];
  }
}

Frame take_frame(Size size, Format format, BufferPool& pool) {
  Frame frame;
  const size_t stride = (static_cast<size_t>(size.width) * format.pixel_bytes() + kFramePadding + 31) & ~size_t{31};
  frame.pixels = pool.take(stride * static_cast<size_t>(size.height));
  frame.stride = static_cast<ptrdiff_t>(stride);
  frame.size = size;
  frame.format = format;
  return frame;
}

FrameSink::FrameSink(Size size, Format format, bool rows_reversed, bool columns_reversed, std::vector<Step> steps,
                     TransformScratch& scratch, BufferPool& pool)
    : frame_(take_frame(size, format, pool)),
      rows_reversed_(rows_reversed),
      columns_reversed_(columns_reversed),
      steps_(std::move(steps)),
      scratch_(scratch),
      pool_(pool) {}

void FrameSink::push(const Strip& strip) {
  const size_t pixel_bytes = frame_.format.pixel_bytes();
  for (int i = 0; i < strip.count && arrived_ < frame_.size.height; ++i, ++arrived_) {
    uint8_t* to = frame_.row(rows_reversed_ ? frame_.size.height - 1 - arrived_ : arrived_);
    if (columns_reversed_) {
      mirror_row(strip.row(i), frame_.size.width, pixel_bytes, to);
    } else {
      std::memcpy(to, strip.row(i), static_cast<size_t>(frame_.size.width) * pixel_bytes);
    }
  }
}

void FrameSink::finish() {
  Frame now = frame_;
  for (const Step& step : steps_) {
    if (in_place(step)) {
      apply_frame_step(step, now, now, scratch_);
      continue;
    }
    const Frame next = take_frame(size_after(step, now.size), format_after(step, now.format), pool_);
    apply_frame_step(step, now, next, scratch_);
    now = next;
  }
  Strip out;
  out.stride = now.stride;
  out.tail = static_cast<size_t>(now.stride);
  for (int y = 0; y < now.size.height; y += kStripRows) {
    out.rows = now.row(y);
    out.count = std::min(kStripRows, now.size.height - y);
    next_->push(out);
  }
}

}  // namespace penstock
