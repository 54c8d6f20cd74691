// RGBA as stored turned into what decode(...) asks for: alpha dropped, laid over a colour or kept; 8 or 16 bits.
#pragma once

#include "types.h"

namespace penstock {

// Bytes of a pixel that a decoder pushes: RGB or RGBA (grey is RGB until the chain converts it).
constexpr size_t pushed_pixel_bytes(const DecodeOptions& options) {
  return (options.mode == DecodeOptions::Mode::rgba ? 4 : 3) *
         sample_bytes(options.depth == DecodeOptions::Depth::sixteen ? Sample::uint16 : Sample::uint8);
}

// `count` pixels of RGBA to RGB or RGBA. From samples of 8 bits: a background is laid under them with the arithmetic of
// Pillow's alpha_composite; for 16 bits what comes out (mode grey: Pillow's grey of it) is times 257. From samples of
// 16 bits: (colour * alpha + background * 257 * (65535 - alpha) + 32767) / 65535.
void finish_pixels(const uint8_t* rgba, int count, const DecodeOptions& options, uint8_t* out);
void finish_pixels(const uint16_t* rgba, int count, const DecodeOptions& options, uint8_t* out);

// 16 bits to 8 by rounding: what depth="scale" means.
constexpr uint8_t scaled_to_8(unsigned sample) { return static_cast<uint8_t>((sample * 255 + 32767) / 65535); }

}  // namespace penstock
