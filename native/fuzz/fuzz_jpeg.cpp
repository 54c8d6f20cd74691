// libFuzzer entry: any bytes through inspect() and decode_jpeg(), by the options that the first byte names; rows are
// counted, a clean outcome must have all of them.
#include "decoding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  penstock::DecodeOptions options = fuzz::options_of(data[0]);
  options.depth = penstock::DecodeOptions::Depth::eight;  // all that there is
  fuzz::decode_counted(data + 1, size - 1, options, penstock::Backend::jpeg, penstock::decode_jpeg);
  return 0;
}
