#include <cstring>
#include <memory>
#include <stdexcept>

#include "../jpeg.h"
#include "check.h"
#include "jpeg_maker.h"

using namespace penstock;
using penstock_test::Bytes;
using penstock_test::JpegOptions;
using penstock_test::make_jpeg;

namespace {

struct Collect final : RowSink {
  explicit Collect(int row_bytes) : width_bytes(static_cast<size_t>(row_bytes)) {}
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    pushes += 1;
    if (throws) throw std::runtime_error("no room");
    if (cancels != nullptr) cancels->store(true);
    for (int i = 0; i < count; ++i) pixels.insert(pixels.end(), rows + i * stride, rows + i * stride + width_bytes);
  }
  size_t width_bytes;
  int pushes = 0;
  bool throws = false;
  std::atomic<bool>* cancels = nullptr;
  Bytes pixels;
};

struct Decoded {
  Header header;
  DecodeResult result;
  Bytes pixels;
  int pushes = 0;
};

Decoded decode(const Bytes& bytes, DecodeScratch& scratch, const Limits& limits = {}) {
  std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  Decoded decoded;
  Problem problem;
  const bool ok = inspect(exact.get(), bytes.size(), Limits(), decoded.header, problem);
  CHECK(ok && decoded.header.backend == Backend::jpeg);
  if (!ok || decoded.header.backend != Backend::jpeg) return decoded;
  Collect sink(decoded.header.stored_width * kChannels);
  const std::atomic<bool> cancel{false};
  decoded.result = decode_jpeg(exact.get(), bytes.size(), decoded.header, {}, limits, scratch, cancel, sink);
  decoded.pixels = sink.pixels;
  decoded.pushes = sink.pushes;
  return decoded;
}

// The plainest use of the library there is.
Bytes plain_decode(const Bytes& bytes) {
  jpeg_decompress_struct info;
  jpeg_error_mgr error;
  info.err = jpeg_std_error(&error);
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, bytes.data(), static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&info);
  const size_t stride = size_t{info.output_width} * 3;
  Bytes pixels(stride * info.output_height);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = pixels.data() + stride * info.output_scanline;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  return pixels;
}

void gives_every_row() {
  DecodeScratch scratch;
  const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}, {4, 1}, {1, 2}, {3, 1}};
  const int sizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {17, 33}, {67, 61}, {300, 900}};
  for (const auto& size : sizes) {
    for (const auto& sampling : samplings) {
      for (int kind = 0; kind < 4; ++kind) {
        JpegOptions options;
        options.horizontal = sampling[0];
        options.vertical = sampling[1];
        options.progressive = kind == 1;
        options.restart_rows = kind == 2 ? 1 : 0;
        options.separate_scans = kind == 3;
        const Bytes bytes = make_jpeg(size[0], size[1], options);
        const Decoded decoded = decode(bytes, scratch);
        CHECK(decoded.result.outcome == DecodeOutcome::clean && decoded.result.sentence.empty());
        CHECK(decoded.pixels == plain_decode(bytes));
        CHECK(decoded.result.decode_ns > 0);
      }
    }
    JpegOptions grey;
    grey.components = 1;
    const Bytes bytes = make_jpeg(size[0], size[1], grey);
    CHECK(decode(bytes, scratch).pixels == plain_decode(bytes));
  }
  CHECK(decode(make_jpeg(300, 900), scratch).pushes > 1);
}

