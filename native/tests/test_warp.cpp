// Warps against the plain statement of Pillow's transform, pixel by pixel; the plans of the augmenting verbs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "../frame.h"
#include "../plan.h"
#include "check.h"

using namespace penstock;

namespace {

struct Image {
  int height, width, channels;
  std::vector<uint8_t> data;
  Image(int h, int w, int c) : height(h), width(w), channels(c), data(static_cast<size_t>(h) * w * c) {}
  uint8_t* at(int y, int x) { return data.data() + (static_cast<size_t>(y) * width + x) * channels; }
  Frame frame() {
    return {data.data(), static_cast<ptrdiff_t>(width) * channels, {height, width}, {channels, Sample::uint8}};
  }
};

// Bilinear or bicubic (a = -1) weights of the taps around a position.
std::vector<double> weights(Filter filter, double d) {
  if (filter == Filter::bilinear) return {1.0 - d, d};
  return {-d + 2 * d * d - d * d * d, 1 - 2 * d * d + d * d * d, d + d * d - d * d * d, -d * d + d * d * d};
}

// The value before it is cut to a byte; false where the source lies outside.
bool sample(Image& in, Filter filter, double x, double y, int channel, double& value) {
  if (x < 0 || x >= in.width || y < 0 || y >= in.height) return false;
  if (filter == Filter::nearest) {
    value = in.at(static_cast<int>(y), static_cast<int>(x))[channel];
    return true;
  }
  const double left = std::floor(x - 0.5), top = std::floor(y - 0.5);
  const std::vector<double> across = weights(filter, x - 0.5 - left), down = weights(filter, y - 0.5 - top);
  const int before = filter == Filter::bicubic ? 1 : 0;
  value = 0;
  for (size_t j = 0; j < down.size(); ++j) {
    for (size_t i = 0; i < across.size(); ++i) {
      const int row = std::clamp(static_cast<int>(top) - before + static_cast<int>(j), 0, in.height - 1);
      const int column = std::clamp(static_cast<int>(left) - before + static_cast<int>(i), 0, in.width - 1);
      value += down[j] * across[i] * in.at(row, column)[channel];
    }
  }
  return true;
}

// Sums in another order than Pillow's differ in the last bits: right where the value may be cut to either byte.
bool same(uint8_t found, double value) {
  const double low = std::clamp(std::floor(value - 1e-7), 0.0, 255.0);
  const double high = std::clamp(std::floor(value + 1e-7), 0.0, 255.0);
  return found == static_cast<uint8_t>(low) || found == static_cast<uint8_t>(high);
}

void test_against_plain(std::mt19937& random) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto uniform = [&](double low, double high) { return low + (high - low) * (random() / 4294967296.0); };
  for (int round = 0; round < 3000; ++round) {
    const int channels = below(2) == 0 ? 1 : 3;
    Image in(1 + below(30), 1 + below(30), channels), out(1 + below(30), 1 + below(30), channels);
    for (uint8_t& value : in.data) value = static_cast<uint8_t>(random());
    Step step;
    step.kind = Step::Kind::warp;
    step.height = out.height;
    step.width = out.width;
    const Filter filters[] = {Filter::nearest, Filter::bilinear, Filter::bicubic};
    step.filter = filters[round % 3];
    // Multiples of 1/64 with odd 1/128 offsets: exact in 16.16 fixed point and never on a pixel's edge.
    for (double& entry : step.inverse) entry = std::round(uniform(-2, 2) * 32) / 32;
    if (below(4) == 0) step.inverse[1] = step.inverse[3] = 0.0;
    step.inverse[2] = std::round(uniform(-20, 20) * 64) / 64 + 1.0 / 128;
    step.inverse[5] = std::round(uniform(-20, 20) * 64) / 64 + 1.0 / 128;
    for (uint8_t& level : step.fill) level = static_cast<uint8_t>(random());
    apply_warp(step, in.frame(), out.frame());
    const double* a = step.inverse;
    bool equal = true;
    for (int y = 0; y < out.height; ++y) {
      for (int x = 0; x < out.width; ++x) {
        for (int channel = 0; channel < channels; ++channel) {
          const double x_in = a[0] * (x + 0.5) + a[1] * (y + 0.5) + a[2];
          const double y_in = a[3] * (x + 0.5) + a[4] * (y + 0.5) + a[5];
          double value = step.fill[channel];
          sample(in, step.filter, x_in, y_in, channel, value);
          equal = equal && same(out.at(y, x)[channel], value);
        }
      }
    }
    CHECK(equal);
  }
}

