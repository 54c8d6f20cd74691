// Chains against the plain statement of what they do: turn upright, then one step after the other on whole images.
#include <optional>

#include "../transform.h"
#include "check.h"
#include "slow_image.h"

using namespace penstock_test;

namespace {

class Maker {
 public:
  explicit Maker(std::mt19937& random) : random_(random) {}

  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  // Up to six steps, each of which can follow the one before it.
  std::vector<Step> steps(Size size, Format format) {
    std::vector<Step> steps;
    for (int count = below(7); count > 0; --count) {
      const Step step = any_step(size, format);
      size = size_after(step, size);
      format = format_after(step, format);
      steps.push_back(step);
    }
    return steps;
  }

  Region part_of(Size size) {
    Region part;
    part.height = 1 + below(size.height);
    part.width = 1 + below(size.width);
    part.top = below(size.height - part.height + 1);
    part.left = below(size.width - part.width + 1);
    return part;
  }

  // A region of the whole that holds `part`.
  Region around(const Region& part, Size whole) {
    const int top = below(part.top + 1), left = below(part.left + 1);
    const int bottom = part.top + part.height + below(whole.height - part.top - part.height + 1);
    const int right = part.left + part.width + below(whole.width - part.left - part.width + 1);
    return {top, left, bottom - top, right - left};
  }

 private:
  Step any_step(Size size, Format format) {
    Step step;
    for (uint8_t& value : step.fill) value = static_cast<uint8_t>(below(256));
    switch (below(9)) {
      case 0:
        step.kind = Step::Kind::flip_x;
        return step;
      case 1:
        step.kind = Step::Kind::flip_y;
        return step;
      case 2:
        step.kind = Step::Kind::rotate90;
        step.turns = 1 + below(3);
        return step;
      case 3:
        step.kind = Step::Kind::pad;
        step.pad_mode = static_cast<PadMode>(below(4));
        step.top = below(8);
        step.left = below(8);
        step.height = step.top + size.height + below(8);
        step.width = step.left + size.width + below(8);
        return step;
      case 4:
      case 5: {
        step.kind = below(2) == 0 ? Step::Kind::erase : Step::Kind::crop;
        const Region part = part_of(size);
        step.top = part.top;
        step.left = part.left;
        step.height = part.height;
        step.width = part.width;
        return step;
      }
      default:
        return resize(size, format);
    }
  }

  Step resize(Size size, Format format) {
    Step step;
    step.kind = Step::Kind::resize;
    step.filter = static_cast<Filter>(below(6));
    if (below(6) == 0) {
      const Filter filters[] = {Filter::bilinear, Filter::bicubic, Filter::lanczos};
      step.float32 = true;
      step.filter = filters[below(3)];
    } else if (format.sample != Sample::uint8) {
      step.filter = Filter::nearest;
    }
    step.height = below(4) == 0 ? size.height : 1 + below(60);
    step.width = below(4) == 0 ? size.width : 1 + below(60);
    step.box_bottom = static_cast<float>(size.height);
    step.box_right = static_cast<float>(size.width);
    step.adaptive_order = below(3) != 0;
    const int box = below(4);
    if (box == 0) {
      // Fractions that no crop in whole pixels equals.
      step.box_top = 0.125f * static_cast<float>(size.height);
      step.box_left = 0.25f + 0.3f * static_cast<float>(size.width - 1);
      step.box_right -= 0.11f;
    } else if (box == 1) {
      // Exactly a crop.
      const Region part = part_of(size);
      step.height = part.height;
      step.width = part.width;
      step.box_top = static_cast<float>(part.top);
      step.box_left = static_cast<float>(part.left);
      step.box_bottom = static_cast<float>(part.top + part.height);
      step.box_right = static_cast<float>(part.left + part.width);
    }
    return step;
  }

