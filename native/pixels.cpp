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

// One pixel of 16 bits a sample; `widen` is 257 where the samples have 8 bits.
template <typename SampleType>
void finish_wide(const SampleType* rgba, int count, const DecodeOptions& options, unsigned widen, uint8_t* out) {
  const int channels = options.mode == DecodeOptions::Mode::rgba ? 4 : 3;
  const bool composite = options.composite && channels == 3;
  for (int x = 0; x < count; ++x, rgba += 4) {
    const uint64_t alpha = uint64_t{rgba[3]} * widen;
    for (int i = 0; i < channels; ++i, out += 2) {
      uint64_t sample = uint64_t{rgba[i]} * widen;
      if (composite) {
        const uint64_t under = uint64_t{options.background[i]} * 257;
        sample = (sample * alpha + under * (65535 - alpha) + 32767) / 65535;
      }
      store(out, static_cast<unsigned>(sample));
    }
  }
}

}  // namespace

void finish_pixels(const uint8_t* rgba, int count, const DecodeOptions& options, uint8_t* out) {
  if (options.depth == DecodeOptions::Depth::sixteen) return finish_wide(rgba, count, options, 257, out);
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
  finish_wide(rgba, count, options, 1, out);
}

}  // namespace penstock
