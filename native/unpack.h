// What a PNG's samples mean to Pillow: raw rows of any colour type and depth to what decode(...) asks for.
#pragma once

#include <vector>

#include "types.h"

namespace penstock {

// How the rows of one PNG are stored. Trivially destructible: it is filled beside setjmp.
struct PngSamples {
  int width = 0, depth = 8, colour_type = 2;
  size_t row_bytes = 0;
  int palette_entries = 0;
  uint8_t palette[256][3] = {};
  bool transparency = false;
  int alpha_entries = 0;  // of tRNS, for a palette
  uint8_t alphas[256] = {};
  unsigned key[3] = {0, 0, 0};  // of tRNS, for grey (thrice) and RGB: the transparent colour as stored
};

class PngUnpacker {
 public:
  PngUnpacker(const PngSamples& samples, const DecodeOptions& options);

  // Whether a raw row is already what is asked for, so that row() need not be called.
  bool as_is() const;
  // Pixels [left, left + count) of a raw row; `out` has room for count pixels as pushed_pixel_bytes() has them.
  void row(const uint8_t* raw, int left, int count, uint8_t* out);

 private:
  void indexed(const uint8_t* raw, int left, int count);
  void direct(const uint8_t* raw, int left, int count);
  template <typename Reduce>
  void deep(const uint8_t* raw, int left, int count, Reduce reduce);
  void wide(const uint8_t* raw, int left, int count);

  int depth_, colour_type_, channels_;
  bool keyed_ = false;
  unsigned key_[3];  // as the samples are compared with it: Pillow takes its low byte
  DecodeOptions options_;
  uint8_t table_[256][4];  // grey of up to 8 bits and palettes: what each stored value is
  std::vector<uint8_t> rgba_;
  std::vector<uint16_t> rgba_wide_;
};

}  // namespace penstock
