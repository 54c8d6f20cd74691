// Colour steps against the plain statement of Pillow's arithmetic, pixel by pixel, apart and in place.
#include <algorithm>
#include <cmath>
#include <random>

#include "../frame.h"
#include "check.h"

using namespace penstock;

namespace {

struct Image {
  int height, width;
  std::vector<uint8_t> data;
  Image(int h, int w) : height(h), width(w), data(static_cast<size_t>(h) * w * 3) {}
  const uint8_t* at(int y, int x) const { return data.data() + (static_cast<size_t>(y) * width + x) * 3; }
  Frame frame() { return {data.data(), static_cast<ptrdiff_t>(width) * 3, {height, width}, {3, Sample::uint8}}; }
};

int luma(const uint8_t* rgb) { return (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16; }

uint8_t blend(uint8_t degenerate, uint8_t value, float alpha) {
  const int from = degenerate, difference = static_cast<int>(value) - from;
  const float level = static_cast<float>(from) + alpha * static_cast<float>(difference);
  return level <= 0.0f ? 0 : level >= 255.0f ? 255 : static_cast<uint8_t>(level);
}

// ImageFilter.SMOOTH in float32, row below first, as Pillow adds.
uint8_t smooth(const Image& in, int y, int x, int channel) {
  if (y == 0 || x == 0 || y == in.height - 1 || x == in.width - 1) return in.at(y, x)[channel];
  const float side = 1.0f / 13.0f, middle = 5.0f / 13.0f;
  float sum = 0.5f;
  for (int row : {y + 1, y, y - 1}) {
    sum += static_cast<float>(in.at(row, x - 1)[channel]) * side +
           static_cast<float>(in.at(row, x)[channel]) * (row == y ? middle : side) +
           static_cast<float>(in.at(row, x + 1)[channel]) * side;
  }
  return static_cast<uint8_t>(sum);
}

// colorsys in float32, hue and saturation cut off to bytes; and back.
void shift_hue(const uint8_t* rgb, int shift, uint8_t* out) {
  const int high = std::max({rgb[0], rgb[1], rgb[2]}), low = std::min({rgb[0], rgb[1], rgb[2]});
  int hue = 0, saturation = 0;
  if (high != low) {
    const float range = static_cast<float>(high - low);
    const float r = static_cast<float>(high - rgb[0]) / range, g = static_cast<float>(high - rgb[1]) / range;
    const float b = static_cast<float>(high - rgb[2]) / range;
    float h = rgb[0] == high   ? b - g
              : rgb[1] == high ? static_cast<float>(2.0 + r - b)
                               : static_cast<float>(4.0 + g - r);
    h = static_cast<float>(std::fmod(h / 6.0 + 1.0, 1.0));
    hue = static_cast<int>(h * 255.0);
    saturation = static_cast<int>(range / static_cast<float>(high) * 255.0);
  }
  hue = (hue + shift) & 255;
  out[0] = out[1] = out[2] = static_cast<uint8_t>(high);
  if (saturation == 0) return;
  const int sector = static_cast<int>(std::floor(static_cast<float>(hue) * 6.0 / 255.0));
  const float f = static_cast<float>(static_cast<float>(hue) * 6.0 / 255.0 - static_cast<double>(sector));
  const float s = static_cast<float>(static_cast<float>(saturation) / 255.0), v = static_cast<float>(high);
  const auto level = [](double value) { return static_cast<uint8_t>(std::clamp<double>(std::round(value), 0, 255)); };
  const uint8_t p = level(v * (1.0 - s)), q = level(v * (1.0 - s * f)), t = level(v * (1.0 - s * (1.0 - f)));
  const uint8_t full = static_cast<uint8_t>(high);
  const uint8_t table[6][3] = {{full, t, p}, {q, full, p}, {p, full, t}, {p, q, full}, {t, p, full}, {full, p, q}};
  std::copy(table[sector % 6], table[sector % 6] + 3, out);
}

// One table a channel, from its histogram.
std::vector<uint8_t> from_histogram(const Image& in, ColorOp op, int channel) {
  std::vector<int64_t> counts(256, 0);
  for (size_t i = static_cast<size_t>(channel); i < in.data.size(); i += 3) ++counts[in.data[i]];
  int low = 0, high = 255;
  while (counts[static_cast<size_t>(low)] == 0) ++low;
  while (counts[static_cast<size_t>(high)] == 0) --high;
  const int64_t total = static_cast<int64_t>(in.data.size() / 3);
  const int64_t step = (total - counts[static_cast<size_t>(high)]) / 255;
  int64_t reached = step / 2;
  std::vector<uint8_t> table(256);
  for (int value = 0; value < 256; ++value) {
    int64_t level = value;
    if (op == ColorOp::autocontrast && high > low) {
      const double scale = 255.0 / (high - low), offset = -low * scale;
      level = static_cast<int64_t>(value * scale + offset);
    } else if (op == ColorOp::equalize && high > low && step != 0) {
      level = reached / step;
    }
    table[static_cast<size_t>(value)] = static_cast<uint8_t>(std::clamp<int64_t>(level, 0, 255));
    reached += counts[static_cast<size_t>(value)];
  }
  return table;
}

Image plain(const Image& in, ColorOp op, double amount) {
  Image out(in.height, in.width);
  const float alpha = static_cast<float>(amount);
  uint64_t sum = 0;
  for (size_t i = 0; i < in.data.size(); i += 3) sum += static_cast<uint64_t>(luma(&in.data[i]));
  const int mean = static_cast<int>(static_cast<double>(sum) / (static_cast<double>(in.data.size()) / 3.0) + 0.5);
  const bool histogram = op == ColorOp::autocontrast || op == ColorOp::equalize;
  std::vector<std::vector<uint8_t>> tables;
  for (int channel = 0; histogram && channel < 3; ++channel) tables.push_back(from_histogram(in, op, channel));
  for (int y = 0; y < in.height; ++y) {
    for (int x = 0; x < in.width; ++x) {
      const uint8_t* from = in.at(y, x);
      uint8_t* to = out.data.data() + (from - in.data.data());
      if (op == ColorOp::hue) shift_hue(from, static_cast<int>(amount * 255.0) & 255, to);
      for (int channel = 0; channel < 3; ++channel) {
        const uint8_t value = from[channel];
        switch (op) {
          case ColorOp::brightness:
            to[channel] = blend(0, value, alpha);
            break;
          case ColorOp::contrast:
            to[channel] = blend(static_cast<uint8_t>(mean), value, alpha);
            break;
          case ColorOp::saturation:
            to[channel] = blend(static_cast<uint8_t>(luma(from)), value, alpha);
            break;
          case ColorOp::sharpness:
            to[channel] = blend(smooth(in, y, x, channel), value, alpha);
            break;
          case ColorOp::hue:
            break;
          case ColorOp::greyscale:
            to[channel] = static_cast<uint8_t>(luma(from));
            break;
          case ColorOp::posterize:
            to[channel] =
                static_cast<uint8_t>(value >> (8 - static_cast<int>(amount)) << (8 - static_cast<int>(amount)));
            break;
          case ColorOp::solarize:
            to[channel] = value < amount ? value : static_cast<uint8_t>(255 - value);
            break;
          case ColorOp::autocontrast:
          case ColorOp::equalize:
            to[channel] = tables[static_cast<size_t>(channel)][value];
            break;
          case ColorOp::invert:
            to[channel] = static_cast<uint8_t>(255 - value);
            break;
        }
      }
    }
  }
  return out;
}

double amount_for(ColorOp op, std::mt19937& random) {
  const double u = static_cast<double>(random()) / 4294967296.0;
  if (op == ColorOp::hue) return u - 0.5;
  if (op == ColorOp::posterize) return 1.0 + std::floor(u * 8.0);
  if (op == ColorOp::solarize) return u * 256.0;
  const double fixed[] = {0.0, 1.0, 2.0};
  return random() % 4 == 0 ? fixed[random() % 3] : u * 3.0 - 0.5;
}

Image picture(int height, int width, std::mt19937& random) {
  Image image(height, width);
  const int kind = static_cast<int>(random() % 3);  // noise, few levels, one colour
  for (size_t i = 0; i < image.data.size(); ++i) {
    image.data[i] = static_cast<uint8_t>(kind == 0 ? random() : kind == 1 ? 90 + random() % 7 : 17 * (i % 3) + 200);
  }
  return image;
}

}  // namespace

int main() {
  std::mt19937 random(1);
  TransformScratch scratch;
  for (int round = 0; round < 2000; ++round) {
    Image in = picture(1 + static_cast<int>(random() % 40), 1 + static_cast<int>(random() % 40), random);
    Step step;
    step.kind = Step::Kind::color;
    step.op = static_cast<ColorOp>(round % 11);
    step.amount = amount_for(step.op, random);
    const Image expected = plain(in, step.op, step.amount);
    Image out(in.height, in.width);
    apply_color(step, in.frame(), out.frame(), scratch);
    CHECK(out.data == expected.data);
    apply_color(step, in.frame(), in.frame(), scratch);
    CHECK(in.data == expected.data);
  }
  return penstock_test::report("test_color");
}
