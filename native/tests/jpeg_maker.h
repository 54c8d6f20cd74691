// JPEGs for tests: encoded with the same library, and segments put in after the SOI.
#pragma once

#include <cstdio>
#include <cstdlib>
// jpeglib.h needs <cstdio> before it.
#include <jpeglib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock_test {

using Bytes = std::vector<uint8_t>;

struct JpegOptions {
  int components = 3;
  int quality = 90;
  int horizontal = 2, vertical = 2;  // sampling of the first component
  int restart_rows = 0;
  bool progressive = false;
  bool separate_scans = false;  // baseline, one scan a component
};

inline Bytes make_jpeg(int height, int width, const JpegOptions& options = {}) {
  jpeg_compress_struct info;
  jpeg_error_mgr error;
  info.err = jpeg_std_error(&error);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = options.components;
  info.in_color_space = options.components == 1 ? JCS_GRAYSCALE : options.components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, options.quality, TRUE);
  if (options.components == 3) {
    info.comp_info[0].h_samp_factor = options.horizontal;
    info.comp_info[0].v_samp_factor = options.vertical;
  }
  info.restart_in_rows = options.restart_rows;
  if (options.progressive) jpeg_simple_progression(&info);
  static const jpeg_scan_info kScans[3] = {
      {1, {0, 0, 0, 0}, 0, 63, 0, 0}, {1, {1, 0, 0, 0}, 0, 63, 0, 0}, {1, {2, 0, 0, 0}, 0, 63, 0, 0}};
  if (options.separate_scans) {
    info.scan_info = kScans;
    info.num_scans = 3;
  }
  jpeg_start_compress(&info, TRUE);
  Bytes row(static_cast<size_t>(width * options.components));
  unsigned noise = 1;
  for (int y = 0; y < height; ++y) {
    for (size_t i = 0; i < row.size(); ++i) {
      noise = noise * 1664525u + 1013904223u;
      row[i] = static_cast<uint8_t>((static_cast<unsigned>(y) * 3 + i * 2 + (noise >> 28)) & 255);
    }
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&info, &pointer, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Bytes bytes(memory, memory + size);
  std::free(memory);
  return bytes;
}

// A marker segment with its length.
inline Bytes segment(uint8_t marker, const std::string& payload) {
  const size_t length = payload.size() + 2;
  Bytes bytes = {0xFF, marker, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length & 255)};
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

inline Bytes with_segment(Bytes jpeg, const Bytes& extra) {
  jpeg.insert(jpeg.begin() + 2, extra.begin(), extra.end());
  return jpeg;
}

// An EXIF payload with one orientation entry.
inline std::string exif(int orientation, bool big_endian = false, int type = 3, int count = 1) {
  auto u16 = [&](int v) {
    const char low = static_cast<char>(v & 255), high = static_cast<char>(v >> 8);
    return big_endian ? std::string{high, low} : std::string{low, high};
  };
  auto u32 = [&](int v) { return big_endian ? u16(0) + u16(v) : u16(v) + u16(0); };
  std::string text("Exif\0\0", 6);
  text += big_endian ? std::string("MM\0*", 4) : std::string("II*\0", 4);
  return text + u32(8) + u16(1) + u16(0x112) + u16(type) + u32(count) + u16(orientation) + u16(0) + u32(0);
}

}  // namespace penstock_test
