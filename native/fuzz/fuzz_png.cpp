// libFuzzer entry: any bytes through inspect() and decode_png(), by the options that the first byte names; rows are
// counted, a clean outcome must have all of them. Checksums are put right first.
#include <zlib.h>

#include <vector>

#include "decoding.h"

namespace {

// The same file with right checksums, without which nothing would come further than the first chunk.
std::vector<uint8_t> with_checksums(const uint8_t* data, size_t size) {
  std::vector<uint8_t> file(data, data + size);
  for (size_t at = 8; at + 12 <= size;) {
    uint8_t* const chunk = file.data() + at;
    const size_t length = size_t{chunk[0]} << 24 | size_t{chunk[1]} << 16 | size_t{chunk[2]} << 8 | chunk[3];
    if (length > size - at - 12) break;
    const unsigned long sum = crc32(0, chunk + 4, static_cast<unsigned>(length + 4));
    for (int i = 0; i < 4; ++i) chunk[8 + length + static_cast<size_t>(i)] = static_cast<uint8_t>(sum >> (24 - 8 * i));
    at += 12 + length;
  }
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::vector<uint8_t> file = with_checksums(data + 1, size - 1);
  fuzz::decode_counted(file.data(), file.size(), fuzz::options_of(data[0]), penstock::Backend::png,
                       penstock::decode_png);
  return 0;
}
