#include <algorithm>
#include <cstring>

#include "../bare.h"
#include "../jpeg_encode.h"
#include "check.h"
#include "jpeg_maker.h"

using namespace penstock;
using penstock_test::Bytes;

namespace {

Bytes picture(Size size) {
  Bytes pixels(static_cast<size_t>(size.height) * static_cast<size_t>(size.width) * 3);
  unsigned noise = 7;
  for (size_t i = 0; i < pixels.size(); ++i) {
    noise = noise * 1664525u + 1013904223u;
    pixels[i] = static_cast<uint8_t>((i / 3 * 2 + i % 3 * 60 + (noise >> 28)) & 255);
  }
  return pixels;
}

// The plainest use of the library there is.
Bytes plain(const Bytes& rgb, Size size, int quality) {
  jpeg_error_mgr error;
  jpeg_compress_struct in;
  in.err = jpeg_std_error(&error);
  jpeg_create_compress(&in);
  unsigned char* memory = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&in, &memory, &bytes);
  in.image_height = static_cast<JDIMENSION>(size.height);
  in.image_width = static_cast<JDIMENSION>(size.width);
  in.input_components = 3;
  in.in_color_space = JCS_RGB;
  jpeg_set_defaults(&in);
  jpeg_set_quality(&in, quality, TRUE);
  jpeg_start_compress(&in, TRUE);
  while (in.next_scanline < in.image_height) {
    JSAMPROW row = const_cast<uint8_t*>(rgb.data()) + size_t{in.next_scanline} * in.image_width * 3;
    jpeg_write_scanlines(&in, &row, 1);
  }
  jpeg_finish_compress(&in);
  jpeg_destroy_compress(&in);
  jpeg_decompress_struct out;
  out.err = &error;
  jpeg_create_decompress(&out);
  jpeg_mem_src(&out, memory, bytes);
  jpeg_read_header(&out, TRUE);
  jpeg_start_decompress(&out);
  Bytes pixels(rgb.size());
  while (out.output_scanline < out.output_height) {
    JSAMPROW row = pixels.data() + size_t{out.output_scanline} * out.output_width * 3;
    jpeg_read_scanlines(&out, &row, 1);
  }
  jpeg_finish_decompress(&out);
  jpeg_destroy_decompress(&out);
  std::free(memory);
  return pixels;
}

void is_the_library() {
  std::vector<uint8_t> encoded;
  for (const Size size : {Size{1, 1}, Size{7, 5}, Size{16, 16}, Size{17, 33}, Size{224, 224}, Size{640, 3}}) {
    const Bytes rgb = picture(size);
    for (int quality : {1, 10, 50, 75, 95, 100}) {
      const Bytes expected = plain(rgb, size, quality);
      Bytes out(rgb.size());
      const ptrdiff_t stride = ptrdiff_t{size.width} * 3;
      CHECK(jpeg_roundtrip(rgb.data(), stride, size, quality, out.data(), stride, encoded) && out == expected);
      Bytes same = rgb;  // in place
      CHECK(jpeg_roundtrip(same.data(), stride, size, quality, same.data(), stride, encoded) && same == expected);
    }
  }
}

void grows_and_refuses() {
  const Size size = {300, 400};
  Bytes rgb(static_cast<size_t>(size.height * size.width * 3));
  unsigned noise = 1;
  for (uint8_t& sample : rgb) {
    noise = noise * 1664525u + 1013904223u;
    sample = static_cast<uint8_t>(noise >> 24);
  }
  std::vector<uint8_t> encoded;
  Bytes out(rgb.size());
  CHECK(jpeg_roundtrip(rgb.data(), 1200, size, 100, out.data(), 1200, encoded));  // noise: more than was first taken
  CHECK(out == plain(rgb, size, 100));
  const Size wide = {1, 65501};
  Bytes line(static_cast<size_t>(wide.width) * 3, 9);
  CHECK(!jpeg_roundtrip(line.data(), ptrdiff_t{wide.width} * 3, wide, 95, line.data(), ptrdiff_t{wide.width} * 3,
                        encoded));
  CHECK(line == Bytes(line.size(), 9));
}

void leaves_what_lies_between_rows() {
  const Size size = {20, 30};
  const Bytes rgb = picture(size);
  Bytes in(20 * 128, 1), out(20 * 100, 2);
  for (int y = 0; y < 20; ++y) std::memcpy(&in[static_cast<size_t>(y) * 128], &rgb[static_cast<size_t>(y) * 90], 90);
  std::vector<uint8_t> encoded;
  CHECK(jpeg_roundtrip(in.data(), 128, size, 95, out.data(), 100, encoded));
  const Bytes expected = plain(rgb, size, 95);
  for (size_t y = 0; y < 20; ++y) {
    CHECK(std::memcmp(&out[y * 100], &expected[y * 90], 90) == 0);
    CHECK(std::all_of(&out[y * 100 + 90], &out[y * 100 + 90] + 10, [](uint8_t b) { return b == 2; }));
  }
  CHECK(bare_roundtrip({rgb.data(), rgb.data(), rgb.data()}, size, 95, 2) > 0);
}

}  // namespace

int main() {
  is_the_library();
  grows_and_refuses();
  leaves_what_lies_between_rows();
  return penstock_test::report("test_jpeg_encode");
}
