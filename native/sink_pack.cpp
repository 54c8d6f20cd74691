// The last link: rows into the slot, normalised and laid out.
#include <cstring>

#include "sinks.h"

namespace penstock {

size_t element_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::uint8:
      return 1;
    case Dtype::uint16:
    case Dtype::float16:
    case Dtype::bfloat16:
      return 2;
    case Dtype::float32:
      return 4;
  }
  return 4;
}

PackSink::PackSink(Size size, Format format, bool rows_reversed, bool columns_reversed, const Output& output,
                   void* slot, BufferPool& pool)
    : size_(size),
      format_(format),
      rows_reversed_(rows_reversed),
      columns_reversed_(columns_reversed),
      output_(output),
      slot_(slot),
      element_(element_bytes(output.dtype)),
      has_kernel_(format == Format{} && output.dtype == Dtype::float32 && output.normalizer != nullptr) {
  const size_t width = static_cast<size_t>(size.width);
  if (columns_reversed) turned_ = pool.take(width * format.pixel_bytes());
  pixels_ = width;
  if (output.layout == Layout::patches && !has_kernel_) {
    pixels_ *= static_cast<size_t>(output.patch);
    patches_ = pool.take(pixels_ * format.pixel_bytes());
  }
  line_ = pool.take(pixels_ * static_cast<size_t>(format.channels) * element_);
}

void PackSink::push(const Strip& strip) {
  using Clock = std::chrono::steady_clock;
  const int before = arrived_;
  const Clock::time_point begin = timed_ ? Clock::now() : Clock::time_point();
  const size_t pixel_bytes = format_.pixel_bytes();
  for (int i = 0; i < strip.count; ++i, ++arrived_) {
    const uint8_t* row = strip.row(i);
    if (columns_reversed_) {
      for (int x = 0; x < size_.width; ++x) {
        std::memcpy(turned_ + static_cast<size_t>(x) * pixel_bytes,
                    row + static_cast<size_t>(size_.width - 1 - x) * pixel_bytes, pixel_bytes);
      }
      row = turned_;
    }
    pack(row, place_of_next());
  }
  const bool hands_on = behind_ != nullptr && !rows_reversed_;
  if (hands_on && times_behind_) hand_on(before, arrived_);
  if (timed_) elapsed_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
  if (hands_on && !times_behind_) hand_on(before, arrived_);
}

void PackSink::finish() {
  if (behind_ != nullptr && rows_reversed_) hand_on(0, arrived_);
}

void PackSink::hand_on(int from, int to) {
  const size_t bytes = static_cast<size_t>(size_.width) * format_.pixel_bytes();
  behind_->push(static_cast<const uint8_t*>(slot_) + static_cast<size_t>(from) * bytes, static_cast<ptrdiff_t>(bytes),
                to - from);
}

bool PackSink::takes_planes() const {
  const bool bytes = format_ == Format{} && output_.dtype == Dtype::uint8;
  return output_.layout == Layout::nchw && !columns_reversed_ && (has_kernel_ || bytes);
}

void PackSink::push_planes(const uint8_t* const* planes, ptrdiff_t stride, int count) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const ptrdiff_t plane = static_cast<ptrdiff_t>(size_.height) * size_.width;
  for (int i = 0; i < count; ++i, ++arrived_) {
    const uint8_t* rows[kChannels];
    for (int c = 0; c < kChannels; ++c) rows[c] = planes[c] + stride * i;
    const ptrdiff_t start = static_cast<ptrdiff_t>(place_of_next()) * size_.width;
    if (has_kernel_) {
      kernels_.normalize_planes(rows, size_.width, *output_.normalizer, static_cast<float*>(slot_) + start, plane);
      continue;
    }
    for (int c = 0; c < kChannels; ++c) {
      std::memcpy(static_cast<uint8_t*>(slot_) + start + plane * c, rows[c], static_cast<size_t>(size_.width));
    }
  }
  elapsed_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
}

void PackSink::pack(const uint8_t* row, int y) {
  if (output_.layout != Layout::patches) {
    write(row, y);
  } else if (has_kernel_) {
    write_runs(row, y);
  } else if (gather(row, y)) {
    write(patches_, y / output_.patch);
  }
}

// Each row goes to as many places as there are patches side by side: more than the memory is fetched for unasked. So
// the same part of the next row of patches is asked for meanwhile; a row of patches fits a second-level cache.
void PackSink::write_runs(const uint8_t* row, int y) {
  const int side = output_.patch;
  const ptrdiff_t line = static_cast<ptrdiff_t>(size_.width) * kChannels,
                  run = static_cast<ptrdiff_t>(side) * kChannels;
  float* slot = static_cast<float*>(slot_);
  const int next = y / side + (rows_reversed_ ? -1 : 1);
  const bool inside = next >= 0 && next < size_.height / side;
  kernels_.normalize_runs(row, size_.width / side, side, *output_.normalizer,
                          slot + y / side * side * line + y % side * run, side * run,
                          inside ? slot + (next * side + y % side) * line : nullptr);
}

namespace {

// Copies of a few dozen bytes, thousands an image: moves of 16 bytes, of which the last two may overlap, where a call
// would take longer than the copy.
void copy_run(const uint8_t* from, size_t bytes, uint8_t* to) {
  constexpr size_t kMove = 16;
  if (bytes < kMove) {
    std::memcpy(to, from, bytes);
    return;
  }
  for (size_t at = 0; at + kMove < bytes; at += kMove) std::memcpy(to + at, from + at, kMove);
  std::memcpy(to + bytes - kMove, from + bytes - kMove, kMove);
}

}  // namespace

