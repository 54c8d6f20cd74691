#include <cmath>
#include <cstdlib>
#include <vector>

#include "../plan.h"
#include "check.h"

using namespace penstock;

namespace {

struct Resolved {
  bool ok = false;
  std::vector<Step> steps;
  Affine affine;
  Problem problem;
};

Resolved resolved(const std::vector<Verb>& verbs, Size size, const DrawKey& key = {}) {
  Resolved out;
  out.ok = resolve(verbs, size, key, {}, out.steps, out.affine, out.problem);
  return out;
}

Verb verb(Verb::Kind kind, int height = 0, int width = 0) {
  Verb v;
  v.kind = kind;
  v.height = height;
  v.width = width;
  return v;
}

bool same(const Affine& affine, std::vector<double> expected) {
  for (size_t i = 0; i < 6; ++i) {
    if (affine.m[i] != expected[i]) return false;
  }
  return true;
}

// The same numbers stand in tests/golden/random_draws.json, which the Python twin is held to.
void draws_are_golden() {
  Draws zero({0, 0, 0}, 0);
  CHECK(zero.bits() == 0x78ae5a9a6b5fd45eu);
  CHECK(zero.bits() == 0xb9895a2b68592df1u);
  CHECK(zero.bits() == 0x4d936ece81fe4f66u);
  Draws other({1, 2, 3}, 4);
  CHECK(other.bits() == 0x68055585a968b899u);
}

void draws_stay_in_their_range() {
  Draws draws({7, 0, 1}, 0);
  double sum = 0;
  for (int i = 0; i < 20000; ++i) {
    const double u = draws.uniform();
    CHECK(u >= 0.0 && u < 1.0);
    sum += u;
    const int64_t k = draws.integer(3);
    CHECK(k >= 0 && k < 3);
    const double v = draws.uniform(-2.0, 5.0);
    CHECK(v >= -2.0 && v < 5.0);
  }
  CHECK(std::fabs(sum / 20000 - 0.5) < 0.01);
  CHECK(draws.integer(1) == 0);
  CHECK(draws.integer(INT64_MAX) >= 0);
}

void resize_fills_and_covers() {
  const Resolved fill = resolved({verb(Verb::Kind::resize, 10, 20)}, {100, 400});
  CHECK(fill.ok && fill.steps.size() == 1);
  CHECK(fill.steps[0].kind == Step::Kind::resize && fill.steps[0].height == 10 && fill.steps[0].width == 20);
  CHECK(fill.steps[0].box_bottom == 100 && fill.steps[0].box_right == 400);
  CHECK(same(fill.affine, {0.05, 0, 0, 0, 0.1, 0}));

  Verb cover = verb(Verb::Kind::resize, 10, 20);
  cover.fit = Verb::Fit::cover;
  const Resolved wide = resolved({cover}, {100, 400});
  CHECK(wide.ok && wide.steps[0].box_left == 100 && wide.steps[0].box_right == 300);
  CHECK(wide.steps[0].box_top == 0 && wide.steps[0].box_bottom == 100);
  CHECK(same(wide.affine, {0.1, 0, -10, 0, 0.1, 0}));
  const Resolved tall = resolved({cover}, {400, 100});
  CHECK(tall.ok && tall.steps[0].box_top == 175 && tall.steps[0].box_bottom == 225);
}

void short_side_keeps_the_aspect() {
  const Resolved wide = resolved({verb(Verb::Kind::resize_short_side, 256)}, {375, 500});
  CHECK(wide.ok && wide.steps[0].height == 256 && wide.steps[0].width == 341);
  const Resolved tall = resolved({verb(Verb::Kind::resize_short_side, 256)}, {500, 375});
  CHECK(tall.ok && tall.steps[0].height == 341 && tall.steps[0].width == 256);
}

void a_step_never_makes_too_many_pixels() {
  const Resolved thin = resolved({verb(Verb::Kind::resize_short_side, 224)}, {1, 60000});
  CHECK(!thin.ok && thin.problem.stage == Stage::transform && thin.problem.cause == "too many pixels");
  CHECK(!resolved({verb(Verb::Kind::resize_short_side, 100000000)}, {1, 2000000000}).ok);  // products beyond 64 bits
}

void center_crop_rounds_both_ways() {
  for (const int space : {0, 1, 2, 3, 4, 5, 6, 7}) {
    Verb crop = verb(Verb::Kind::center_crop, 10, 10);
    const Resolved even = resolved({crop}, {10 + space, 10});
    CHECK(even.ok && even.steps[0].top == static_cast<int>(std::nearbyint(space / 2.0)));
    crop.rounding = Verb::Rounding::floor;
    const Resolved floor = resolved({crop}, {10, 10 + space});
    CHECK(floor.ok && floor.steps[0].left == space / 2);
  }
  // Smaller images are padded: by torchvision's rule the odd pixel at the end, by Hugging Face's at the start.
  for (const Verb::Rounding rounding : {Verb::Rounding::even, Verb::Rounding::floor}) {
    Verb crop = verb(Verb::Kind::center_crop, 224, 224);
    crop.rounding = rounding;
    const Resolved small = resolved({crop}, {101, 300});
    CHECK(small.ok && small.steps.size() == 2 && small.steps[0].kind == Step::Kind::pad);
    CHECK(small.steps[0].top == (rounding == Verb::Rounding::even ? 61 : 62) && small.steps[0].left == 0);
    CHECK(small.steps[0].height == 224 && small.steps[0].width == 300);
    CHECK(small.steps[1].left == 38 && small.steps[1].top == 0);
  }
}

void random_crops_stay_inside() {
  Verb crop = verb(Verb::Kind::random_resized_crop, 32, 48);
  crop.p = {0.08, 1.0, 3.0 / 4.0, 4.0 / 3.0};
  for (uint64_t index = 0; index < 3000; ++index) {
    const Size size{1 + static_cast<int>(index * 7 % 311), 1 + static_cast<int>(index * 13 % 401)};
    const Resolved out = resolved({crop}, size, {1, 2, index});
    CHECK(out.ok && out.steps.size() == 2);
    const Step& part = out.steps[0];
    CHECK(part.top >= 0 && part.left >= 0 && part.height > 0 && part.width > 0);
    CHECK(part.top + part.height <= size.height && part.left + part.width <= size.width);
    CHECK(out.steps[1].box_bottom == static_cast<float>(part.height));
  }
  crop.p[2] = crop.p[3] = 100.0;  // as wide as never fits: the central crop, whose height rounds to 0
  const Resolved none = resolved({crop}, {50, 1});
  CHECK(!none.ok && none.problem.cause == "side rounds to 0");
}

void contain_and_inside_keep_the_aspect() {
  Verb resize = verb(Verb::Kind::resize, 224, 224);
  resize.fit = Verb::Fit::contain;
  resize.fill[1] = 9;
  const Resolved wide = resolved({resize}, {101, 400});
  CHECK(wide.ok && wide.steps.size() == 2);
  CHECK(wide.steps[0].height == 57 && wide.steps[0].width == 224);  // 101 / 400 * 224 = 56.56
  CHECK(wide.steps[1].kind == Step::Kind::pad && wide.steps[1].top == 84 && wide.steps[1].height == 224);  // 83.5
  CHECK(wide.steps[1].fill[1] == 9);
  CHECK(resolved({resize}, {300, 300}).steps.size() == 1);
  CHECK(!resolved({resize}, {1, 60000}).ok);
  resize.fit = Verb::Fit::inside;
  CHECK(resolved({resize}, {10, 20}).steps.size() == 1);
  resize.enlarge = false;
  CHECK(resolved({resize}, {10, 20}).steps.empty());
  resize.float32 = true;  // what a sample is must not depend on the size
  const Resolved left = resolved({resize}, {10, 20});
  CHECK(left.steps.size() == 1 && left.steps[0].float32 && left.steps[0].height == 10 && left.steps[0].width == 20);
}

void sides_are_capped() {
  Verb detr = verb(Verb::Kind::resize_short_side, 800, 1333);
  detr.rounding = Verb::Rounding::floor;
  const Resolved cut = resolved({detr}, {500, 1000});
  CHECK(cut.ok && cut.steps[0].height == 666 && cut.steps[0].width == 1333);
  detr.rounding = Verb::Rounding::even;
  const Resolved rounded = resolved({detr}, {1001, 500});
  CHECK(rounded.ok && rounded.steps[0].height == 1333 && rounded.steps[0].width == 666);
  const Resolved long_side = resolved({verb(Verb::Kind::resize_long_side, 100)}, {75, 200});
  CHECK(long_side.ok && long_side.steps[0].height == 37 && long_side.steps[0].width == 100);
  CHECK(!resolved({verb(Verb::Kind::resize_long_side, 1)}, {75, 200}).ok);
}

void pads_and_crops_say_what_they_cannot() {
  Verb pad = verb(Verb::Kind::pad);
  pad.p = {1, 2, 3, 4};
  const Resolved padded = resolved({pad}, {10, 20});
  CHECK(padded.ok && padded.steps[0].height == 14 && padded.steps[0].width == 26);
  CHECK(same(padded.affine, {1, 0, 2, 0, 1, 1}));
  pad.pad_mode = PadMode::reflect;
  CHECK(resolved({pad}, {4, 5}).ok);
  const Resolved small = resolved({pad}, {3, 5});
  CHECK(!small.ok && small.problem.cause == "padding larger than the image");
  pad.pad_mode = PadMode::symmetric;
  CHECK(resolved({pad}, {3, 4}).ok && !resolved({pad}, {3, 3}).ok);

  Verb to = verb(Verb::Kind::pad_to, 10, 10);
  to.rounding = Verb::Rounding::floor;
  CHECK(resolved({to}, {7, 10}).steps[0].top == 1);
  to.rounding = Verb::Rounding::start;
  CHECK(resolved({to}, {7, 10}).steps[0].top == 0);
  CHECK(resolved({to}, {10, 10}).steps.empty());
  CHECK(!resolved({to}, {11, 10}).ok);
  const Resolved multiple = resolved({verb(Verb::Kind::pad_to_multiple, 32, 32)}, {33, 64});
  CHECK(multiple.ok && multiple.steps[0].height == 64 && multiple.steps[0].width == 64);

  Verb crop = verb(Verb::Kind::crop, 3, 4);
  crop.p = {5, 6};
  CHECK(resolved({crop}, {8, 10}).ok);
  CHECK(!resolved({crop}, {7, 10}).ok && !resolved({crop}, {8, 9}).ok);
}

void random_verbs_stay_inside() {
  Verb crop = verb(Verb::Kind::random_crop, 32, 32);
  crop.p = {4, 4, 4, 4, 1};
  Verb erase = verb(Verb::Kind::random_erasing);
  erase.p = {1.0, 0.02, 0.33, 0.3, 3.3};
  Verb turn = verb(Verb::Kind::random_rotate90);
  turn.p = {1.0};
  int turned[4] = {0, 0, 0, 0};
  for (uint64_t index = 0; index < 3000; ++index) {
    const Size size{1 + static_cast<int>(index * 7 % 61), 1 + static_cast<int>(index * 13 % 71)};
    const Resolved out = resolved({crop, erase}, size, {1, 2, index});
    CHECK(out.ok);
    Size now = size;
    for (const Step& step : out.steps) {
      if (step.kind != Step::Kind::pad) {
        CHECK(step.top >= 0 && step.left >= 0 && step.height > 0 && step.width > 0);
        CHECK(step.top + step.height <= now.height && step.left + step.width <= now.width);
      }
      if (step.kind != Step::Kind::erase) now = {step.height, step.width};
    }
    CHECK(now == (Size{32, 32}));
    ++turned[resolved({turn}, size, {1, 2, index}).steps[0].turns];
  }
  CHECK(turned[0] == 0 && turned[1] > 900 && turned[2] > 900 && turned[3] > 900);
  crop.p[4] = 0;
  CHECK(resolved({crop}, {20, 40}).problem.message ==
        "random_crop: expected an image of at least H=32 W=32, found H=28 W=48");
}

void flips_as_often_as_asked() {
  Verb flip = verb(Verb::Kind::random_horizontal_flip);
  flip.p = {0.25};
  int flipped = 0;
  for (uint64_t index = 0; index < 20000; ++index) {
    flipped += static_cast<int>(resolved({flip}, {4, 6}, {0, 0, index}).steps.size());
  }
  CHECK(std::abs(flipped - 5000) < 300);
  flip.p[0] = 0.0;
  CHECK(resolved({flip}, {4, 6}).steps.empty());
  flip.p[0] = 1.0;
  CHECK(same(resolved({flip}, {4, 6}).affine, {-1, 0, 6, 0, 1, 0}));
}

void orientations_turn_corners() {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Size stored{30, 70}, upright = upright_size(stored, orientation);
    CHECK(upright == (orientation < 5 ? stored : Size{70, 30}));
    const Affine a = orientation_affine(stored, orientation);
    // Every corner of the stored image is a corner of the upright one.
    for (const double x : {0.0, 70.0}) {
      for (const double y : {0.0, 30.0}) {
        const double u = a.m[0] * x + a.m[1] * y + a.m[2], v = a.m[3] * x + a.m[4] * y + a.m[5];
        CHECK((u == 0 || u == upright.width) && (v == 0 || v == upright.height));
      }
    }
  }
  CHECK(same(orientation_affine({30, 70}, 6), {0, -1, 30, 1, 0, 0}));
}

}  // namespace

int main() {
  draws_are_golden();
  draws_stay_in_their_range();
  resize_fills_and_covers();
  short_side_keeps_the_aspect();
  a_step_never_makes_too_many_pixels();
  center_crop_rounds_both_ways();
  contain_and_inside_keep_the_aspect();
  sides_are_capped();
  pads_and_crops_say_what_they_cannot();
  random_crops_stay_inside();
  random_verbs_stay_inside();
  flips_as_often_as_asked();
  orientations_turn_corners();
  return penstock_test::report("test_plan");
}
