// Chains against the plain statement of what they do: turn upright, then one step after the other on whole images.
#include <algorithm>
#include <cstring>
#include <random>

#include "../transform.h"
#include "check.h"

using namespace penstock;

namespace {

struct Image {
  int height = 0, width = 0;
  std::vector<uint8_t> data;
  Image(int h, int w) : height(h), width(w), data(static_cast<size_t>(h) * w * 3) {}
  uint8_t* at(int y, int x) { return data.data() + (static_cast<size_t>(y) * width + x) * 3; }
  const uint8_t* at(int y, int x) const { return data.data() + (static_cast<size_t>(y) * width + x) * 3; }
};

Image upright(const Image& stored, int orientation) {
  const bool transposed = orientation >= 5;
  Image out(transposed ? stored.width : stored.height, transposed ? stored.height : stored.width);
  const bool rows_reversed = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool columns_reversed = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int row = transposed ? x : y, column = transposed ? y : x;
      std::memcpy(out.at(y, x),
                  stored.at(rows_reversed ? stored.height - 1 - row : row,
                            columns_reversed ? stored.width - 1 - column : column),
                  3);
    }
  }
  return out;
}

Image along_rows(const Image& in, const AxisTable& table) {
  Image out(in.height, table.window_size);
  portable_kernels().horizontal(table, in.data.data(), in.width * 3, in.height, static_cast<size_t>(in.width) * 3,
                                out.data.data(), out.width * 3);
  return out;
}

Image turned(const Image& in) { return upright(in, 5); }

Image apply(const Image& in, const Step& step) {
  if (step.kind == Step::Kind::resize) {
    const AxisRequest x{in.width, step.width, step.box_left, step.box_right, step.filter, 0, step.width, false};
    const AxisRequest y{in.height, step.height, step.box_top, step.box_bottom, step.filter, 0, step.height, false};
    Image out = in;
    const bool vertical_first =
        step.adaptive_order && vertical_pass_first({in.height, in.width}, {step.height, step.width});
    for (int pass = 0; pass < 2; ++pass) {
      const bool horizontal = (pass == 0) != vertical_first;
      if (axis_is_identity(horizontal ? x : y)) continue;
      out = horizontal ? along_rows(out, build_axis(x)) : turned(along_rows(turned(out), build_axis(y)));
    }
    return out;
  }
  const bool flip = step.kind == Step::Kind::flip_x;
  Image out(flip ? in.height : step.height, flip ? in.width : step.width);
  for (int row = 0; row < out.height; ++row) {
    for (int column = 0; column < out.width; ++column) {
      std::memcpy(out.at(row, column),
                  flip ? in.at(row, in.width - 1 - column) : in.at(step.top + row, step.left + column), 3);
    }
  }
  return out;
}

std::vector<Step> random_steps(Size size, std::mt19937& random) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  std::vector<Step> steps;
  for (int count = below(5); count > 0; --count) {
    Step step;
    const int kind = below(4);
    if (kind == 0) {
      step.kind = Step::Kind::crop;
      step.height = 1 + below(size.height);
      step.width = 1 + below(size.width);
      step.top = below(size.height - step.height + 1);
      step.left = below(size.width - step.width + 1);
      size = {step.height, step.width};
    } else if (kind == 1) {
      step.kind = Step::Kind::flip_x;
    } else {
      step.kind = Step::Kind::resize;
      step.filter = static_cast<Filter>(below(6));
      step.height = below(4) == 0 ? size.height : 1 + below(60);
      step.width = below(4) == 0 ? size.width : 1 + below(60);
      step.box_bottom = static_cast<float>(size.height);
      step.box_right = static_cast<float>(size.width);
      step.adaptive_order = below(3) != 0;
      if (below(2) == 0) {
        // Fractions that no integer crop equals.
        step.box_top = 0.125f * static_cast<float>(size.height);
        step.box_left = 0.25f + 0.3f * static_cast<float>(size.width - 1);
        step.box_right -= 0.11f;
      }
      size = {step.height, step.width};
    }
    steps.push_back(step);
  }
  return steps;
}

void test_chains(std::mt19937& random, TransformScratch& scratch) {
  for (int round = 0; round < 3000; ++round) {
    Image stored(1 + static_cast<int>(random() % 90), 1 + static_cast<int>(random() % 90));
    for (uint8_t& value : stored.data) value = static_cast<uint8_t>(random());
    const int orientation = 1 + static_cast<int>(random() % 8);
    Image expected = upright(stored, orientation);
    const Size size{expected.height, expected.width};
    const std::vector<Step> steps = random_steps(size, random);
    for (const Step& step : steps) expected = apply(expected, step);
    CHECK(final_size(size, steps) == (Size{expected.height, expected.width}));

    Output output;
    output.layout = random() % 2 == 0 ? Layout::nhwc : Layout::nchw;
    std::vector<uint8_t> slot(expected.data.size());
    Chain chain({stored.height, stored.width}, orientation, steps, output, slot.data(), scratch);
    const int strip = 1 + static_cast<int>(random() % 20);
    for (int row = 0; row < stored.height; row += strip) {
      // Each strip in memory of its own, exactly as large, so that a sanitizer sees one byte too many.
      const int count = std::min(strip, stored.height - row);
      const std::vector<uint8_t> rows(stored.at(row, 0),
                                      stored.at(row, 0) + static_cast<size_t>(count) * stored.width * 3);
      chain.push(rows.data(), stored.width * 3, count);
    }
    chain.finish();
    bool equal = true;
    const size_t plane = expected.data.size() / 3;
    for (size_t i = 0; i < expected.data.size(); ++i) {
      const uint8_t found = output.layout == Layout::nhwc ? slot[i] : slot[i % 3 * plane + i / 3];
      equal = equal && found == expected.data[i];
    }
    CHECK(equal);
  }
}

void test_working_memory_is_strips() {
  Step step;
  step.kind = Step::Kind::resize;
  step.height = step.width = 224;
  step.box_bottom = 3000;
  step.box_right = 4000;
  CHECK(chain_bytes({3000, 4000}, 1, {step}) < 200'000);
  step.box_bottom = 4000;
  step.box_right = 3000;
  CHECK(chain_bytes({3000, 4000}, 6, {step}) < 1'000'000);
}

void test_bottom_up_input(TransformScratch& scratch) {
  Image image(20, 10);
  for (size_t i = 0; i < image.data.size(); ++i) image.data[i] = static_cast<uint8_t>(i * 31);
  Step step;
  step.kind = Step::Kind::resize;
  step.height = step.width = 7;
  step.box_bottom = 20;
  step.box_right = 10;
  const Image expected = apply(upright(image, 4), step);
  std::vector<uint8_t> slot(expected.data.size());
  Chain chain({20, 10}, 1, {step}, Output(), slot.data(), scratch);
  chain.push(image.at(19, 0), -30, 20);
  chain.finish();
  CHECK(slot == expected.data);
}

}  // namespace

int main() {
  std::mt19937 random(7);
  TransformScratch scratch;
  test_chains(random, scratch);
  test_working_memory_is_strips();
  test_bottom_up_input(scratch);
  return penstock_test::report("test_transform");
}
