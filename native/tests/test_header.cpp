#include <cstring>
#include <memory>
#include <string>

#include "../header.h"
#include "check.h"
#include "jpeg_maker.h"

using namespace penstock;
using penstock_test::Bytes;
using penstock_test::exif;
using penstock_test::make_jpeg;
using penstock_test::segment;
using penstock_test::with_segment;

namespace {

// A heap copy of the exact size, so that the address sanitizer sees one byte too many.
Header look(const Bytes& bytes, const Limits& limits = {}, bool* allowed = nullptr, Problem* why = nullptr) {
  std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  Header header;
  Problem problem;
  const bool ok = inspect(exact.get(), bytes.size(), limits, header, problem);
  if (allowed != nullptr) *allowed = ok;
  if (why != nullptr) *why = problem;
  return header;
}

bool left(const Bytes& bytes, const char* reason) {
  const Header header = look(bytes);
  if (header.backend == Backend::pillow && std::strcmp(header.reason, reason) == 0) return true;
  std::printf("found: %s\n", header.reason);
  return false;
}

int orientation_of(const std::string& payload) {
  std::unique_ptr<uint8_t[]> exact(new uint8_t[payload.size()]);
  std::copy(payload.begin(), payload.end(), exact.get());
  return exif_orientation(exact.get(), payload.size());
}

void takes_ordinary_files() {
  penstock_test::JpegOptions options;
  for (int components : {1, 3}) {
    for (bool progressive : {false, true}) {
      options.components = components;
      options.progressive = progressive;
      const Header header = look(make_jpeg(33, 47, options));
      CHECK(header.backend == Backend::jpeg && header.stored_height == 33 && header.stored_width == 47);
      CHECK(header.components == components && header.progressive == progressive && header.orientation == 1);
      CHECK(header.working_bytes > 0 && !header.has_icc);
    }
  }
  const Bytes plain = make_jpeg(8, 8);
  CHECK(look(with_segment(plain, segment(0xFE, "a comment"))).backend == Backend::jpeg);
  CHECK(look(with_segment(plain, {0xFF, 0xFF})).backend == Backend::jpeg);  // fill bytes
  const std::string icc = std::string("ICC_PROFILE\0\1\1", 14);
  CHECK(look(with_segment(plain, segment(0xE2, icc + "x"))).has_icc);
  CHECK(!look(with_segment(plain, segment(0xE2, icc))).has_icc);
  CHECK(!look(with_segment(plain, segment(0xE2, std::string("ICC_PROFILE\0\1\2", 14) + "x"))).has_icc);
}

void leaves_the_rest_to_pillow() {
  const Bytes plain = make_jpeg(8, 8);
  CHECK(left({}, "not a JPEG, PNG or WebP"));
  CHECK(left({0xFF, 0xD8}, "not a JPEG, PNG or WebP"));
  CHECK(left({'G', 'I', 'F', '8'}, "not a JPEG, PNG or WebP"));
  CHECK(left({0xFF, 0xD8, 0xFF, 0xD9}, "unusual marker"));
  CHECK(left({0xFF, 0xD8, 0xFF, 0xFF}, "ends before the first scan"));
  CHECK(left(with_segment(plain, {0}), "not a JPEG, PNG or WebP"));
  CHECK(left(with_segment(plain, {0xFF, 0xFE, 0, 2, 7}), "bytes between the markers"));
  CHECK(left(with_segment(plain, {0xFF, 0x01}), "unusual marker"));
  CHECK(left(with_segment(plain, {0xFF, 0xFE, 0, 1}), "broken segment"));
  CHECK(left(with_segment(plain, segment(0xE0, "JFIF")), "broken JFIF block"));
  CHECK(left(with_segment(plain, segment(0xEE, "Adobe")), "broken Adobe block"));
  CHECK(left(with_segment(plain, segment(0xDB, "1234")), "broken quantization table"));
  CHECK(left(with_segment(plain, segment(0xE2, std::string("MPF\0", 4))), "unusual MPF"));
  CHECK(left(with_segment(plain, segment(0xE2, std::string("ICC_PROFILE\0", 12))), "broken ICC profile"));
  CHECK(left(with_segment(plain, segment(0xED, std::string("Photoshop 3.0\0"
                                                           "8BIM\3\355",
                                                           20))),
             "broken Photoshop block"));
  const std::string frame("\10\0\10\0\10\1\1\21\0", 9);
  CHECK(left(with_segment(plain, segment(0xC0, frame)), "two frames"));
  CHECK(left(with_segment(plain, segment(0xC3, frame)), "neither baseline nor progressive"));
  CHECK(left(with_segment(plain, segment(0xDA, "")), "no frame before the scan"));
  penstock_test::JpegOptions cmyk;
  cmyk.components = 4;
  CHECK(left(make_jpeg(8, 8, cmyk), "4 components"));
  for (size_t size = 0; size < plain.size() && size < 600; ++size) {
    look(Bytes(plain.begin(), plain.begin() + static_cast<ptrdiff_t>(size)));  // never reads beyond the end
  }
}

void reads_exif() {
  for (bool big_endian : {false, true}) {
    for (int value = 1; value <= 8; ++value) CHECK(orientation_of(exif(value, big_endian)) == value);
    CHECK(orientation_of(exif(0, big_endian)) == 1);
    CHECK(orientation_of(exif(9, big_endian)) == 1);
    CHECK(orientation_of(exif(6, big_endian, 4)) == -1);
    CHECK(orientation_of(exif(6, big_endian, 3, 2)) == -1);
  }
  const std::string good = exif(6);
  CHECK(orientation_of(good.substr(0, 6)) == 0);
  for (size_t size = 0; size < good.size(); ++size) {
    if (size != 6) CHECK(orientation_of(good.substr(0, size)) == -1);
  }
  std::string other = good;
  other[16] = 0x11;  // another tag: no orientation
  CHECK(orientation_of(other) == 0);
  std::string far = good;
  far[10] = 120;  // a directory beyond the end
  CHECK(orientation_of(far) == -1);
  const Bytes plain = make_jpeg(8, 8);
  CHECK(look(with_segment(plain, segment(0xE1, good))).orientation == 6);
  CHECK(left(with_segment(with_segment(plain, segment(0xE1, good)), segment(0xE1, good)), "several EXIF blocks"));
  CHECK(left(with_segment(plain, segment(0xE1, good.substr(0, 20))), "unusual EXIF"));
}

void counts_pictures() {
  auto u32 = [](char v) { return std::string{v, 0, 0, 0}; };
  auto mpf = [&](char pictures, char records, char format) {
    std::string text = std::string("MPF\0II*\0", 8) + u32(8) + std::string("\2\0", 2);
    text += std::string("\1\260\4\0", 4) + u32(1) + u32(pictures);
    text += std::string("\2\260\7\0", 4) + u32(static_cast<char>(records * 16)) + u32(38) + u32(0);
    for (int i = 0; i < records; ++i) text += std::string{0, 0, 0, format} + std::string(12, '\0');
    return segment(0xE2, text);
  };
  const Bytes plain = make_jpeg(8, 8);
  CHECK(look(with_segment(plain, mpf(2, 2, 0))).pictures == 2);
  CHECK(look(with_segment(plain, mpf(2, 2, 0))).backend == Backend::jpeg);
  CHECK(look(with_segment(plain, mpf(1, 1, 0))).pictures == 1);
  CHECK(left(with_segment(plain, mpf(2, 1, 0)), "unusual MPF"));
  CHECK(left(with_segment(plain, mpf(0, 0, 0)), "unusual MPF"));
  CHECK(left(with_segment(plain, mpf(2, 2, 1)), "unusual MPF"));
  CHECK(left(with_segment(with_segment(plain, mpf(2, 2, 0)), mpf(2, 2, 0)), "unusual MPF"));
  const Bytes gain_map = segment(0xE1, "<x hdrgm:Version=\"1.0\"/>");
  CHECK(look(with_segment(with_segment(plain, mpf(2, 2, 0)), gain_map)).pictures == 1);
}

void reads_xmp() {
  auto of = [](const std::string& text) {
    std::unique_ptr<uint8_t[]> exact(new uint8_t[text.size()]);
    std::copy(text.begin(), text.end(), exact.get());
    return xmp_orientation(exact.get(), text.size());
  };
  CHECK(of("") == 0 && of("tiff:Orientation") == 0 && of("tiff:Orientation>") == 0 && of("tiff:Orientation=\"") == 0);
  CHECK(of("tiff:Orientation>6") == 6 && of("<x tiff:Orientation=\"8\"/>") == 8);
  CHECK(of("tiff:Orientation='8' tiff:Orientation=\"3\"") == 3);
  CHECK(of("tiff:Orientation=\"0\"") == 1 && of("tiff:Orientation>9") == 1);
  const Bytes plain = make_jpeg(8, 8);
  const std::string name("http://ns.adobe.com/xap/1.0/\0", 29);
  const Bytes turned = with_segment(plain, segment(0xE1, name + "<x tiff:Orientation=\"6\"/>"));
  CHECK(look(turned).backend == Backend::jpeg && look(turned).orientation == 6);
  CHECK(look(with_segment(turned, segment(0xE1, exif(3)))).orientation == 3);  // EXIF decides where it has one
}

void holds_the_limits() {
  bool allowed = true;
  Problem problem;
  Limits limits;
  limits.max_pixels = 63;
  look(make_jpeg(8, 8), limits, &allowed, &problem);
  CHECK(!allowed && problem.stage == Stage::decode && problem.cause == "too many pixels");
  CHECK(problem.message == "expected at most 63 pixels (max_pixels), found 8 x 8 = 64");
  limits = {};
  penstock_test::JpegOptions options;
  options.progressive = true;
  const Bytes progressive = make_jpeg(64, 64, options);
  limits.max_scans = 9;
  look(progressive, limits, &allowed, &problem);
  CHECK(!allowed && problem.cause == "too many scans");
  CHECK(problem.message == "expected at most 9 scans (max_scans), found 10");
  limits.max_scans = 10;
  look(progressive, limits, &allowed);
  CHECK(allowed);
  limits.max_working_bytes = 70000;
  look(progressive, limits, &allowed, &problem);
  CHECK(!allowed && problem.cause == "too much memory");
  look(make_jpeg(8, 8), limits, &allowed);
  CHECK(allowed);
}

}  // namespace

int main() {
  takes_ordinary_files();
  leaves_the_rest_to_pillow();
  reads_exif();
  counts_pictures();
  reads_xmp();
  holds_the_limits();
  return penstock_test::report("test_header");
}
