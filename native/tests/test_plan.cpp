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
  out.ok = resolve(verbs, size, key, out.steps, out.affine, out.problem);
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
  const Resolved small = resolved({verb(Verb::Kind::center_crop, 224, 224)}, {100, 300});
  CHECK(!small.ok);
  CHECK(small.problem.message == "center_crop: expected an image of at least H=224 W=224, found H=100 W=300");
}

void random_crops_stay_inside() {
  Verb crop = verb(Verb::Kind::random_resized_crop, 32, 48);
  crop.p[0] = 0.08;
  crop.p[1] = 1.0;
  crop.p[2] = 3.0 / 4.0;
  crop.p[3] = 4.0 / 3.0;
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

void flips_as_often_as_asked() {
  Verb flip = verb(Verb::Kind::random_horizontal_flip);
  flip.p[0] = 0.25;
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
  random_crops_stay_inside();
  flips_as_often_as_asked();
  orientations_turn_corners();
  return penstock_test::report("test_plan");
}
