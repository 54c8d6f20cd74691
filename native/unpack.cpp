#include "unpack.h"

#include <algorithm>
#include <cstring>

#include "pixels.h"

namespace penstock {
namespace {

constexpr int kGrey = 0, kColours = 2, kPalette = 3, kGreyAlpha = 4;  // colour types of PNG

unsigned u16(const uint8_t* p) { return unsigned{p[0]} << 8 | p[1]; }

// The place of the only transparent entry where all others are opaque, or -1. Pillow looks for it with a regular
// expression whose end also fits before a line feed, so a last alpha of 10 is then passed over.
int only_transparent(const uint8_t* alphas, int count) {
  if (count > 1 && alphas[count - 1] == '\n') count -= 1;
  int found = -1;
  for (int i = 0; i < count; ++i) {
    if (alphas[i] == 255) continue;
    if (alphas[i] != 0 || found >= 0) return -1;
    found = i;
  }
  return found;
}

// Pillow's table of a palette: black and opaque where the file has no entry.
void fill_from_palette(const PngSamples& samples, uint8_t (*table)[4]) {
  for (int i = 0; i < 256; ++i) {
    std::memset(table[i], 0, 3);
    table[i][3] = 255;
    if (i < samples.palette_entries) std::memcpy(table[i], samples.palette[i], 3);
  }
  const int single = only_transparent(samples.alphas, samples.alpha_entries);
  for (int i = 0; i < samples.alpha_entries; ++i) {
    if (single < 0) {
      table[i][3] = samples.alphas[i];
    } else if (i == single) {
      table[i][3] = 0;
    }
  }
}

// Grey of 1, 2, 4 or 8 bits, spread over 0..255. Pillow compares the spread sample with the transparent grey as stored,
// except for single bits.
void fill_with_grey(const PngSamples& samples, uint8_t (*table)[4]) {
  const int most = (1 << samples.depth) - 1;
  const unsigned key = samples.depth == 1 ? (samples.key[0] != 0 ? 255 : 0) : samples.key[0] & 255;
  for (int i = 0; i < 256; ++i) {
    const int grey = std::min(i, most) * 255 / most;
    std::memset(table[i], grey, 3);
    table[i][3] = samples.transparency && static_cast<unsigned>(grey) == key ? 0 : 255;
  }
}

}  // namespace

PngUnpacker::PngUnpacker(const PngSamples& samples, const DecodeOptions& options)
    : depth_(samples.depth),
      colour_type_(samples.colour_type),
      channels_(samples.colour_type == kColours     ? 3
                : samples.colour_type == kGreyAlpha ? 2
                : samples.colour_type > kGreyAlpha  ? 4
                                                    : 1),
      keyed_(samples.transparency && samples.colour_type != kPalette),
      options_(options) {
  std::copy(samples.key, samples.key + 3, key_);
  if (colour_type_ == kPalette) {
    fill_from_palette(samples, table_);
  } else if (colour_type_ == kGrey && depth_ <= 8) {
    fill_with_grey(samples, table_);
  } else {
    std::memset(table_, 0, sizeof table_);
  }
}

bool PngUnpacker::as_is() const {
  if (depth_ != 8 || options_.depth == DecodeOptions::Depth::sixteen) return false;
  const bool rgba = options_.mode == DecodeOptions::Mode::rgba;
  return channels_ == (rgba ? 4 : 3) && (rgba || !(keyed_ && options_.composite));
}

void PngUnpacker::row(const uint8_t* raw, int left, int count, uint8_t* out) {
  if (depth_ == 16 && options_.depth == DecodeOptions::Depth::sixteen) {
    rgba_wide_.resize(static_cast<size_t>(count) * 4);
    wide(raw, left, count);
    return finish_pixels(rgba_wide_.data(), count, options_, out);
  }
  rgba_.resize(static_cast<size_t>(count) * 4);
  if (depth_ == 16) {
    if (options_.depth == DecodeOptions::Depth::scale) {
      rgba_wide_.resize(static_cast<size_t>(count) * 4);
      wide(raw, left, count);
      std::transform(rgba_wide_.begin(), rgba_wide_.end(), rgba_.begin(), scaled_to_8);
    } else if (channels_ == 1) {
      deep(raw, left, count, [](const uint8_t* sample) { return sample[0] == 0 ? sample[1] : uint8_t{255}; });
    } else {
      deep(raw, left, count, [](const uint8_t* sample) { return sample[0]; });
    }
  } else if (channels_ == 1) {
    indexed(raw, left, count);
  } else {
    direct(raw, left, count);
  }
  finish_pixels(rgba_.data(), count, options_, out);
}

// Grey of up to 8 bits and palettes.
void PngUnpacker::indexed(const uint8_t* raw, int left, int count) {
  uint8_t* out = rgba_.data();
  if (depth_ == 8) {
    for (int x = 0; x < count; ++x, out += 4) std::memcpy(out, table_[raw[left + x]], 4);
    return;
  }
  const unsigned mask = (1u << depth_) - 1;
  for (int x = left; x < left + count; ++x, out += 4) {
    const int bit = x * depth_;
    std::memcpy(out, table_[static_cast<unsigned>(raw[bit >> 3] >> (8 - depth_ - (bit & 7))) & mask], 4);
  }
}

// 8 bits of several channels.
void PngUnpacker::direct(const uint8_t* raw, int left, int count) {
  const uint8_t* in = raw + static_cast<size_t>(left) * static_cast<size_t>(channels_);
  uint8_t* out = rgba_.data();
  if (channels_ == 2) {
    for (int x = 0; x < count; ++x, in += 2, out += 4) {
      out[0] = out[1] = out[2] = in[0];
      out[3] = in[1];
    }
  } else if (channels_ == 4) {
    std::memcpy(out, in, static_cast<size_t>(count) * 4);
  } else {
    const bool keyed = keyed_;
    const unsigned red = key_[0] & 255, green = key_[1] & 255, blue = key_[2] & 255;
    for (int x = 0; x < count; ++x, in += 3, out += 4) {
      out[0] = in[0];
      out[1] = in[1];
      out[2] = in[2];
      out[3] = keyed && in[0] == red && in[1] == green && in[2] == blue ? 0 : 255;
    }
  }
}

// 16 bits to 8 as Pillow does; the transparent colour's low byte is compared with what comes out.
template <typename Reduce>
void PngUnpacker::deep(const uint8_t* raw, int left, int count, Reduce reduce) {
  const uint8_t* in = raw + static_cast<size_t>(left) * static_cast<size_t>(channels_) * 2;
  const bool grey = channels_ <= 2, alpha = channels_ == 2 || channels_ == 4;
  uint8_t* out = rgba_.data();
  for (int x = 0; x < count; ++x, in += channels_ * 2, out += 4) {
    for (int i = 0; i < 3; ++i) out[i] = reduce(grey ? in : in + i * 2);
    const bool clear = keyed_ && out[0] == (key_[0] & 255) && out[1] == (key_[1] & 255) && out[2] == (key_[2] & 255);
    out[3] = alpha ? reduce(in + (channels_ - 1) * 2) : clear ? 0 : 255;
  }
}

// 16 bits as they are; the transparent colour is compared with all 16.
void PngUnpacker::wide(const uint8_t* raw, int left, int count) {
  const uint8_t* in = raw + static_cast<size_t>(left) * static_cast<size_t>(channels_) * 2;
  const bool grey = channels_ <= 2, alpha = channels_ == 2 || channels_ == 4;
  uint16_t* out = rgba_wide_.data();
  for (int x = 0; x < count; ++x, in += channels_ * 2, out += 4) {
    for (int i = 0; i < 3; ++i) out[i] = static_cast<uint16_t>(u16(grey ? in : in + i * 2));
    const bool clear = keyed_ && out[0] == key_[0] && out[1] == key_[1] && out[2] == key_[2];
    out[3] = alpha ? static_cast<uint16_t>(u16(in + (channels_ - 1) * 2)) : clear ? uint16_t{0} : uint16_t{65535};
  }
}

}  // namespace penstock
