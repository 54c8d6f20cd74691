// libFuzzer entry: any bytes through inspect() and decode_webp(), by the options that the first byte names; rows are
// counted, a clean outcome must have all of them.
#include <cstdlib>

#include "../pixels.h"
#include "../webp.h"

namespace {

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

penstock::DecodeOptions options_of(uint8_t choice) {
  penstock::DecodeOptions options;
  options.mode = choice & 1 ? penstock::DecodeOptions::Mode::rgba : penstock::DecodeOptions::Mode::rgb;
  options.composite = (choice & 2) != 0;
  options.depth = static_cast<penstock::DecodeOptions::Depth>((choice >> 2) % 3);
  return options;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const penstock::DecodeOptions options = options_of(*data++);
  size -= 1;
  penstock::Limits limits;
  limits.max_pixels = 1 << 20;  // large pictures only make a fuzzer slow
  penstock::Header header;
  penstock::Problem problem;
  if (!penstock::inspect(data, size, limits, header, problem) || header.backend != penstock::Backend::webp) return 0;
  penstock::DecodeScratch scratch;
  const std::atomic<bool> cancel{false};
  CountingSink sink(static_cast<size_t>(header.stored_width) * penstock::pushed_pixel_bytes(options));
  const penstock::DecodeResult result =
      penstock::decode_webp(data, size, header, options, limits, scratch, cancel, sink);
  if (result.outcome == penstock::DecodeOutcome::clean && sink.total != header.stored_height) std::abort();
  return 0;
}
