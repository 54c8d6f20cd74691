// Words every part of the core shares. No Python.h anywhere but in module.cpp.
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
