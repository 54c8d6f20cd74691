#include <webp/decode.h>
#include <webp/encode.h>

#include "check.h"
#include "decoding.h"

using namespace penstock;
using penstock_test::cut;
using penstock_test::decode;
using penstock_test::Decoded;
using penstock_test::How;
using Bytes = std::vector<uint8_t>;

namespace {

Bytes picture(int height, int width, int channels) {
  Bytes pixels;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int i = 0; i < channels; ++i) pixels.push_back(static_cast<uint8_t>(x * 3 + y * 5 + i * 80 + (x * y) % 17));
    }
  }
  return pixels;
}

Bytes taken(uint8_t* encoded, size_t size) {
  Bytes bytes(encoded, encoded + size);
  WebPFree(encoded);
  return bytes;
}

Bytes make_webp(int height, int width, bool alpha, bool lossless) {
  const Bytes pixels = picture(height, width, alpha ? 4 : 3);
  uint8_t* out = nullptr;
  const int stride = width * (alpha ? 4 : 3);
  size_t size = 0;
  if (lossless) {
    size = alpha ? WebPEncodeLosslessRGBA(pixels.data(), width, height, stride, &out)
                 : WebPEncodeLosslessRGB(pixels.data(), width, height, stride, &out);
  } else {
    size = alpha ? WebPEncodeRGBA(pixels.data(), width, height, stride, 85, &out)
                 : WebPEncodeRGB(pixels.data(), width, height, stride, 85, &out);
  }
  return taken(out, size);
}

