// What the fuzz targets of the decoders share: options from the first byte, and one decode whose rows are counted.
#pragma once

#include <cstdlib>

#include "../pixels.h"
#include "../png.h"

namespace fuzz {

struct CountingSink final : penstock::RowSink {
  explicit CountingSink(size_t row_bytes) : bytes(row_bytes) {}
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    for (int i = 0; i < count; ++i) sum += rows[i * stride] + rows[i * stride + static_cast<ptrdiff_t>(bytes) - 1];
    total += count;
  }
  size_t bytes;
  unsigned sum = 0;
  int total = 0;
};

inline penstock::DecodeOptions options_of(uint8_t choice) {
  penstock::DecodeOptions options;
  options.mode = choice & 1 ? penstock::DecodeOptions::Mode::rgba : penstock::DecodeOptions::Mode::rgb;
  options.composite = (choice & 2) != 0;
  options.depth = static_cast<penstock::DecodeOptions::Depth>((choice >> 2) % 3);
  return options;
}

// What `backend` takes goes through `decode`; a clean outcome must have all rows.
inline void decode_counted(const uint8_t* data, size_t size, const penstock::DecodeOptions& options,
                           penstock::Backend backend, decltype(penstock::decode_png)& decode) {
  penstock::Limits limits;
  limits.max_pixels = 1 << 20;  // large pictures and many scans only make a fuzzer slow
  limits.max_scans = 50;
  penstock::Header header;
  penstock::Problem problem;
  if (!penstock::inspect(data, size, limits, header, problem) || header.backend != backend) return;
  penstock::DecodeScratch scratch;
  const std::atomic<bool> cancel{false};
  CountingSink sink(static_cast<size_t>(header.stored_width) * penstock::pushed_pixel_bytes(options));
  const penstock::DecodeResult result = decode(data, size, header, options, limits, scratch, cancel, sink);
  if (result.outcome == penstock::DecodeOutcome::clean && sink.total != header.stored_height) std::abort();
}

}  // namespace fuzz
