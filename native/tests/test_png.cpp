#include "../header.h"
#include "check.h"
#include "decoding.h"
#include "png_maker.h"

using namespace penstock;
using penstock_test::Bytes;
using penstock_test::decode;
using penstock_test::Decoded;
using penstock_test::How;
using penstock_test::make_png;
using penstock_test::png_chunk;
using penstock_test::PngOptions;

namespace {

const int kKinds[][2] = {{0, 1}, {0, 2}, {0, 4},  {0, 8}, {0, 16}, {3, 1}, {3, 2}, {3, 4},
                         {3, 8}, {2, 8}, {2, 16}, {4, 8}, {4, 16}, {6, 8}, {6, 16}};

PngOptions kind(int colour_type, int depth) {
  PngOptions options;
  options.colour_type = colour_type;
  options.depth = depth;
  if (colour_type == 3) {
    for (int i = 0; i < 3 << depth; ++i) options.palette.push_back(static_cast<uint8_t>(i * 37));
  }
  return options;
}

// The stored picture as 8-bit RGB, stated a sample at a time.
Bytes expected_rgb(int height, int width, const PngOptions& options) {
  Bytes pixels;
  const int channels = penstock_test::png_channels(options.colour_type);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int i = 0; i < 3; ++i) {
        const unsigned sample = penstock_test::png_sample(y, x, channels >= 3 ? i : 0, options.depth);
        unsigned value = sample;
        if (options.colour_type == 3) {
          value = options.palette[sample * 3 + static_cast<unsigned>(i)];
        } else if (options.depth == 16) {
          value = channels == 1 ? std::min(sample, 255u) : sample >> 8;
        } else if (options.depth < 8) {
          value = sample * 255 / ((1u << options.depth) - 1);
        }
        pixels.push_back(static_cast<uint8_t>(value));
      }
    }
  }
  return pixels;
}

void gives_every_row() {
  const int sizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {17, 33}, {130, 700}};
  for (const auto& size : sizes) {
    for (const auto& each : kKinds) {
      for (bool interlaced : {false, true}) {
        PngOptions options = kind(each[0], each[1]);
        options.interlaced = interlaced;
        const Decoded decoded = decode(make_png(size[0], size[1], options));
        CHECK(decoded.header.backend == Backend::png && decoded.header.interlaced == interlaced);
        CHECK(decoded.result.outcome == DecodeOutcome::clean && decoded.result.sentence.empty());
        CHECK(decoded.pixels == expected_rgb(size[0], size[1], options));
        CHECK(decoded.result.decode_ns > 0);
      }
    }
  }
  CHECK(decode(make_png(300, 900)).pushes > 1);
}

void pushes_what_is_wanted() {
  for (const auto& each : kKinds) {
    for (bool interlaced : {false, true}) {
      PngOptions options = kind(each[0], each[1]);
      options.interlaced = interlaced;
      const Bytes bytes = make_png(60, 300, options);
      for (DecodeOptions::Mode mode : {DecodeOptions::Mode::rgb, DecodeOptions::Mode::rgba}) {
        How how;
        how.options.mode = mode;
        const Decoded whole = decode(bytes, how);
        how.part = {7, 11, 40, 101};
        CHECK(decode(bytes, how).pixels == penstock_test::cut(whole, how.part, pushed_pixel_bytes(how.options)));
      }
    }
  }
}

