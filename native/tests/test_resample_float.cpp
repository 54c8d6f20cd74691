// The float resampler against its formula, stated plainly in double precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "../filters.h"
#include "../frame.h"
#include "../resample_float.h"
#include "check.h"

using namespace penstock;

namespace {

// Not box: it has a jump, where the last bit of a position decides about a whole input.
const Filter kFilters[] = {Filter::bilinear, Filter::hamming, Filter::bicubic, Filter::lanczos};

double filter_at(Filter filter, double x) {
  switch (filter) {
    case Filter::bilinear:
      return BilinearFilter::at(x);
    case Filter::hamming:
      return HammingFilter::at(x);
    case Filter::bicubic:
      return BicubicFilter::at(x);
    default:
      return LanczosFilter::at(x);
  }
}

// Every input's weight for one output, in [0, in_size).
std::vector<double> plain_weights(int in_size, int out_size, double start, double end, Filter filter, int o) {
  std::vector<double> weights(in_size, 0.0);
  if (in_size == out_size && start == 0 && end == in_size) {
    weights[o] = 1.0;
    return weights;
  }
  const double scale = (end - start) / out_size, stretch = std::max(scale, 1.0);
  double sum = 0;
  for (int x = 0; x < in_size; ++x) {
    weights[x] = filter_at(filter, (x + 0.5 - (start + (o + 0.5) * scale)) / stretch);
    sum += weights[x];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

struct Image {
  Size size;
  Format format;
  std::vector<uint8_t> bytes;
  Image(Size s, Format f) : size(s), format(f), bytes(s.width * f.pixel_bytes() * s.height) {}
  Frame frame() { return {bytes.data(), static_cast<ptrdiff_t>(size.width * format.pixel_bytes()), size, format}; }
  double at(int y, int x, int c) const {
    const size_t i = (static_cast<size_t>(y) * size.width + x) * format.channels + c;
    if (format.sample == Sample::uint8) return bytes[i];
    if (format.sample == Sample::uint16) {
      uint16_t value;
      std::memcpy(&value, &bytes[2 * i], 2);
      return value / 257.0;
    }
    float value;
    std::memcpy(&value, &bytes[4 * i], 4);
    return value;
  }
};

Image noise(Size size, Format format, std::mt19937& random) {
  Image image(size, format);
  if (format.sample == Sample::float32) {
    for (size_t i = 0; i < image.bytes.size() / 4; ++i) {
      const float value = static_cast<float>(random() % 25500) / 100.0f;
      std::memcpy(&image.bytes[4 * i], &value, 4);
    }
  } else {
    for (uint8_t& byte : image.bytes) byte = static_cast<uint8_t>(random());
  }
  return image;
}

void test_sizes(std::mt19937& random) {
  const Sample samples[] = {Sample::uint8, Sample::uint16, Sample::float32};
  const int channels[] = {1, 3, 4};
  TransformScratch scratch;
  for (int round = 0; round < 120; ++round) {
    const Format format{channels[random() % 3], samples[random() % 3]};
    const Size from{1 + static_cast<int>(random() % 40), 1 + static_cast<int>(random() % 40)};
    const Size to{1 + static_cast<int>(random() % 40), 1 + static_cast<int>(random() % 40)};
    Image in = noise(from, format, random), out(to, {format.channels, Sample::float32});
    Step step;
    step.kind = Step::Kind::resize;
    step.float32 = true;
    step.height = to.height;
    step.width = to.width;
    step.filter = kFilters[random() % 4];
    step.box_bottom = static_cast<float>(from.height);
    step.box_right = static_cast<float>(from.width);
    if (round % 3 == 0) {  // a part of the image, between its pixels
      step.box_top = static_cast<float>(from.height) * 0.21f;
      step.box_left = static_cast<float>(from.width) * 0.13f;
      step.box_bottom = static_cast<float>(from.height) * 0.83f;
    }
    apply_float_resize(step, in.frame(), out.frame(), scratch);
    double worst = 0;
    for (int y = 0; y < to.height; ++y) {
      const auto down = plain_weights(from.height, to.height, step.box_top, step.box_bottom, step.filter, y);
      for (int x = 0; x < to.width; ++x) {
        const auto along = plain_weights(from.width, to.width, step.box_left, step.box_right, step.filter, x);
        for (int c = 0; c < format.channels; ++c) {
          double sum = 0;
          for (int i = 0; i < from.height; ++i) {
            if (down[i] == 0) continue;
            for (int j = 0; j < from.width; ++j) sum += down[i] * along[j] * in.at(i, j, c);
          }
          worst = std::max(worst, std::fabs(sum - out.at(y, x, c)));
        }
      }
    }
    CHECK(worst < 1e-3);
  }
}

void test_nothing_to_do() {
  std::mt19937 random(1);
  TransformScratch scratch;
  Image in = noise({5, 7}, {3, Sample::uint8}, random), out({5, 7}, {3, Sample::float32});
  Step step;
  step.filter = Filter::lanczos;
  step.box_bottom = 5;
  step.box_right = 7;
  apply_float_resize(step, in.frame(), out.frame(), scratch);
  bool same = true;
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 7; ++x) {
      for (int c = 0; c < 3; ++c) same = same && in.at(y, x, c) == out.at(y, x, c);
    }
  }
  CHECK(same);
}

void test_nearest_takes_what_pillow_takes() {
  for (int in = 1; in < 30; ++in) {
    for (int out = 1; out < 30; ++out) {
      if (in == out) continue;
      const AxisTable table = build_axis({in, out, 0, static_cast<float>(in), Filter::nearest, 0, out, false});
      const FloatAxis axis = build_float_axis(in, out, 0, static_cast<float>(in), Filter::nearest);
      CHECK(axis.count == table.count && axis.first == table.first);
    }
  }
}

void test_tables_are_kept() {
  FloatScratch scratch;
  const auto first = scratch.axis(50, 20, 0, 50, Filter::bicubic);
  for (int size = 1; size < 16; ++size) scratch.axis(50, size, 0, 50, Filter::bicubic);
  CHECK(scratch.axis(50, 20, 0, 50, Filter::bicubic) == first);
  CHECK(scratch.axis(50, 20, 0, 49, Filter::bicubic) != first);
  for (int size = 1; size < 40; ++size) scratch.axis(60, size, 0, 60, Filter::bicubic);
  CHECK(scratch.axis(50, 20, 0, 50, Filter::bicubic) != first);
}

}  // namespace

int main() {
  std::mt19937 random(7);
  test_sizes(random);
  test_nothing_to_do();
  test_nearest_takes_what_pillow_takes();
  test_tables_are_kept();
  return penstock_test::report("resample_float");
}
