// Colour steps on uint8 RGB: bit for bit what Pillow's ImageEnhance, ImageOps and mode "HSV" give.
//
// Most are one table of 256 entries, for all channels or for each. Pillow states the enhancers as a blend of the image
// with a degenerate one, in float32: degenerate + factor * (value - degenerate), cut off, clipped where factor is not
// in [0, 1]; with a degenerate of one level the blend is such a table too.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "frame.h"

namespace penstock {
namespace {

using Table = std::array<uint8_t, 256>;

// The blend of one sample. Inside [0, 255] clipping changes nothing, so that both of Pillow's loops are this one.
inline uint8_t blend(float degenerate, float value, float factor) {
  float level = degenerate + factor * (value - degenerate);
  level = level < 0.0f ? 0.0f : level;
  level = level > 255.0f ? 255.0f : level;
  return static_cast<uint8_t>(level);
}

inline int luma(const uint8_t* rgb) { return (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16; }

Table blend_table(int degenerate, float factor) {
  Table table;
  for (int value = 0; value < 256; ++value) {
    table[static_cast<size_t>(value)] = blend(static_cast<float>(degenerate), static_cast<float>(value), factor);
  }
  return table;
}

// Results are gathered a few at a time before they are stored: a store might change the table, for all the compiler
// knows, and each look-up would wait for the one before it.
constexpr int kTogether = 8;

void map_all(const Table& table, const Frame& in, const Frame& out) {
  const size_t samples = static_cast<size_t>(in.size.width) * kChannels;
  for (int y = 0; y < in.size.height; ++y) {
    const uint8_t* from = in.row(y);
    uint8_t* to = out.row(y);
    size_t i = 0;
    for (; i + kTogether <= samples; i += kTogether) {
      uint8_t levels[kTogether];
      for (size_t k = 0; k < kTogether; ++k) levels[k] = table[from[i + k]];
      std::memcpy(to + i, levels, kTogether);
    }
    for (; i < samples; ++i) to[i] = table[from[i]];
  }
}

void map_each(const std::array<Table, kChannels>& tables, const Frame& in, const Frame& out) {
  const auto map = [&](const uint8_t* from, int pixels, uint8_t* levels) {
    for (int i = 0; i < pixels * kChannels; i += kChannels) {
      levels[i] = tables[0][from[i]];
      levels[i + 1] = tables[1][from[i + 1]];
      levels[i + 2] = tables[2][from[i + 2]];
    }
  };
  for (int y = 0; y < in.size.height; ++y) {
    const uint8_t* from = in.row(y);
    uint8_t* to = out.row(y);
    int left = in.size.width;
    for (; left >= kTogether; left -= kTogether, from += kTogether * kChannels, to += kTogether * kChannels) {
      uint8_t levels[kTogether * kChannels];
      map(from, kTogether, levels);
      std::memcpy(to, levels, sizeof levels);
    }
    map(from, left, to);
  }
}

// ImageEnhance.Contrast: towards the mean of the luma, rounded half up.
int mean_luma(const Frame& in) {
  uint64_t sum = 0;
  for (int y = 0; y < in.size.height; ++y) {
    const uint8_t* from = in.row(y);
    for (int x = 0; x < in.size.width; ++x, from += kChannels) sum += static_cast<unsigned>(luma(from));
  }
  const double count = static_cast<double>(in.size.height) * in.size.width;
  return static_cast<int>(static_cast<double>(sum) / count + 0.5);
}

// The row's luma, three times each.
void grey_row(const uint8_t* from, int width, uint8_t* to) {
  for (int x = 0; x < width; ++x, from += kChannels, to += kChannels) {
    const uint8_t level = static_cast<uint8_t>(luma(from));
    to[0] = level;
    to[1] = level;
    to[2] = level;
  }
}

void blend_row(const uint8_t* degenerate, const uint8_t* from, size_t samples, float factor, uint8_t* to) {
  for (size_t i = 0; i < samples; ++i) to[i] = blend(degenerate[i], from[i], factor);
}

// ImageEnhance.Color: towards the luma of each pixel.
void saturation(const Frame& in, const Frame& out, float factor) {
  const size_t samples = static_cast<size_t>(in.size.width) * kChannels;
  std::vector<uint8_t> grey(samples);
  for (int y = 0; y < in.size.height; ++y) {
    grey_row(in.row(y), in.size.width, grey.data());
    blend_row(grey.data(), in.row(y), samples, factor, out.row(y));
  }
}

// ImageFilter.SMOOTH of a row inside the image: the eight neighbours and five times the sample, over 13, rounded.
// Pillow adds it up in float32; 2 * sum is even and 13 * (2 k + 1) odd, so no value lies nearer than 1/26 to a half and
// its rounding errors, some 1e-4, cannot cross one: whole numbers give the same.
void smooth_row(const uint8_t* above, const uint8_t* from, const uint8_t* below, size_t samples, uint8_t* to) {
  const size_t last = samples - kChannels;
  std::memcpy(to, from, kChannels);
  for (size_t i = kChannels; i < last; ++i) {
    const size_t before = i - kChannels, after = i + kChannels;
    const unsigned sum = static_cast<unsigned>(above[before] + above[i] + above[after] + from[before] + 5 * from[i] +
                                               from[after] + below[before] + below[i] + below[after]);
    const uint16_t twice = static_cast<uint16_t>(2 * sum + 13);
    // Divided by 26: 10083 / 2^18 is right up to 6643, the largest there is.
    to[i] = static_cast<uint8_t>(static_cast<uint16_t>((static_cast<uint32_t>(twice) * 10083u) >> 16) >> 2);
  }
  std::memcpy(to + last, from + last, kChannels);
}

// ImageEnhance.Sharpness: towards the smoothed image, whose outermost rows and columns are the image's own. Keeps the
// rows it still needs, so that in and out may be the same.
void sharpness(const Frame& in, const Frame& out, float factor) {
  const size_t samples = static_cast<size_t>(in.size.width) * kChannels;
  std::vector<uint8_t> memory(samples * 3);
  uint8_t* above = memory.data();
  uint8_t* row = above + samples;
  uint8_t* smooth = row + samples;
  for (int y = 0; y < in.size.height; ++y) {
    std::memcpy(row, in.row(y), samples);
    if (y == 0 || y + 1 == in.size.height || in.size.width < 3) {
      std::memmove(out.row(y), row, samples);
    } else {
      smooth_row(above, row, in.row(y + 1), samples, smooth);
      blend_row(smooth, row, samples, factor, out.row(y));
    }
    std::swap(above, row);
  }
}

void greyscale(const Frame& in, const Frame& out) {
  for (int y = 0; y < in.size.height; ++y) grey_row(in.row(y), in.size.width, out.row(y));
}

// ImageOps.autocontrast without cutoff: the least and greatest level of each channel become 0 and 255.
std::array<Table, kChannels> stretched(const Frame& in) {
  // Of each column first, so that the compiler makes vectors of it.
  const size_t samples = static_cast<size_t>(in.size.width) * kChannels;
  std::vector<uint8_t> lows(samples, 255), highs(samples, 0);
  for (int y = 0; y < in.size.height; ++y) {
    const uint8_t* from = in.row(y);
    uint8_t* least = lows.data();
    uint8_t* greatest = highs.data();
    for (size_t i = 0; i < samples; ++i) {
      least[i] = from[i] < least[i] ? from[i] : least[i];
      greatest[i] = from[i] > greatest[i] ? from[i] : greatest[i];
    }
  }
  std::array<Table, kChannels> tables;
  for (size_t channel = 0; channel < kChannels; ++channel) {
    int low = 255, high = 0;
    for (size_t i = channel; i < samples; i += kChannels) {
      low = std::min<int>(low, lows[i]);
      high = std::max<int>(high, highs[i]);
    }
    const double scale = 255.0 / (high - low), offset = -low * scale;  // not read where high == low
    for (int value = 0; value < 256; ++value) {
      const int level = high <= low ? value : static_cast<int>(value * scale + offset);
      tables[channel][static_cast<size_t>(value)] = static_cast<uint8_t>(std::clamp(level, 0, 255));
    }
  }
  return tables;
}

// ImageOps.equalize: levels spread so that each holds as many pixels as the others.
std::array<Table, kChannels> equalized(const Frame& in) {
  // Two counts of every level, taken in turns: neighbours are often equal, and adding to the count just written waits.
  std::vector<uint32_t> counts(2 * kChannels * 256, 0);
  uint32_t* even = counts.data();
  uint32_t* odd = even + kChannels * 256;
  for (int y = 0; y < in.size.height; ++y) {
    const uint8_t* from = in.row(y);
    for (int x = 0; x < in.size.width; ++x, from += kChannels) {
      ++even[from[0]];
      ++even[256 + from[1]];
      ++even[512 + from[2]];
      std::swap(even, odd);
    }
  }
  std::array<Table, kChannels> tables;
  for (size_t channel = 0; channel < kChannels; ++channel) {
    std::array<int64_t, 256> histogram;
    int64_t total = 0, last = 0;
    for (size_t value = 0; value < 256; ++value) {
      histogram[value] = int64_t{even[channel * 256 + value]} + odd[channel * 256 + value];
      total += histogram[value];
      if (histogram[value] != 0) last = histogram[value];
    }
    const int64_t step = (total - last) / 255;  // 0 too where all pixels have one level
    int64_t reached = step / 2;
    for (size_t value = 0; value < 256; ++value) {
      const int64_t level = step == 0 ? static_cast<int64_t>(value) : reached / step;
      tables[channel][value] = static_cast<uint8_t>(std::min<int64_t>(level, 255));
      reached += histogram[value];
    }
  }
  return tables;
}

// RGB to Pillow's mode "HSV" (colorsys in float32, cut off to bytes) and back, with the hue shifted between. A hue
// depends on which channel is the greatest, which the least, on the spread of the two and on how far the middle one
// lies below the greatest: tables for it, made once.
class HueTables {
 public:
  static const HueTables& get() {
    static const HueTables tables;
    return tables;
  }

  // Of the greatest level (index 1) and the spread (index 2).
  uint8_t saturation(int greatest, int spread) const { return saturation_[index(greatest, spread)]; }
  // By case: greatest channel * 2 + whether the channel after it (in the order red, green, blue, red) is the least.
  const uint8_t* hue(int which) const { return hue_.data() + static_cast<size_t>(which) * 65536; }
  static size_t index(int first, int second) { return static_cast<size_t>(first) * 256 + static_cast<size_t>(second); }

 private:
  HueTables() : saturation_(65536), hue_(6 * 65536) {
    for (int spread = 1; spread < 256; ++spread) {
      const float range = static_cast<float>(spread);
      for (int greatest = spread; greatest < 256; ++greatest) {
        const float s = range / static_cast<float>(greatest);
        saturation_[index(greatest, spread)] = static_cast<uint8_t>(static_cast<int>(s * 255.0));
      }
      for (int below = 0; below <= spread; ++below) {
        const float middle = static_cast<float>(below) / range;
        for (int which = 0; which < 6; ++which) {
          // The channel after the greatest, and the one before it; the least lies a whole range below.
          const float after = which % 2 == 1 ? 1.0f : middle, before = which % 2 == 1 ? middle : 1.0f;
          float h;
          if (which < 2) {
            h = before - after;
          } else if (which < 4) {
            h = static_cast<float>(2.0 + before - after);
          } else {
            h = static_cast<float>(4.0 + before - after);
          }
          h = static_cast<float>(std::fmod(h / 6.0 + 1.0, 1.0));
          hue_[static_cast<size_t>(which) * 65536 + index(spread, below)] =
              static_cast<uint8_t>(std::clamp(static_cast<int>(h * 255.0), 0, 255));
        }
      }
    }
  }

  std::vector<uint8_t> saturation_, hue_;
};

// Where a hue lies between two of the six pure colours.
struct HuePlace {
  int sector;
  float along;
};

inline uint8_t rounded(double level) { return static_cast<uint8_t>(static_cast<int>(level + 0.5)); }

// torchvision's adjust_hue: H moves by int(amount * 255), modulo 256.
void hue(const Frame& in, const Frame& out, double amount) {
  const HueTables& tables = HueTables::get();
  const int shift = static_cast<int>(amount * 255.0) & 255;
  std::array<HuePlace, 256> places;  // of the hue before the shift
  for (int h = 0; h < 256; ++h) {
    const float moved = static_cast<float>((h + shift) & 255);
    const int sector = static_cast<int>(std::floor(moved * 6.0 / 255.0));
    const float along = static_cast<float>(moved * 6.0 / 255.0 - static_cast<double>(sector));
    places[static_cast<size_t>(h)] = {sector % 6, along};
  }
  // Where the greatest, the least and the sector's own level go: red, green, blue.
  constexpr uint8_t kOrder[6][3] = {{0, 2, 1}, {2, 0, 1}, {1, 0, 2}, {1, 2, 0}, {2, 1, 0}, {0, 1, 2}};
  for (int y = 0; y < in.size.height; ++y) {
    const uint8_t* from = in.row(y);
    uint8_t* to = out.row(y);
    for (int x = 0; x < in.size.width; ++x, from += kChannels, to += kChannels) {
      const int red = from[0], green = from[1], blue = from[2];
      const int greatest = std::max(red, std::max(green, blue)), least = std::min(red, std::min(green, blue));
      const int spread = greatest - least;
      const int s = tables.saturation(greatest, spread);
      if (s == 0) {
        to[0] = to[1] = to[2] = static_cast<uint8_t>(greatest);
        continue;
      }
      const int which = red == greatest     ? (green == least ? 1 : 0)
                        : green == greatest ? (blue == least ? 3 : 2)
                                            : (red == least ? 5 : 4);
      const int below = greatest - (red + green + blue - greatest - least);
      const HuePlace place = places[tables.hue(which)[HueTables::index(spread, below)]];
      const float fs = static_cast<float>(static_cast<float>(s) / 255.0);
      const double value = greatest;
      // Odd sectors fall along their way, even ones rise.
      const double gone = place.sector % 2 == 1 ? static_cast<double>(fs * place.along)
                                                : static_cast<double>(fs) * (1.0 - static_cast<double>(place.along));
      const uint8_t levels[3] = {static_cast<uint8_t>(greatest), rounded(value * (1.0 - static_cast<double>(fs))),
                                 rounded(value * (1.0 - gone))};
      const uint8_t* order = kOrder[place.sector];
      to[0] = levels[order[0]];
      to[1] = levels[order[1]];
      to[2] = levels[order[2]];
    }
  }
}

Table posterize_table(int bits) {
  Table table;
  for (int value = 0; value < 256; ++value) {
    table[static_cast<size_t>(value)] = static_cast<uint8_t>(value & ~((1 << (8 - bits)) - 1));
  }
  return table;
}

// Levels at or above the threshold are inverted; ImageOps.invert is the threshold 0.
Table solarize_table(double threshold) {
  Table table;
  for (int value = 0; value < 256; ++value) {
    table[static_cast<size_t>(value)] = static_cast<uint8_t>(value < threshold ? value : 255 - value);
  }
  return table;
}

}  // namespace

void apply_color(const Step& step, const Frame& in, const Frame& out, TransformScratch& /*scratch*/) {
  const float factor = static_cast<float>(step.amount);
  switch (step.op) {
    case ColorOp::brightness:
      return map_all(blend_table(0, factor), in, out);
    case ColorOp::contrast:
      return map_all(blend_table(mean_luma(in), factor), in, out);
    case ColorOp::saturation:
      return saturation(in, out, factor);
    case ColorOp::sharpness:
      return sharpness(in, out, factor);
    case ColorOp::hue:
      return hue(in, out, step.amount);
    case ColorOp::greyscale:
      return greyscale(in, out);
    case ColorOp::posterize:
      return map_all(posterize_table(static_cast<int>(step.amount)), in, out);
    case ColorOp::solarize:
      return map_all(solarize_table(step.amount), in, out);
    case ColorOp::autocontrast:
      return map_each(stretched(in), in, out);
    case ColorOp::equalize:
      return map_each(equalized(in), in, out);
    case ColorOp::invert:
      return map_all(solarize_table(0.0), in, out);
  }
}

}  // namespace penstock
