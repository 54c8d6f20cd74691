#include <cstring>
#include <memory>

#include "../jpeg.h"
#include "check.h"
#include "jpeg_maker.h"

using namespace penstock;
using penstock_test::Bytes;
using penstock_test::JpegOptions;
using penstock_test::make_jpeg;

namespace {

// Keeps what arrives, and where it belongs.
struct Part final : RowSink {
  Region asked, arriving;
  size_t pixel_bytes = 3;
  int rows = 0;
  bool told = false;
  Bytes pixels;

  Region wanted() const override { return asked; }
  void expect(const Region& region) override {
    told = true;
    arriving = region;
    CHECK(rows == 0);
  }
  void push(const uint8_t* from, ptrdiff_t stride, int count) override {
    rows += count;
    const size_t bytes = static_cast<size_t>(arriving.width) * pixel_bytes;
    for (int i = 0; i < count; ++i) pixels.insert(pixels.end(), from + i * stride, from + i * stride + bytes);
  }
};

struct Picture {
  Bytes bytes;
  Header header;
};

Picture picture(Bytes bytes) {
  Picture made;
  made.bytes = std::move(bytes);
  Problem problem;
  const bool ok = inspect(made.bytes.data(), made.bytes.size(), Limits(), made.header, problem);
  CHECK(ok && made.header.backend == Backend::jpeg);
  return made;
}

DecodeResult decode(const Picture& from, const Region& wanted, Part& sink, DecodeOptions options = {}) {
  static DecodeScratch scratch;
  const std::atomic<bool> cancel{false};
  sink.asked = wanted;
  sink.arriving = {0, 0, from.header.stored_height, from.header.stored_width};
  sink.pixel_bytes = options.mode == DecodeOptions::Mode::rgba ? 4 : 3;
  std::unique_ptr<uint8_t[]> exact(new uint8_t[from.bytes.size()]);  // so that reading past the end is seen
  std::copy(from.bytes.begin(), from.bytes.end(), exact.get());
  return decode_jpeg(exact.get(), from.bytes.size(), from.header, options, Limits(), scratch, cancel, sink);
}

bool holds(const Region& outer, const Region& inner) {
  return outer.top <= inner.top && outer.left <= inner.left && outer.top + outer.height >= inner.top + inner.height &&
         outer.left + outer.width >= inner.left + inner.width;
}

// The wanted pixels of what arrived.
Bytes cut(const Part& sink, const Region& wanted) {
  Bytes pixels;
  const size_t stride = static_cast<size_t>(sink.arriving.width) * sink.pixel_bytes;
  for (int y = 0; y < wanted.height; ++y) {
    const auto row = sink.pixels.begin() + static_cast<ptrdiff_t>(stride) * (wanted.top - sink.arriving.top + y) +
                     static_cast<ptrdiff_t>(sink.pixel_bytes) * (wanted.left - sink.arriving.left);
    pixels.insert(pixels.end(), row, row + static_cast<ptrdiff_t>(sink.pixel_bytes) * wanted.width);
  }
  return pixels;
}

unsigned noise = 12345;
int random_below(int limit) {
  noise = noise * 1664525u + 1013904223u;
  return static_cast<int>((uint64_t{noise} * static_cast<uint64_t>(limit)) >> 32);
}

int parts = 0;

void same_pixels_anywhere(const Picture& from, int crops, DecodeOptions options = {}) {
  Part whole;
  CHECK(decode(from, {}, whole, options).outcome == DecodeOutcome::clean && !whole.told);
  for (int i = 0; i < crops; ++i) {
    Region wanted;
    wanted.height = 1 + random_below(from.header.stored_height);
    wanted.width = 1 + random_below(from.header.stored_width);
    if (i % 2 == 0) {
      wanted.height = (wanted.height + 3) / 4;
      wanted.width = (wanted.width + 3) / 4;
    }
    wanted.top = random_below(from.header.stored_height - wanted.height + 1);
    wanted.left = random_below(from.header.stored_width - wanted.width + 1);
    Part part;
    CHECK(decode(from, wanted, part, options).outcome == DecodeOutcome::clean);
    CHECK(holds(part.arriving, wanted) && part.rows == part.arriving.height);
    CHECK(part.pixels.size() == part.pixel_bytes * static_cast<size_t>(part.arriving.height * part.arriving.width));
    CHECK(cut(part, wanted) == cut(whole, wanted));
    parts += part.told;
  }
}

void every_sampling() {
  const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}, {4, 1}, {1, 2}, {4, 2}, {3, 1}, {1, 4}, {2, 4}};
  const int sizes[][2] = {{33, 50}, {67, 161}, {160, 96}, {241, 239}};
  for (const auto& size : sizes) {
    for (const auto& sampling : samplings) {
      for (int kind = 0; kind < 5; ++kind) {
        JpegOptions options;
        options.horizontal = sampling[0];
        options.vertical = sampling[1];
        options.progressive = kind == 1;
        options.restart_rows = kind == 2 ? 1 : kind == 4 ? 3 : 0;
        options.separate_scans = kind == 3;
        same_pixels_anywhere(picture(make_jpeg(size[0], size[1], options)), 40);
      }
    }
    JpegOptions grey;
    grey.components = 1;
    same_pixels_anywhere(picture(make_jpeg(size[0], size[1], grey)), 40);
  }
  CHECK(parts > 3000);
}

