// Sizes that fit a budget of patches with the aspect kept: the twin of transform/patch_size.py.
#include <cmath>

#include "plan_builder.h"

namespace penstock {
namespace {

struct Budget {
  double max_patches, patch, multiple;
  double unit() const { return patch * multiple; }  // what both sides are multiples of
};

double units_up(double length, double scale, double unit) {
  const double units = std::ceil(length * scale / unit);
  return units > 1.0 ? units : 1.0;
}

// SigLIP 2: bisects for the largest scale whose sides, rounded up to the unit, stay within the budget.
bool rounded_up(const Budget& budget, Size image, double& rows, double& columns) {
  constexpr double kPrecision = 1e-5;
  const double unit = budget.unit(), patches_in_unit = budget.multiple * budget.multiple;
  double least = kPrecision / 10, most = 100.0;
  while (most - least >= kPrecision) {
    const double scale = (least + most) / 2;
    rows = units_up(image.height, scale, unit);
    columns = units_up(image.width, scale, unit);
    (rows * columns * patches_in_unit <= budget.max_patches ? least : most) = scale;
  }
  rows = units_up(image.height, least, unit);
  columns = units_up(image.width, least, unit);
  return rows * columns * patches_in_unit <= budget.max_patches;
}

// Gemma 4: the area of the budget at the image's aspect, sides rounded down to the unit; a side that would be none gets
// one unit, and the other as many as the aspect has, cut to the budget.
bool rounded_down(const Budget& budget, Size image, double& rows, double& columns) {
  const double height = image.height, width = image.width, unit = budget.unit();
  const double factor = std::sqrt(budget.max_patches * (budget.patch * budget.patch) / (height * width));
  rows = std::floor(factor * height / unit);
  columns = std::floor(factor * width / unit);
  const double most = std::floor(budget.max_patches / (budget.multiple * budget.multiple));
  if (rows == 0.0 && columns == 0.0) return false;
  if (rows == 0.0) {
    rows = 1.0;
    columns = std::fmin(std::floor(width / height), most);
  } else if (columns == 0.0) {
    columns = 1.0;
    rows = std::fmin(std::floor(height / width), most);
  }
  return true;
}

}  // namespace

bool plan_resize_patches(const Verb& verb, Builder& build) {
  const Budget budget{verb.p[0], verb.p[1], verb.p[2]};
  double rows = 0.0, columns = 0.0;
  const bool up = verb.rounding == Verb::Rounding::ceil;
  if (!(up ? rounded_up(budget, build.size(), rows, columns) : rounded_down(budget, build.size(), rows, columns))) {
    return build.fail("no size fits",
                      "resize: expected a size of at most " + std::to_string(static_cast<int64_t>(budget.max_patches)) +
                          " patches with sides of multiples of " + std::to_string(static_cast<int64_t>(budget.unit())) +
                          ", found none for an image of " + words(build.size()));
  }
  const int64_t unit = static_cast<int64_t>(budget.unit());
  return build.resize_all("resize", static_cast<int64_t>(rows) * unit, static_cast<int64_t>(columns) * unit, verb);
}

}  // namespace penstock
