// libFuzzer entry: any bytes through inspect() and decode_jpeg(); rows are counted, a clean outcome must have all of
// them.
#include <cstdlib>

#include "../jpeg.h"

namespace {

struct CountingSink final : penstock::RowSink {
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    for (int i = 0; i < count; ++i) sum += rows[i * stride];
    total += count;
  }
  unsigned sum = 0;
  int total = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::Limits limits;
  limits.max_pixels = 1 << 20;  // large pictures only make a fuzzer slow
  limits.max_scans = 50;
  penstock::Header header;
  penstock::Problem problem;
  if (!penstock::inspect(data, size, limits, header, problem) || header.backend != penstock::Backend::jpeg) return 0;
  penstock::DecodeScratch scratch;
  const std::atomic<bool> cancel{false};
  CountingSink sink;
  const penstock::DecodeResult result = penstock::decode_jpeg(data, size, header, limits, scratch, cancel, sink);
  if (result.outcome == penstock::DecodeOutcome::clean && sink.total != header.stored_height) std::abort();
  return 0;
}
