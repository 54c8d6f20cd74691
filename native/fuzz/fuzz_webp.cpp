// libFuzzer entry: any bytes through inspect() and decode_webp(), by the options that the first byte names; rows are
// counted, a clean outcome must have all of them.
#include "../webp.h"
#include "decoding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  fuzz::decode_counted(data + 1, size - 1, fuzz::options_of(data[0]), penstock::Backend::webp, penstock::decode_webp);
  return 0;
}