void never_calls_a_broken_file_clean() {
  DecodeScratch scratch;
  for (bool progressive : {false, true}) {
    JpegOptions options;
    options.progressive = progressive;
    const Bytes whole = make_jpeg(120, 90, options);
    for (size_t size = whole.size() / 2; size < whole.size() - 16; size += 37) {
      const Decoded cut = decode(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)), scratch);
      CHECK(cut.result.outcome == DecodeOutcome::referee && !cut.result.sentence.empty() && !cut.result.warned);
    }
    // Without the end marker the last rows may or may not be decodable: clean only where all of them came.
    const Decoded open = decode(Bytes(whole.begin(), whole.end() - 2), scratch);
    CHECK(open.result.outcome == DecodeOutcome::referee || (!progressive && open.pixels == plain_decode(whole)));
  }
  Bytes hole = make_jpeg(120, 90);
  std::fill(hole.end() - 900, hole.end() - 600, 0);
  const Decoded damaged = decode(hole, scratch);
  CHECK(damaged.result.outcome == DecodeOutcome::referee && damaged.result.warned);
  CHECK(damaged.result.sentence.find("Corrupt JPEG data") == 0);
}

void survives_flipped_bits() {
  const Limits limits;
  DecodeScratch scratch;
  const std::atomic<bool> cancel{false};
  for (bool progressive : {false, true}) {
    JpegOptions options;
    options.progressive = progressive;
    const Bytes whole = make_jpeg(40, 56, options);
    for (size_t at = 0; at < whole.size(); at += 3) {
      Bytes bytes = whole;
      bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1u << (at % 8)));
      Header header;
      Problem problem;
      if (!inspect(bytes.data(), bytes.size(), limits, header, problem) || header.backend != Backend::jpeg) continue;
      if (int64_t{header.stored_height} * header.stored_width > 4000000) continue;
      Collect sink(header.stored_width * kChannels);
      const DecodeResult result = decode_jpeg(bytes.data(), bytes.size(), header, {}, limits, scratch, cancel, sink);
      const size_t all = sink.width_bytes * static_cast<size_t>(header.stored_height);
      CHECK(result.outcome != DecodeOutcome::clean || sink.pixels.size() == all);
    }
  }
}

void holds_scans_and_cancels() {
  JpegOptions options;
  options.progressive = true;
  const Bytes progressive = make_jpeg(64, 64, options);
  DecodeScratch scratch;
  Limits limits;
  limits.max_scans = 3;
  const Decoded refused = decode(progressive, scratch, limits);
  CHECK(refused.result.outcome == DecodeOutcome::refused && refused.result.problem.cause == "too many scans");
  CHECK(refused.result.problem.stage == Stage::decode && refused.pixels.empty());

  const Bytes large = make_jpeg(400, 900);
  Header header;
  Problem problem;
  CHECK(inspect(large.data(), large.size(), Limits(), header, problem));
  Collect sink(header.stored_width * kChannels);
  std::atomic<bool> cancel{false};
  sink.cancels = &cancel;  // set by the first strip
  DecodeResult result = decode_jpeg(large.data(), large.size(), header, {}, Limits(), scratch, cancel, sink);
  CHECK(result.outcome == DecodeOutcome::cancelled && sink.pushes == 1);
  CHECK(inspect(progressive.data(), progressive.size(), Limits(), header, problem));
  result = decode_jpeg(progressive.data(), progressive.size(), header, {}, Limits(), scratch, cancel, sink);
  CHECK(result.outcome == DecodeOutcome::cancelled && sink.pushes == 1);  // within the scans
}

void lets_a_sink_throw() {
  const Bytes bytes = make_jpeg(64, 64);
  Header header;
  Problem problem;
  CHECK(inspect(bytes.data(), bytes.size(), Limits(), header, problem));
  Collect sink(header.stored_width * kChannels);
  sink.throws = true;
  DecodeScratch scratch;
  const std::atomic<bool> cancel{false};
  bool thrown = false;
  try {
    decode_jpeg(bytes.data(), bytes.size(), header, {}, Limits(), scratch, cancel, sink);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);  // and the leak checker sees the decompressor gone
}

}  // namespace

int main() {
  gives_every_row();
  never_calls_a_broken_file_clean();
  survives_flipped_bits();
  holds_scans_and_cancels();
  lets_a_sink_throw();
  CHECK(jpeg_version().find("libjpeg") == 0);
  return penstock_test::report("test_jpeg");
}