// A row of patches is one run of the slot: its rows are put into the patches' order first, where they are in the cache,
// and written in one go.
bool PackSink::gather(const uint8_t* row, int y) {
  const size_t side = static_cast<size_t>(output_.patch), run = side * format_.pixel_bytes(), patch = side * run;
  uint8_t* to = patches_ + static_cast<size_t>(y) % side * run;
  for (size_t column = static_cast<size_t>(size_.width) / side; column > 0; --column, to += patch, row += run) {
    copy_run(row, run, to);
  }
  gathered_ = gathered_ + 1 == output_.patch ? 0 : gathered_ + 1;
  return gathered_ == 0;
}

void PackSink::write(const uint8_t* row, int y) {
  if (!write_rgb(row, y)) place(convert(row), y);
}

bool PackSink::write_rgb(const uint8_t* row, int y) {
  if (!(format_ == Format{})) return false;
  const int width = static_cast<int>(pixels_);
  const ptrdiff_t plane = static_cast<ptrdiff_t>(size_.height) * width;
  const bool planar = output_.layout == Layout::nchw;
  const ptrdiff_t start = static_cast<ptrdiff_t>(y) * width * (planar ? 1 : kChannels);
  if (output_.dtype == Dtype::uint8) {
    uint8_t* out = static_cast<uint8_t*>(slot_) + start;
    if (planar) {
      kernels_.split_planar(row, width, out, plane);
    } else {
      std::memcpy(out, row, pixels_ * kChannels);
    }
    return true;
  }
  if (!has_kernel_) return false;
  float* out = static_cast<float*>(slot_) + start;
  if (planar) {
    kernels_.normalize_planar(row, width, *output_.normalizer, out, plane);
  } else {
    kernels_.normalize_interleaved(row, width, *output_.normalizer, out);
  }
  return true;
}

namespace {

float sample_at(const uint8_t* row, Sample sample, int i) {
  if (sample == Sample::uint8) return row[i];
  if (sample == Sample::uint16) {
    uint16_t value;
    std::memcpy(&value, row + static_cast<ptrdiff_t>(i) * 2, sizeof value);
    return value;
  }
  float value;
  std::memcpy(&value, row + static_cast<ptrdiff_t>(i) * 4, sizeof value);
  return value;
}

// Interleaved samples to planes. The size of a sample is a constant, so that copies are moves.
template <size_t Bytes>
void split(const uint8_t* in, size_t width, size_t channels, uint8_t* out, size_t plane_bytes) {
  for (size_t c = 0; c < channels; ++c) {
    for (size_t x = 0; x < width; ++x) {
      std::memcpy(out + c * plane_bytes + x * Bytes, in + (x * channels + c) * Bytes, Bytes);
    }
  }
}

void store(float value, Dtype dtype, uint8_t* out, int i) {
  if (dtype == Dtype::float32) {
    std::memcpy(out + static_cast<ptrdiff_t>(i) * 4, &value, sizeof value);
    return;
  }
  const uint16_t narrow = dtype == Dtype::float16 ? half_of(value) : bfloat16_of(value);
  std::memcpy(out + static_cast<ptrdiff_t>(i) * 2, &narrow, sizeof narrow);
}

}  // namespace

const uint8_t* PackSink::convert(const uint8_t* row) {
  const int channels = format_.channels, samples = static_cast<int>(pixels_) * channels;
  const Normalizer* n = output_.normalizer.get();
  if (n == nullptr) {
    const bool same = (output_.dtype == Dtype::uint8 && format_.sample == Sample::uint8) ||
                      (output_.dtype == Dtype::uint16 && format_.sample == Sample::uint16) ||
                      (output_.dtype == Dtype::float32 && format_.sample == Sample::float32);
    if (same) return row;
    for (int i = 0; i < samples; ++i) store(sample_at(row, format_.sample, i), output_.dtype, line_, i);
    return line_;
  }
  if (format_.sample == Sample::uint8) {
    if (output_.dtype == Dtype::float32) {
      float* out = reinterpret_cast<float*>(line_);
      for (int i = 0, c = 0; i < samples; ++i, c = c + 1 == channels ? 0 : c + 1) out[i] = n->table[c][row[i]];
    } else {
      const auto& table = output_.dtype == Dtype::float16 ? n->half : n->bfloat16;
      uint16_t* out = reinterpret_cast<uint16_t*>(line_);
      for (int i = 0, c = 0; i < samples; ++i, c = c + 1 == channels ? 0 : c + 1) out[i] = table[c][row[i]];
    }
    return line_;
  }
  const float full = format_.sample == Sample::uint16 ? 65535.0f : 255.0f;
  for (int i = 0, c = 0; i < samples; ++i, c = c + 1 == channels ? 0 : c + 1) {
    const float unit = sample_at(row, format_.sample, i) / full;
    const float centred = unit - n->mean[c];
    store(centred / n->std[c], output_.dtype, line_, i);
  }
  return line_;
}

void PackSink::place(const uint8_t* converted, int y) {
  const size_t channels = static_cast<size_t>(format_.channels);
  uint8_t* slot = static_cast<uint8_t*>(slot_);
  if (output_.layout != Layout::nchw) {
    const size_t bytes = pixels_ * channels * element_;
    std::memcpy(slot + static_cast<size_t>(y) * bytes, converted, bytes);
    return;
  }
  const size_t plane = static_cast<size_t>(size_.height) * pixels_, start = static_cast<size_t>(y) * pixels_;
  const auto split_row = element_ == 1 ? split<1> : element_ == 2 ? split<2> : split<4>;
  split_row(converted, pixels_, channels, slot + start * element_, plane * element_);
}

}  // namespace penstock
