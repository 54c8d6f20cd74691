// PNGs for tests: written with the same libraries, and chunks put in where they are wanted.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock_test {

using Bytes = std::vector<uint8_t>;

inline void put_u32(Bytes& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
}

inline Bytes png_chunk(const std::string& name, const Bytes& data = {}) {
  Bytes chunk;
  put_u32(chunk, static_cast<uint32_t>(data.size()));
  chunk.insert(chunk.end(), name.begin(), name.end());
  chunk.insert(chunk.end(), data.begin(), data.end());
  put_u32(chunk, static_cast<uint32_t>(crc32(0, chunk.data() + 4, static_cast<unsigned>(chunk.size() - 4))));
  return chunk;
}

inline Bytes deflated(const Bytes& raw) {
  uLongf size = compressBound(static_cast<uLong>(raw.size()));
  Bytes out(size);
  compress(out.data(), &size, raw.data(), static_cast<uLong>(raw.size()));
  out.resize(size);
  return out;
}

struct PngOptions {
  int depth = 8;
  int colour_type = 2;
  bool interlaced = false;
  Bytes palette, transparency;
  Bytes before, after;  // further chunks around the image data
  bool broken_data = false;
};

inline int png_channels(int colour_type) {
  return colour_type == 2 ? 3 : colour_type == 4 ? 2 : colour_type == 6 ? 4 : 1;
}

// A sample of the test picture, any bits that the depth has.
inline unsigned png_sample(int y, int x, int channel, int depth) {
  const unsigned value = static_cast<unsigned>(y * 7919 + x * 104729 + channel * 1299709);
  return (value ^ value >> 7) & ((1u << depth) - 1);
}

// Rows of one pass: pixels (top, left) and every `down`, `across` on from there, filter 0.
inline void put_pass(Bytes& raw, int height, int width, const PngOptions& options, int top, int left, int down,
                     int across) {
  if (top >= height || left >= width) return;
  for (int y = top; y < height; y += down) {
    raw.push_back(0);
    unsigned held = 0;
    int bits = 0;
    for (int x = left; x < width; x += across) {
      for (int channel = 0; channel < png_channels(options.colour_type); ++channel) {
        const unsigned sample = png_sample(y, x, channel, options.depth);
        if (options.depth == 16) raw.push_back(static_cast<uint8_t>(sample >> 8));
        held = held << (options.depth & 15) | (sample & 255);
        bits += options.depth & 15;
        if (options.depth == 16 || bits == 8) {
          raw.push_back(static_cast<uint8_t>(options.depth == 16 ? sample : held));
          held = 0;
          bits = 0;
        }
      }
    }
    if (bits > 0) raw.push_back(static_cast<uint8_t>(held << (8 - bits)));
  }
}

inline Bytes make_png(int height, int width, const PngOptions& options = {}) {
  Bytes raw;
  if (options.interlaced) {
    const int passes[7][4] = {{0, 0, 8, 8}, {0, 4, 8, 8}, {4, 0, 8, 4}, {0, 2, 4, 4},
                              {2, 0, 4, 2}, {0, 1, 2, 2}, {1, 0, 2, 1}};
    for (const auto& pass : passes) put_pass(raw, height, width, options, pass[0], pass[1], pass[2], pass[3]);
  } else {
    put_pass(raw, height, width, options, 0, 0, 1, 1);
  }
  Bytes data = deflated(raw);
  if (options.broken_data) data[data.size() / 2] ^= 0x55;
  Bytes header;
  put_u32(header, static_cast<uint32_t>(width));
  put_u32(header, static_cast<uint32_t>(height));
  for (int value : {options.depth, options.colour_type, 0, 0, options.interlaced ? 1 : 0}) {
    header.push_back(static_cast<uint8_t>(value));
  }
  Bytes file = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  auto append = [&](const Bytes& bytes) { file.insert(file.end(), bytes.begin(), bytes.end()); };
  append(png_chunk("IHDR", header));
  if (!options.palette.empty()) append(png_chunk("PLTE", options.palette));
  if (!options.transparency.empty()) append(png_chunk("tRNS", options.transparency));
  append(options.before);
  append(png_chunk("IDAT", data));
  append(options.after);
  append(png_chunk("IEND"));
  return file;
}

}  // namespace penstock_test