void alpha_is_opaque() {
  DecodeOptions options;
  options.mode = DecodeOptions::Mode::rgba;
  for (int components : {1, 3}) {
    JpegOptions made;
    made.components = components;
    const Picture from = picture(make_jpeg(120, 90, made));
    same_pixels_anywhere(from, 10, options);
    Part four, three;
    CHECK(decode(from, {}, four, options).outcome == DecodeOutcome::clean);
    CHECK(decode(from, {}, three).outcome == DecodeOutcome::clean);
    bool same = four.pixels.size() / 4 == three.pixels.size() / 3;
    for (size_t i = 0; same && i < three.pixels.size() / 3; ++i) {
      same = std::memcmp(&four.pixels[i * 4], &three.pixels[i * 3], 3) == 0 && four.pixels[i * 4 + 3] == 255;
    }
    CHECK(same);
  }
}

// A crop of the top of a file that ends too early is not clean, wherever the end is.
void sees_the_end_missing() {
  const Region top = {0, 0, 20, 30};
  for (int kind = 0; kind < 4; ++kind) {
    JpegOptions options;
    options.progressive = kind == 1;
    options.restart_rows = kind == 2 ? 1 : 0;
    options.separate_scans = kind == 3;
    const Picture whole = picture(make_jpeg(160, 120, options));
    for (size_t size = whole.bytes.size() / 3; size < whole.bytes.size() - 16; size += 53) {
      Picture from = whole;
      from.bytes.resize(size);
      Part part, all;
      const DecodeResult result = decode(from, top, part);
      CHECK(result.outcome == DecodeOutcome::referee && !result.sentence.empty());
      CHECK(decode(from, {}, all).outcome == DecodeOutcome::referee);
    }
  }
}

// Restart markers lost, doubled or out of order behind the part are reported as with the whole image.
void sees_markers_out_of_place() {
  JpegOptions options;
  options.restart_rows = 1;
  const Picture whole = picture(make_jpeg(160, 120, options));
  for (size_t at = whole.bytes.size() / 2; at + 3 < whole.bytes.size(); ++at) {
    if (whole.bytes[at] != 0xFF || whole.bytes[at + 1] < 0xD0 || whole.bytes[at + 1] > 0xD7) continue;
    for (uint8_t change : {uint8_t{0x00}, uint8_t{0xD0}, uint8_t{0xC4}, uint8_t{0xFF}}) {
      Picture from = whole;
      if (from.bytes[at + 1] == change) continue;
      from.bytes[at + 1] = change;
      Part part, all;
      const DecodeResult result = decode(from, {0, 0, 20, 30}, part);
      CHECK(result.outcome == decode(from, {}, all).outcome);
    }
  }
}

void stops_when_told() {
  const Picture from = picture(make_jpeg(600, 400));
  DecodeScratch scratch;
  const std::atomic<bool> cancel{true};
  Part sink;
  sink.asked = {500, 300, 10, 10};
  const DecodeResult result =
      decode_jpeg(from.bytes.data(), from.bytes.size(), from.header, {}, Limits(), scratch, cancel, sink);
  CHECK(result.outcome == DecodeOutcome::cancelled && sink.rows == 0);
}

}  // namespace

int main() {
  every_sampling();
  alpha_is_opaque();
  sees_the_end_missing();
  sees_markers_out_of_place();
  stops_when_told();
  std::printf("%d crops were decoded in part\n", parts);
  return penstock_test::report("test_jpeg_region");
}