  std::mt19937& random_;
};

// Each strip lies in memory of its own, exactly as large, so that a sanitizer sees one byte too many.
void push_in_strips(const Image& stored, const Region& region, int strip, Chain& chain) {
  const size_t bytes = static_cast<size_t>(region.width) * stored.pixel_bytes();
  for (int row = 0; row < region.height; row += strip) {
    const int count = std::min(strip, region.height - row);
    std::vector<uint8_t> rows;
    for (int i = 0; i < count; ++i) {
      const uint8_t* from = stored.at(region.top + row + i, region.left);
      rows.insert(rows.end(), from, from + bytes);
    }
    chain.push(rows.data(), static_cast<ptrdiff_t>(bytes), count);
  }
}

Dtype own_dtype(Sample sample) {
  return sample == Sample::uint8 ? Dtype::uint8 : sample == Sample::uint16 ? Dtype::uint16 : Dtype::float32;
}

std::vector<uint8_t> laid_out(const Image& image, Layout layout) {
  if (layout == Layout::nhwc) return image.data;
  const size_t bytes = sample_bytes(image.format.sample), channels = static_cast<size_t>(image.format.channels);
  const size_t plane = image.data.size() / channels;
  std::vector<uint8_t> out(image.data.size());
  for (size_t i = 0; i < plane / bytes; ++i) {
    for (size_t c = 0; c < channels; ++c) {
      std::memcpy(&out[c * plane + i * bytes], &image.data[(i * channels + c) * bytes], bytes);
    }
  }
  return out;
}

// A chain behind another one, that takes its image row by row.
struct Behind {
  Behind(const Image& image, Maker& maker) : steps(maker.steps(image.size(), image.format)), expected(image) {
    for (const Step& step : steps) expected = apply(expected, step);
    output.dtype = own_dtype(expected.format.sample);
    slot.resize(expected.data.size());
    incoming.stored = image.size();
    incoming.pushed = image.format;
    chain.emplace(incoming, steps, output, slot.data(), scratch);
  }