// Four grey pixels 0, 1, 2, 3 of 2 bits as RGBA would be 0, 85, 170, 255; the transparent grey 1 is compared as stored.
void follows_pillow_in_transparency() {
  How how;
  how.options.mode = DecodeOptions::Mode::rgba;
  PngOptions options = kind(0, 8);
  options.transparency = {0, static_cast<uint8_t>(penstock_test::png_sample(0, 1, 0, 8))};
  Decoded decoded = decode(make_png(1, 2, options), how);
  CHECK(decoded.header.has_alpha && decoded.pixels.size() == 8 && decoded.pixels[3] == 255 && decoded.pixels[7] == 0);
  options = kind(3, 2);
  options.transparency = {255, 0, 255};
  decoded = decode(make_png(5, 5, options), how);
  for (int i = 0; i < 25; ++i) {
    const bool clear = penstock_test::png_sample(i / 5, i % 5, 0, 2) == 1;
    CHECK(decoded.pixels[static_cast<size_t>(i) * 4 + 3] == (clear ? 0 : 255));
  }
  how.options.mode = DecodeOptions::Mode::rgb;
  how.options.composite = true;
  how.options.background[0] = 10;
  decoded = decode(make_png(5, 5, options), how);
  for (int i = 0; i < 25; ++i) {
    if (penstock_test::png_sample(i / 5, i % 5, 0, 2) == 1) CHECK(decoded.pixels[static_cast<size_t>(i) * 3] == 10);
  }
}

void keeps_and_scales_16_bits() {
  const Bytes bytes = make_png(9, 13, kind(2, 16));
  How how;
  how.options.depth = DecodeOptions::Depth::sixteen;
  const Decoded wide = decode(bytes, how);
  how.options.depth = DecodeOptions::Depth::scale;
  const Decoded scaled = decode(bytes, how);
  CHECK(wide.pixels.size() == scaled.pixels.size() * 2 && scaled.pixels.size() == 9 * 13 * 3);
  for (size_t i = 0; i < scaled.pixels.size(); ++i) {
    uint16_t sample;
    std::memcpy(&sample, wide.pixels.data() + i * 2, 2);
    const int pixel = static_cast<int>(i / 3);
    CHECK(sample == penstock_test::png_sample(pixel / 13, pixel % 13, static_cast<int>(i % 3), 16));
    CHECK(scaled.pixels[i] == scaled_to_8(sample));
  }
  CHECK(scaled_to_8(0) == 0 && scaled_to_8(65535) == 255 && scaled_to_8(128) == 0 && scaled_to_8(129) == 1);
  DecodeOptions options;
  CHECK(notes_of(wide.header, options) == kNoteReduced);
  CHECK(notes_of(decode(make_png(3, 3, kind(0, 16))).header, options) == kNoteClipped);
  CHECK(notes_of(decode(make_png(3, 3, kind(4, 8))).header, options) == kNoteAlpha);
  options.mode = DecodeOptions::Mode::rgba;
  options.depth = DecodeOptions::Depth::sixteen;
  CHECK(notes_of(decode(make_png(3, 3, kind(6, 16))).header, options) == 0);
}

bool left(const Bytes& bytes, const char* reason) {
  const Header header = decode(bytes).header;
  if (header.backend == Backend::pillow && std::strcmp(header.reason, reason) == 0) return true;
  std::printf("found: %s\n", header.reason);
  return false;
}

PngOptions with(const Bytes& chunk) {
  PngOptions options;
  options.before = chunk;
  return options;
}

void leaves_what_is_not_certain() {
  CHECK(left(make_png(3, 3, with(png_chunk("acTL", Bytes(8)))), "animated"));
  CHECK(left(make_png(3, 3, with(png_chunk("ABCD"))), "an unknown critical chunk"));
  CHECK(left(make_png(3, 3, with(png_chunk("gAMA", {1}))), "a chunk that is too short"));
  CHECK(left(make_png(3, 3, with(png_chunk("IDAT"))), "empty image data"));
  CHECK(left(make_png(3, 3, with(png_chunk("eXIf", {1, 2, 3}))), "unusual EXIF"));
  CHECK(left(make_png(3, 3, with(png_chunk("tRNS", {1}))), "unusual transparency"));
  CHECK(left(make_png(3, 3, with(png_chunk("iCCP", {'a', 0}))), "unusual ICC profile"));
  CHECK(left(make_png(3, 3, with(png_chunk("tEXt", {'x', 'm', 'p', 0, 'a'}))), "metadata kept as text"));
  CHECK(left(make_png(3, 3, with(png_chunk("zTXt", {'a', 0, 1}))), "unknown compression"));
  PngOptions after;
  after.after = png_chunk("tRNS", Bytes(6));
  CHECK(left(make_png(3, 3, after), "a chunk out of place"));
  PngOptions bare = kind(3, 8);
  bare.palette.clear();
  CHECK(left(make_png(3, 3, bare), "no palette"));
  CHECK(decode(make_png(3, 3, with(png_chunk("prVt", {1})))).header.backend == Backend::png);
}

