#include "pixels.h"

#include <cstring>

namespace penstock {
namespace {

constexpr unsigned kPrecisionBits = 7;  // of Pillow's blending coefficients

// x / 255, rounded, for x plus the half that the caller has added.
constexpr unsigned divided_by_255(unsigned x) { return ((x >> 8) + x) >> 8; }

// One pixel over an opaque colour, as ImagingAlphaComposite has it.
void lay_over(const uint8_t* rgba, const uint8_t* background, uint8_t* out) {
  const unsigned alpha = rgba[3];
  if (alpha == 0) {
    std::memcpy(out, background, 3);
    return;
  }
  // Over alpha 255 the sum of weights is 255 * 255, so Pillow's division leaves alpha * 2^7.
  const unsigned front = alpha << kPrecisionBits, back = (255u << kPrecisionBits) - front;
  for (int i = 0; i < 3; ++i) {
    const unsigned sum = rgba[i] * front + background[i] * back + (0x80u << kPrecisionBits);
    out[i] = static_cast<uint8_t>(divided_by_255(sum) >> kPrecisionBits);
  }
}

void store(uint8_t* out, unsigned sample) {
  const uint16_t value = static_cast<uint16_t>(sample);
  std::memcpy(out, &value, sizeof value);
}

// The pixel as 16 bits a sample, of what it is in 8.
void widen(const uint8_t* pixel, int channels, bool grey, uint8_t* out) {
  const unsigned luma = (pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16;
  for (int i = 0; i < channels; ++i) store(out + i * 2, (grey ? luma : pixel[i]) * 257);
}

}  // namespace

void finish_pixels(const uint8_t* rgba, int count, const DecodeOptions& options, uint8_t* out) {
  if (options.depth == DecodeOptions::Depth::sixteen) {
    const bool keep = options.mode == DecodeOptions::Mode::rgba, grey = options.mode == DecodeOptions::Mode::grey;
    for (int x = 0; x < count; ++x, rgba += 4, out += keep ? 8 : 6) {
      uint8_t laid[3];
      if (options.composite && !keep) lay_over(rgba, options.background, laid);
      widen(options.composite && !keep ? laid : rgba, keep ? 4 : 3, grey, out);
    }
    return;
  }
  if (options.mode == DecodeOptions::Mode::rgba) {
    std::memcpy(out, rgba, static_cast<size_t>(count) * 4);
  } else if (options.composite) {
    for (int x = 0; x < count; ++x, rgba += 4, out += 3) lay_over(rgba, options.background, out);
  } else {
    for (int x = 0; x < count; ++x, rgba += 4, out += 3) {
      out[0] = rgba[0];
      out[1] = rgba[1];
      out[2] = rgba[2];
    }
  }
}

void finish_pixels(const uint16_t* rgba, int count, const DecodeOptions& options, uint8_t* out) {
  const int channels = options.mode == DecodeOptions::Mode::rgba ? 4 : 3;
  for (int x = 0; x < count; ++x, rgba += 4) {
    const uint64_t alpha = rgba[3];
    for (int i = 0; i < channels; ++i, out += 2) {
      uint64_t sample = rgba[i];
      if (options.composite && channels == 3) {
        sample = (sample * alpha + uint64_t{options.background[i]} * 257 * (65535 - alpha) + 32767) / 65535;
      }
      store(out, static_cast<unsigned>(sample));
    }
  }
}

}  // namespace penstock
