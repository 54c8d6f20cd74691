// What the tests of the decoders share: a sink that collects rows, and one decode of an exact copy of the bytes.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "../pixels.h"
#include "../png.h"
#include "../webp.h"
#include "check.h"

namespace penstock_test {

struct CollectingSink final : penstock::RowSink {
  explicit CollectingSink(size_t row_bytes) : width_bytes(row_bytes) {}
  penstock::Region wanted() const override { return part; }
  void expect(const penstock::Region& arriving) override { CHECK(arriving == part); }
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    pushes += 1;
    if (throws) throw std::runtime_error("no room");
    if (cancels != nullptr) cancels->store(true);
    for (int i = 0; i < count; ++i) pixels.insert(pixels.end(), rows + i * stride, rows + i * stride + width_bytes);
  }
  size_t width_bytes;
  penstock::Region part;
  int pushes = 0;
  bool throws = false;
  std::atomic<bool>* cancels = nullptr;
  std::vector<uint8_t> pixels;
};

struct Decoded {
  penstock::Header header;
  penstock::DecodeResult result;
  std::vector<uint8_t> pixels;
  int pushes = 0;
};

struct How {
  penstock::DecodeOptions options;
  penstock::Region part;
  bool throws = false, cancels_before = false, cancels = false;
};

// A heap copy of the exact size, so that the address sanitizer sees one byte too many.
inline Decoded decode(const std::vector<uint8_t>& bytes, const How& how = {}) {
  using namespace penstock;
  std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  Decoded decoded;
  Problem problem;
  const bool allowed = inspect(exact.get(), bytes.size(), Limits(), decoded.header, problem);
  const Header& header = decoded.header;
  if (!allowed || header.backend == Backend::pillow) {
    decoded.result.outcome = DecodeOutcome::refused;
    return decoded;
  }
  const int width = how.part.width > 0 ? how.part.width : header.stored_width;
  CollectingSink sink(static_cast<size_t>(width) * pushed_pixel_bytes(how.options));
  std::atomic<bool> cancel{how.cancels_before};
  sink.part = how.part;
  sink.throws = how.throws;
  if (how.cancels) sink.cancels = &cancel;
  DecodeScratch scratch;
  const auto decoder = header.backend == Backend::png ? decode_png : decode_webp;
  decoded.result = decoder(exact.get(), bytes.size(), header, how.options, Limits(), scratch, cancel, sink);
  decoded.pixels = sink.pixels;
  decoded.pushes = sink.pushes;
  return decoded;
}

// What a sink that throws makes of it.
inline bool throws(const std::vector<uint8_t>& bytes) {
  How how;
  how.throws = true;
  try {
    decode(bytes, how);
  } catch (const std::runtime_error&) {
    return true;
  }
  return false;
}

// The part of a whole picture's pixels.
inline std::vector<uint8_t> cut(const Decoded& whole, const penstock::Region& part, size_t pixel_bytes) {
  std::vector<uint8_t> pixels;
  const size_t stride = static_cast<size_t>(whole.header.stored_width) * pixel_bytes;
  for (int y = part.top; y < part.top + part.height; ++y) {
    const uint8_t* row = whole.pixels.data() + static_cast<size_t>(y) * stride;
    pixels.insert(pixels.end(), row + static_cast<size_t>(part.left) * pixel_bytes,
                  row + static_cast<size_t>(part.left + part.width) * pixel_bytes);
  }
  return pixels;
}

}  // namespace penstock_test