void names_what_is_damaged() {
  PngOptions options;
  options.after = png_chunk("tEXt", {'a', 0, 'b'});
  Bytes bytes = make_png(9, 9, options);
  CHECK(decode(bytes).header.damage.empty());
  bytes[bytes.size() - 13] ^= 1;  // the last byte of the text's checksum
  Decoded decoded = decode(bytes);
  CHECK(decoded.header.backend == Backend::pillow && decoded.header.damage.find("in chunk tEXt") != std::string::npos);
  for (size_t size = 8; size < bytes.size() - 30; ++size) {
    const Header header = decode(Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size))).header;
    CHECK(header.backend == Backend::pillow);
  }
  const Header cut = decode(Bytes(bytes.begin(), bytes.begin() + 60)).header;
  CHECK(cut.damage.find("bytes in chunk IDAT") != std::string::npos);
}

void never_calls_broken_data_clean() {
  for (const auto& each : kKinds) {
    PngOptions options = kind(each[0], each[1]);
    options.broken_data = true;
    for (bool interlaced : {false, true}) {
      options.interlaced = interlaced;
      const Decoded decoded = decode(make_png(40, 40, options));
      CHECK(decoded.result.outcome == DecodeOutcome::referee && !decoded.result.sentence.empty());
    }
  }
}

void survives_flipped_bits() {
  for (const auto& each : kKinds) {
    const Bytes whole = make_png(11, 13, kind(each[0], each[1]));
    for (size_t at = 8; at < whole.size(); at += 2) {
      Bytes bytes = whole;
      bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1u << (at % 8)));
      decode(bytes);
    }
  }
}

void holds_limits_and_cancels() {
  const Bytes bytes = make_png(400, 900);
  Header header;
  Problem problem;
  Limits limits;
  limits.max_pixels = 359999;
  CHECK(!inspect(bytes.data(), bytes.size(), limits, header, problem) && problem.cause == "too many pixels");
  PngOptions options;
  options.interlaced = true;
  const Bytes interlaced = make_png(400, 900, options);
  limits = Limits();
  limits.max_working_bytes = 400 * 900 * 3;
  CHECK(inspect(bytes.data(), bytes.size(), limits, header, problem));
  CHECK(!inspect(interlaced.data(), interlaced.size(), limits, header, problem) && problem.cause == "too much memory");

  How how;
  how.cancels = true;  // by the first strip
  CHECK(decode(bytes, how).result.outcome == DecodeOutcome::cancelled && decode(bytes, how).pushes == 1);
  how.cancels_before = true;
  CHECK(decode(interlaced, how).result.outcome == DecodeOutcome::cancelled && decode(interlaced, how).pushes == 0);
  CHECK(penstock_test::throws(bytes));  // and the leak checker sees the decoder gone
}

}  // namespace

int main() {
  gives_every_row();
  pushes_what_is_wanted();
  follows_pillow_in_transparency();
  keeps_and_scales_16_bits();
  leaves_what_is_not_certain();
  names_what_is_damaged();
  never_calls_broken_data_clean();
  survives_flipped_bits();
  holds_limits_and_cancels();
  CHECK(png_version().find("libpng 1.") == 0);
  return penstock_test::report("test_png");
}
