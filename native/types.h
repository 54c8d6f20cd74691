// Words every part of the core shares. No Python.h anywhere but in module.cpp and module/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

// The stages of the line, in flow order; the same words as in Python, the statistics and error texts.
enum class Stage : uint8_t { source, read, decode, transform, batch };

// Why an item did not become pixels. `message` is the part after "stage of 'key': ", a sentence without the final stop.
struct Problem {
  Stage stage = Stage::read;
  std::string cause;    // a short class to group by: "not found", "too large", "truncated", ...
  std::string message;  // expected and found
};

struct Size {
  int height = 0;
  int width = 0;
  bool operator==(const Size& o) const { return height == o.height && width == o.width; }
};

// Rows [top, top + height) and columns [left, left + width).
struct Region {
  int top = 0, left = 0, height = 0, width = 0;
  bool operator==(const Region& o) const {
    return top == o.top && left == o.left && height == o.height && width == o.width;
  }
};

// What a sample is between decode and pack.
enum class Sample : uint8_t { uint8, uint16, float32 };

constexpr size_t sample_bytes(Sample sample) { return sample == Sample::uint8 ? 1 : sample == Sample::uint16 ? 2 : 4; }

// What a pixel is between decode and pack: `channels` samples, interleaved. 1 is grey, 3 RGB, 4 RGBA.
struct Format {
  int channels = 3;
  Sample sample = Sample::uint8;
  size_t pixel_bytes() const { return static_cast<size_t>(channels) * sample_bytes(sample); }
  bool operator==(const Format& o) const { return channels == o.channels && sample == o.sample; }
};

// What decode(...) asks for; the defaults are Pillow's convert("RGB").
struct DecodeOptions {
  enum class Mode : uint8_t { rgb, grey, rgba } mode = Mode::rgb;
  bool composite = false;  // alpha is laid over `background`; false: dropped (modes rgb and grey)
  uint8_t background[3] = {0, 0, 0};
  enum class Depth : uint8_t { eight, sixteen, scale } depth = Depth::eight;  // scale: 16 bits to 8 by rounding
  bool srgb = false;  // colours are converted by the ICC profile: a profile makes it Pillow's file
  bool fast = false;  // fidelity="fast"

  // What the chain's pixels are after decode.
  Format format() const {
    return {mode == Mode::grey  ? 1
            : mode == Mode::rgb ? 3
                                : 4,
            depth == Depth::sixteen ? Sample::uint16 : Sample::uint8};
  }
};

// Limits that hold before any allocation.
struct Limits {
  uint64_t max_pixels = 178956970;              // Pillow's own refusal
  uint64_t max_working_bytes = 256u << 20;      // decoder-side memory of one image
  int max_scans = 500;                          // progressive scans while decoding
  uint64_t max_file_bytes = uint64_t{1} << 31;  // one encoded file
};

// 2x3 affine, row-major [a b c; d e f]: x' = a x + b y + c, y' = d x + e y + f.
// Continuous coordinates: a pixel's centre is at +0.5, an edge at the integer.
struct Affine {
  double m[6] = {1, 0, 0, 0, 1, 0};
};

// The affine that applies `first`, then `then`.
Affine compose(const Affine& first, const Affine& then);

}  // namespace penstock