void put(Bytes& bytes, uint32_t value, int count) {
  for (int i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

void put_chunk(Bytes& bytes, const char* name, const Bytes& data) {
  bytes.insert(bytes.end(), name, name + 4);
  put(bytes, static_cast<uint32_t>(data.size()), 4);
  bytes.insert(bytes.end(), data.begin(), data.end());
  if (data.size() % 2 != 0) bytes.push_back(0);
}

// A file with a VP8X chunk around the chunks given.
Bytes container(int height, int width, uint32_t flags, const Bytes& chunks) {
  Bytes head;
  put(head, flags, 4);
  put(head, static_cast<uint32_t>(width - 1), 3);
  put(head, static_cast<uint32_t>(height - 1), 3);
  Bytes body = {'W', 'E', 'B', 'P'};
  put_chunk(body, "VP8X", head);
  body.insert(body.end(), chunks.begin(), chunks.end());
  Bytes file = {'R', 'I', 'F', 'F'};
  put(file, static_cast<uint32_t>(body.size()), 4);
  file.insert(file.end(), body.begin(), body.end());
  return file;
}

Bytes image_chunks(const Bytes& still) { return Bytes(still.begin() + 12, still.end()); }

// Frames of `still`, each at an offset of 2, on a larger canvas.
Bytes animation(int height, int width, const Bytes& still, int frames, uint32_t flags) {
  Bytes chunks;
  put_chunk(chunks, "ANIM", {9, 8, 7, 6, 0, 0});
  for (int i = 0; i < frames; ++i) {
    Bytes frame;
    put(frame, 1, 3);
    put(frame, 1, 3);
    put(frame, static_cast<uint32_t>(width - 1), 3);
    put(frame, static_cast<uint32_t>(height - 1), 3);
    put(frame, 40, 3);
    put(frame, 0, 1);
    const Bytes image = image_chunks(still);
    frame.insert(frame.end(), image.begin(), image.end());
    put_chunk(chunks, "ANMF", frame);
  }
  return container(height + 4, width + 4, flags | 2, chunks);
}

void gives_every_row() {
  const int sizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {17, 33}, {130, 300}};
  for (const auto& size : sizes) {
    const Bytes exact = make_webp(size[0], size[1], false, true);
    CHECK(decode(exact).pixels == picture(size[0], size[1], 3));
    for (bool alpha : {false, true}) {
      for (bool lossless : {false, true}) {
        const Bytes bytes = make_webp(size[0], size[1], alpha, lossless);
        const Decoded decoded = decode(bytes);
        CHECK(decoded.header.backend == Backend::webp && decoded.result.outcome == DecodeOutcome::clean);
        CHECK(decoded.header.stored_height == size[0] && decoded.header.stored_width == size[1]);
        int width = 0, height = 0;
        uint8_t* plain = WebPDecodeRGB(bytes.data(), bytes.size(), &width, &height);
        CHECK(plain != nullptr &&
              taken(plain, static_cast<size_t>(width) * static_cast<size_t>(height) * 3) == decoded.pixels);
      }
    }
  }
}

void follows_options() {
  for (bool alpha : {false, true}) {
    const Bytes bytes = make_webp(60, 300, alpha, true);
    How how;
    how.options.mode = DecodeOptions::Mode::rgba;
    const Decoded rgba = decode(bytes, how);
    CHECK(rgba.header.has_alpha == alpha && rgba.pixels.size() == 60 * 300 * 4);
    if (!alpha) CHECK(rgba.pixels[3] == 255);
    how.part = {7, 11, 40, 101};
    CHECK(decode(bytes, how).pixels == cut(rgba, how.part, 4));
    how = How();
    how.options.composite = true;
    CHECK((decode(bytes, how).pixels == decode(bytes).pixels) == !alpha);
    how = How();
    how.options.depth = DecodeOptions::Depth::sixteen;
    const Decoded wide = decode(bytes, how), narrow = decode(bytes);
    CHECK(wide.pixels.size() == narrow.pixels.size() * 2);
    for (size_t i = 0; i < narrow.pixels.size(); ++i) {
      CHECK(wide.pixels[i * 2] == narrow.pixels[i] && wide.pixels[i * 2 + 1] == narrow.pixels[i]);
    }
  }
}

void takes_the_first_frame() {
  const Bytes still = make_webp(20, 30, false, true);
  How how;
  how.options.mode = DecodeOptions::Mode::rgba;
  for (uint32_t alpha_flag : {0u, 16u}) {
    const Decoded decoded = decode(animation(20, 30, still, 3, alpha_flag), how);
    CHECK(decoded.result.outcome == DecodeOutcome::clean && decoded.header.animated && decoded.header.pictures == 3);
    CHECK(decoded.header.stored_height == 24 && decoded.header.stored_width == 34);
    // Outside the frame the canvas is clear, where the file says that there is alpha at all.
    CHECK(decoded.pixels[0] == 0 && decoded.pixels[3] == (alpha_flag != 0 ? 0 : 255));
    const Bytes pixels = picture(20, 30, 3);
    CHECK(decoded.pixels[(2 * 34 + 2) * 4] == pixels[0] && decoded.pixels[(2 * 34 + 2) * 4 + 3] == 255);
    CHECK(notes_of(decoded.header, DecodeOptions()) == (kNoteFirstFrame | (alpha_flag != 0 ? kNoteAlpha : 0u)));
  }
  CHECK(decode(animation(20, 30, still, 1, 0)).header.pictures == 1);
}

void reads_metadata() {
  Bytes chunks;
  put_chunk(chunks, "ICCP", {1, 2, 3});
  const Bytes image = image_chunks(make_webp(20, 30, false, false));
  chunks.insert(chunks.end(), image.begin(), image.end());
  const Bytes orientation = {'I', 'I', '*', 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0};
  put_chunk(chunks, "EXIF", orientation);
  Header header = decode(container(20, 30, 0x20 | 8, chunks)).header;
  CHECK(header.backend == Backend::webp && header.has_icc && header.orientation == 6);
  header = decode(container(20, 30, 0, chunks)).header;  // what the flags do not announce is not there for libwebp
  CHECK(header.backend == Backend::webp && !header.has_icc && header.orientation == 1);
  put_chunk(chunks, "EXIF", orientation);
  CHECK(decode(container(20, 30, 8, chunks)).header.backend == Backend::pillow);
  CHECK(decode(container(21, 30, 8, chunks)).header.backend == Backend::pillow);  // not the frame's size
}

void never_calls_a_broken_file_clean() {
  for (bool alpha : {false, true}) {
    for (bool lossless : {false, true}) {
      const Bytes whole = make_webp(60, 70, alpha, lossless);
      for (size_t size = 12; size < whole.size() - 1; size += 7) {
        const Decoded decoded = decode(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)));
        CHECK(decoded.result.outcome != DecodeOutcome::clean);
      }
      for (size_t at = 12; at < whole.size(); at += 3) {
        Bytes bytes = whole;
        bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1u << (at % 8)));
        decode(bytes);
      }
    }
  }
  Bytes lossless = make_webp(60, 70, false, true);
  std::fill(lossless.begin() + 60, lossless.begin() + 120, 0xFF);
  const Decoded broken = decode(lossless);
  CHECK(broken.result.outcome == DecodeOutcome::referee && !broken.result.sentence.empty());
}

void holds_limits_and_cancels() {
  const Bytes bytes = make_webp(300, 400, true, true);
  Header header;
  Problem problem;
  Limits limits;
  limits.max_pixels = 119999;
  CHECK(!inspect(bytes.data(), bytes.size(), limits, header, problem) && problem.cause == "too many pixels");
  limits = Limits();
  limits.max_working_bytes = 300 * 400 * 4;
  CHECK(!inspect(bytes.data(), bytes.size(), limits, header, problem) && problem.cause == "too much memory");
  How how;
  how.cancels = true;  // by the first strip
  CHECK(decode(bytes, how).result.outcome == DecodeOutcome::cancelled && decode(bytes, how).pushes == 1);
  how.cancels_before = true;
  CHECK(decode(bytes, how).result.outcome == DecodeOutcome::cancelled && decode(bytes, how).pushes == 0);
  CHECK(penstock_test::throws(bytes));
}

}  // namespace

int main() {
  gives_every_row();
  follows_options();
  takes_the_first_frame();
  reads_metadata();
  never_calls_a_broken_file_clean();
  holds_limits_and_cancels();
  CHECK(webp_version().find("libwebp ") == 0);
  return penstock_test::report("test_webp");
}
