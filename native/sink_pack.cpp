// The last link: rows into the slot, normalised and laid out.
#include <cstring>

#include "sinks.h"

namespace penstock {

PackSink::PackSink(Size size, bool rows_reversed, bool columns_reversed, const Output& output, void* slot,
                   BufferPool& pool)
    : size_(size), rows_reversed_(rows_reversed), columns_reversed_(columns_reversed), output_(output), slot_(slot) {
  if (columns_reversed) turned_ = pool.take(static_cast<size_t>(size.width) * kChannels);
}

void PackSink::push(const Strip& strip) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < strip.count; ++i, ++arrived_) {
    const uint8_t* row = strip.row(i);
    if (columns_reversed_) {
      for (int x = 0; x < size_.width; ++x) {
        std::memcpy(turned_ + x * kChannels, row + (size_.width - 1 - x) * kChannels, kChannels);
      }
      row = turned_;
    }
    pack(row, rows_reversed_ ? size_.height - 1 - arrived_ : arrived_);
  }
  elapsed_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
}

void PackSink::pack(const uint8_t* row, int y) {
  const int width = size_.width;
  const ptrdiff_t plane = static_cast<ptrdiff_t>(size_.height) * width;
  const bool planar = output_.layout == Layout::nchw;
  const ptrdiff_t start = static_cast<ptrdiff_t>(y) * width * (planar ? 1 : kChannels);
  if (output_.dtype == Dtype::uint8) {
    uint8_t* out = static_cast<uint8_t*>(slot_) + start;
    if (planar) {
      kernels_.split_planar(row, width, out, plane);
    } else {
      std::memcpy(out, row, static_cast<size_t>(width) * kChannels);
    }
    return;
  }
  float* out = static_cast<float*>(slot_) + start;
  if (output_.normalizer != nullptr) {
    if (planar) {
      kernels_.normalize_planar(row, width, *output_.normalizer, out, plane);
    } else {
      kernels_.normalize_interleaved(row, width, *output_.normalizer, out);
    }
    return;
  }
  if (planar) {
    for (int c = 0; c < kChannels; ++c) {
      for (int x = 0; x < width; ++x) out[c * plane + x] = static_cast<float>(row[x * kChannels + c]);
    }
  } else {
    for (int i = 0; i < width * kChannels; ++i) out[i] = static_cast<float>(row[i]);
  }
}

}  // namespace penstock