  std::vector<Step> steps;
  Image expected;
  Output output;
  std::vector<uint8_t> slot;
  Incoming incoming;
  TransformScratch scratch;
  std::optional<Chain> chain;
};

// One image through one chain; `part`: the decoder pushes only a part that holds what the chain wants.
void check_chain(const Image& stored, const Incoming& incoming, const std::vector<Step>& steps, bool part, Maker& maker,
                 TransformScratch& scratch) {
  Image expected = upright(incoming.to_grey ? grey(stored) : stored, incoming.orientation);
  const Size size = expected.size();
  for (const Step& step : steps) expected = apply(expected, step);
  CHECK(final_size(size, steps) == expected.size());

  Output output;
  output.layout = maker.below(2) == 0 ? Layout::nhwc : Layout::nchw;
  output.dtype = own_dtype(expected.format.sample);
  std::vector<uint8_t> slot(expected.data.size());
  CHECK(slot.size() == slot_bytes(expected.size(), expected.format.channels, output));
  Chain chain(incoming, steps, output, slot.data(), scratch);
  const bool handed_on = output.layout == Layout::nhwc && output.dtype == Dtype::uint8;
  std::optional<Behind> behind;
  if (handed_on) chain.hand_on(*behind.emplace(expected, maker).chain);
  Region pushed{0, 0, stored.height, stored.width};
  const Region wanted = chain.wanted();
  if (part && wanted.height > 0) {
    pushed = maker.around(wanted, stored.size());
    chain.expect(pushed);
  }
  push_in_strips(stored, pushed, 1 + maker.below(20), chain);
  chain.finish();
  CHECK(slot == laid_out(expected, output.layout));
  if (!handed_on) return;
  behind->chain->finish();
  CHECK(behind->slot == behind->expected.data);
}

void test_chains(std::mt19937& random, TransformScratch& scratch) {
  Maker maker(random);
  const Format formats[] = {{3, Sample::uint8},  {4, Sample::uint8},  {1, Sample::uint8},
                            {3, Sample::uint16}, {4, Sample::uint16}, {1, Sample::uint16}};
  for (int round = 0; round < 2400; ++round) {
    Incoming incoming;
    incoming.pushed = formats[round % 6];
    incoming.orientation = 1 + maker.below(8);
    incoming.to_grey = incoming.pushed.channels == 3 && maker.below(4) == 0;
    incoming.stored = {1 + maker.below(90), 1 + maker.below(90)};
    const Image stored = noise(incoming.stored.height, incoming.stored.width, incoming.pushed, random);
    const Size size = incoming.orientation >= 5 ? Size{incoming.stored.width, incoming.stored.height} : incoming.stored;
    const Format format{incoming.to_grey ? 1 : incoming.pushed.channels, incoming.pushed.sample};
    check_chain(stored, incoming, maker.steps(size, format), maker.below(2) == 0, maker, scratch);
  }
}

// A crop, alone or under a resize, is asked of the decoder, whichever way the file is turned.
void test_what_a_crop_wants(std::mt19937& random, TransformScratch& scratch) {
  Maker maker(random);
  int asked = 0;
  for (int round = 0; round < 400; ++round) {
    Incoming incoming;
    incoming.orientation = 1 + round % 8;
    incoming.stored = {20 + maker.below(60), 20 + maker.below(60)};
    const Image stored = noise(incoming.stored.height, incoming.stored.width, incoming.pushed, random);
    const Size size = incoming.orientation >= 5 ? Size{incoming.stored.width, incoming.stored.height} : incoming.stored;
    Step crop;
    crop.kind = Step::Kind::crop;
    crop.height = size.height / 3;
    crop.width = size.width / 3;
    crop.top = maker.below(size.height - crop.height + 1);
    crop.left = maker.below(size.width - crop.width + 1);
    std::vector<Step> steps{crop};
    if (round % 2 == 1) {
      Step resize;
      resize.kind = Step::Kind::resize;
      resize.height = 5;
      resize.width = 9;
      resize.box_bottom = static_cast<float>(crop.height);
      resize.box_right = static_cast<float>(crop.width);
      steps.push_back(resize);
    }
    std::vector<uint8_t> slot(slot_bytes(final_size(size, steps), 3, Output()));
    const Output output;
    const Region wanted = Chain(incoming, steps, output, slot.data(), scratch).wanted();
    asked += wanted.height > 0 && int64_t{wanted.height} * wanted.width * 9 <= int64_t{size.height} * size.width;
    check_chain(stored, incoming, steps, true, maker, scratch);
  }
  CHECK(asked == 400);
}

Step to_224(int height, int width) {
  Step step;
  step.kind = Step::Kind::resize;
  step.height = step.width = 224;
  step.box_bottom = static_cast<float>(height);
  step.box_right = static_cast<float>(width);
  return step;
}

void test_working_memory_is_strips() {
  Incoming incoming;
  incoming.stored = {3000, 4000};
  CHECK(chain_bytes(incoming, {to_224(3000, 4000)}) < 200'000);
  incoming.orientation = 6;
  CHECK(chain_bytes(incoming, {to_224(4000, 3000)}) < 1'000'000);
}

// A frame step keeps the frame it works on, and no more than that: after the resize, the small one.
void test_working_memory_of_frame_steps() {
  Incoming incoming;
  incoming.stored = {3000, 4000};
  Step pad;
  pad.kind = Step::Kind::pad;
  pad.height = pad.width = 256;
  CHECK(chain_bytes(incoming, {to_224(3000, 4000), pad}) < 800'000);
  pad.height = 3000;
  pad.width = 4000;
  CHECK(chain_bytes(incoming, {pad}) >= uint64_t{2} * 3000 * 4000 * 3);
}

void test_bottom_up_input(std::mt19937& random, TransformScratch& scratch) {
  const Image image = noise(20, 10, {}, random);
  Step step = to_224(20, 10);
  step.height = step.width = 7;
  const Image expected = apply(upright(image, 4), step);
  std::vector<uint8_t> slot(expected.data.size());
  Incoming incoming;
  incoming.stored = {20, 10};
  Chain chain(incoming, {step}, Output(), slot.data(), scratch);
  chain.push(image.at(19, 0), -30, 20);
  chain.finish();
  CHECK(slot == expected.data);
}

}  // namespace

int main() {
  std::mt19937 random(7);
  TransformScratch scratch;
  test_chains(random, scratch);
  test_what_a_crop_wants(random, scratch);
  test_working_memory_is_strips();
  test_working_memory_of_frame_steps();
  test_bottom_up_input(random, scratch);
  return penstock_test::report("test_transform");
}