// No matrix, however wild, reads outside the image; far positions are fill.
void test_wild_matrices(std::mt19937& random) {
  const double wild[] = {0.0, 1.0, -1.0, 1e-300, 1e5, -1e9, 1e18, 1e300, -1e308};
  for (int round = 0; round < 3000; ++round) {
    Image in(1 + static_cast<int>(random() % 5), 1 + static_cast<int>(random() % 5), round % 2 == 0 ? 4 : 3);
    Image out(1 + static_cast<int>(random() % 5), 1 + static_cast<int>(random() % 5), in.channels);
    Step step;
    const Filter filters[] = {Filter::nearest, Filter::bilinear, Filter::bicubic};
    step.filter = filters[random() % 3];
    for (double& entry : step.inverse) entry = wild[random() % 9];
    apply_warp(step, in.frame(), out.frame());
    CHECK(std::all_of(out.data.begin(), out.data.end(), [](uint8_t value) { return value == 0; }));
  }
}

void test_rgba_is_multiplied() {
  Image in(1, 2, 4), out(1, 1, 4);
  const uint8_t opaque_red[] = {255, 0, 0, 255};  // beside a clear pixel whose colour must not show
  std::memcpy(in.at(0, 0), opaque_red, 4);
  const uint8_t clear_green[] = {0, 255, 0, 0};
  std::memcpy(in.at(0, 1), clear_green, 4);
  Step step;
  step.filter = Filter::bilinear;
  step.inverse[2] = 0.5;  // half way between the two centres
  apply_warp(step, in.frame(), out.frame());
  CHECK(out.data[0] == 255 && out.data[1] == 0 && out.data[2] == 0 && out.data[3] == 127);
}

std::vector<Step> plan(const Verb& verb, Size size, uint64_t index, Affine& geometry, Problem& problem) {
  std::vector<Step> steps;
  if (!resolve({verb}, size, {0, 0, index}, {}, steps, geometry, problem)) steps.clear();
  return steps;
}

void test_plans() {
  Affine geometry;
  Problem problem;
  Verb augment;
  augment.kind = Verb::Kind::rand_augment;
  augment.p = {3, 9, 31};
  augment.filter = Filter::nearest;
  bool seen_warp = false;
  std::vector<bool> seen(11, false);
  for (uint64_t index = 0; index < 500; ++index) {
    const std::vector<Step> steps = plan(augment, {48, 64}, index, geometry, problem);
    CHECK(steps.size() <= 3);
    for (const Step& step : steps) {
      if (step.kind == Step::Kind::warp) {
        seen_warp = true;
        CHECK(step.height == 48 && step.width == 64);
      } else {
        CHECK(step.kind == Step::Kind::color);
        seen[static_cast<size_t>(step.op)] = true;
      }
    }
  }
  CHECK(seen_warp);
  CHECK(std::count(seen.begin(), seen.end(), true) == 8);  // all but hue, greyscale and invert

  Verb jitter;
  jitter.kind = Verb::Kind::random_color_jitter;
  jitter.p = {0.5, 1.5, 1, 1, 0.5, 1.5, 0, 0};
  bool swapped[2] = {false, false};
  for (uint64_t index = 0; index < 50; ++index) {
    const std::vector<Step> steps = plan(jitter, {4, 4}, index, geometry, problem);
    CHECK(steps.size() == 2);
    swapped[steps.front().op == ColorOp::brightness ? 0 : 1] = true;
  }
  CHECK(swapped[0] && swapped[1]);

  Verb affine;
  affine.kind = Verb::Kind::random_affine;
  affine.p = {0, 0, 0, 0, 1, 1, 0, 0, 0, 0};
  CHECK(plan(affine, {5, 7}, 0, geometry, problem).size() == 1);
  CHECK(geometry.m[0] == 1 && geometry.m[2] == 0 && geometry.m[4] == 1 && geometry.m[5] == 0);
  affine.p = {0, 0, 0, 0, 1e-320, 1e-320, 0, 0, 0, 0};
  CHECK(plan(affine, {5, 7}, 0, geometry, problem).empty());
  CHECK(problem.cause == "broken matrix");
}

}  // namespace

int main() {
  std::mt19937 random(1);
  test_against_plain(random);
  test_wild_matrices(random);
  test_rgba_is_multiplied();
  test_plans();
  return penstock_test::report("test_warp");
}
