// The verbs that draw colours and small moves, after torchvision's transforms v2 on Pillow images.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "plan_builder.h"

namespace penstock {
namespace {

constexpr double kPi = 3.141592653589793;

double radians(double degrees) { return degrees * (kPi / 180.0); }
double degrees(double radians) { return radians * (180.0 / kPi); }

// Python's round(value, 15), for values in [-1, 1]: to the nearest decimal of 15 places, and back.
double round_to_15_places(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.15f", value);
  return std::strtod(text, nullptr);
}

// What a draw may have made of the matrix is checked here, because the step keeps the inverse as it is.
bool warp(const char* verb, const double inverse[6], const Verb& settings, Builder& build) {
  const double determinant = inverse[0] * inverse[4] - inverse[1] * inverse[3];
  bool finite = std::isfinite(determinant);
  for (int i = 0; i < 6; ++i) finite = finite && std::isfinite(inverse[i]);
  if (!finite || determinant == 0.0) {
    return build.fail("broken matrix", std::string(verb) +
                                           ": expected a matrix that can be inverted, found one that "
                                           "cannot; a smaller shear avoids it");
  }
  const Size size = build.size();
  return build.warp_inverse(verb, inverse, size.height, size.width, settings.filter, settings.fill);
}

struct Move {
  double angle = 0.0, x = 0.0, y = 0.0, scale = 1.0, shear_x = 0.0, shear_y = 0.0;  // degrees and pixels
};

// torchvision's inverse affine matrix (transforms v2), operation by operation.
bool affine(const char* verb, const Move& move, double center_x, double center_y, const Verb& settings,
            Builder& build) {
  const double turn = radians(move.angle), shear_x = radians(move.shear_x), shear_y = radians(move.shear_y);
  const double cos_shear = std::cos(shear_y), tan_shear = std::tan(shear_x), turned = turn - shear_y;
  const double x = center_x + move.x, y = center_y + move.y;
  const double a = std::cos(turned) / cos_shear;
  const double b = -(a * tan_shear + std::sin(turn));
  const double c = std::sin(turned) / cos_shear;
  const double d = std::cos(turn) - c * tan_shear;
  double m[6] = {d / move.scale, -b / move.scale, 0.0, -c / move.scale, a / move.scale, 0.0};
  m[2] += center_x - m[0] * x - m[1] * y;
  m[5] += center_y - m[3] * x - m[4] * y;
  return warp(verb, m, settings, build);
}

// Pillow's Image.rotate about the middle, counter-clockwise. It answers turns by 90 degrees without a matrix; its
// matrix has whole entries there and gives the same pixels.
bool rotate(const char* verb, double angle, const Verb& settings, Builder& build) {
  double whole = std::fmod(angle, 360.0);  // Python's modulo: never negative
  if (whole < 0.0) whole += 360.0;
  const double turn = -radians(whole);
  const double center_x = build.size().width / 2.0, center_y = build.size().height / 2.0;
  const double cosine = round_to_15_places(std::cos(turn));
  double m[6] = {cosine, round_to_15_places(std::sin(turn)), 0.0, round_to_15_places(-std::sin(turn)), cosine, 0.0};
  m[2] = m[0] * -center_x + m[1] * -center_y + 0.0;
  m[5] = m[3] * -center_x + m[4] * -center_y + 0.0;
  m[2] += center_x;
  m[5] += center_y;
  return warp(verb, m, settings, build);
}

// The operations of RandAugment and TrivialAugmentWide in torchvision's order, which is what a draw picks from.
enum class Operation : int {
  identity,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
  rotate,
  brightness,
  saturation,
  contrast,
  sharpness,
  posterize,
  solarize,
  autocontrast,
  equalize,
};
constexpr int kOperations = 14;

bool is_signed(Operation operation) { return operation >= Operation::shear_x && operation <= Operation::sharpness; }
bool has_magnitude(Operation operation) { return operation >= Operation::shear_x && operation <= Operation::solarize; }

// The greatest magnitude of each kind; the least is 0.
struct Space {
  double shear, translate_x, translate_y, rotate, enhance, bits;
};

// torch.linspace(start, stop, bins)[bin] in float32, from the nearer end; where the processor can, torch fuses the
// multiplication with the addition, so here they are rounded once.
double linspace(double start, double stop, int bins, int bin) {
  const float first = static_cast<float>(start), last = static_cast<float>(stop);
  const float step = (last - first) / static_cast<float>(bins - 1);
  const double from_first = static_cast<double>(first) + static_cast<double>(step) * bin;
  const double from_last = static_cast<double>(last) - static_cast<double>(step) * (bins - 1 - bin);
  return static_cast<float>(bin < bins / 2 ? from_first : from_last);
}

double magnitude_of(Operation operation, const Space& space, int bins, int bin) {
  switch (operation) {
    case Operation::shear_x:
    case Operation::shear_y:
      return linspace(0.0, space.shear, bins, bin);
    case Operation::translate_x:
      return linspace(0.0, space.translate_x, bins, bin);
    case Operation::translate_y:
      return linspace(0.0, space.translate_y, bins, bin);
    case Operation::rotate:
      return linspace(0.0, space.rotate, bins, bin);
    case Operation::posterize: {
      const float taken = static_cast<float>(bin) / static_cast<float>((bins - 1) / space.bits);
      return std::nearbyint(8.0f - taken);
    }
    case Operation::solarize:
      return linspace(1.0, 0.0, bins, bin);
    default:
      return linspace(0.0, space.enhance, bins, bin);
  }
}

bool augment(const char* name, Operation operation, double magnitude, const Verb& verb, Builder& build) {
  Move move;
  const double center_x = build.size().width * 0.5, center_y = build.size().height * 0.5;
  switch (operation) {
    case Operation::identity:
      return true;
    case Operation::shear_x:
      move.shear_x = degrees(std::atan(magnitude));
      return affine(name, move, 0.0, 0.0, verb, build);
    case Operation::shear_y:
      move.shear_y = degrees(std::atan(magnitude));
      return affine(name, move, 0.0, 0.0, verb, build);
    case Operation::translate_x:
      move.x = std::trunc(magnitude);
      return affine(name, move, center_x, center_y, verb, build);
    case Operation::translate_y:
      move.y = std::trunc(magnitude);
      return affine(name, move, center_x, center_y, verb, build);
    case Operation::rotate:
      return rotate(name, magnitude, verb, build);
    case Operation::brightness:
      return build.color(ColorOp::brightness, 1.0 + magnitude);
    case Operation::saturation:
      return build.color(ColorOp::saturation, 1.0 + magnitude);
    case Operation::contrast:
      return build.color(ColorOp::contrast, 1.0 + magnitude);
    case Operation::sharpness:
      return build.color(ColorOp::sharpness, 1.0 + magnitude);
    case Operation::posterize:
      return build.color(ColorOp::posterize, magnitude);
    case Operation::solarize:
      return build.color(ColorOp::solarize, 255.0 * magnitude);
    case Operation::autocontrast:
      return build.color(ColorOp::autocontrast, 0.0);
    case Operation::equalize:
      return build.color(ColorOp::equalize, 0.0);
  }
  return true;
}

double with_sign(Operation operation, double magnitude, Draws& draws) {
  return is_signed(operation) && draws.uniform() <= 0.5 ? -magnitude : magnitude;
}

}  // namespace

bool plan_random_color_jitter(const Verb& verb, Draws draws, Builder& build) {
  constexpr std::array<ColorOp, 4> kOps = {ColorOp::brightness, ColorOp::contrast, ColorOp::saturation, ColorOp::hue};
  constexpr std::array<double, 4> kUnchanged = {1.0, 1.0, 1.0, 0.0};
  // One draw below 4! picks the order: its digits to the bases 4, 3, 2 say which of the ops left comes next.
  std::array<size_t, 4> left = {0, 1, 2, 3}, order{};
  int64_t code = draws.integer(24);
  for (size_t place = 0; place < 4; ++place) {
    const int64_t choices = static_cast<int64_t>(4 - place);
    const size_t chosen = static_cast<size_t>(code % choices);
    code /= choices;
    order[place] = left[chosen];
    for (size_t i = chosen; i + 1 < 4 - place; ++i) left[i] = left[i + 1];
  }
  std::array<double, 4> factors{};
  for (size_t op = 0; op < 4; ++op) factors[op] = draws.uniform(verb.p[2 * op], verb.p[2 * op + 1]);
  for (size_t op : order) {
    if (verb.p[2 * op] == kUnchanged[op] && verb.p[2 * op + 1] == kUnchanged[op]) continue;
    if (!build.color(kOps[op], factors[op])) return false;
  }
  return true;
}

bool plan_rand_augment(const Verb& verb, Draws draws, Builder& build) {
  const int operations = static_cast<int>(verb.p[0]), bin = static_cast<int>(verb.p[1]);
  const int bins = static_cast<int>(verb.p[2]);
  const Space space = {0.3, 150.0 / 331.0 * build.size().width, 150.0 / 331.0 * build.size().height, 30.0, 0.9, 4.0};
  for (int i = 0; i < operations; ++i) {
    const Operation operation = static_cast<Operation>(draws.integer(kOperations));
    double magnitude = 0.0;
    if (has_magnitude(operation)) {
      magnitude = with_sign(operation, magnitude_of(operation, space, bins, bin), draws);
    }
    if (!augment("rand_augment", operation, magnitude, verb, build)) return false;
  }
  return true;
}

bool plan_trivial_augment(const Verb& verb, Draws draws, Builder& build) {
  const int bins = static_cast<int>(verb.p[0]);
  constexpr Space kSpace = {0.99, 32.0, 32.0, 135.0, 0.99, 6.0};
  const Operation operation = static_cast<Operation>(draws.integer(kOperations));
  double magnitude = 0.0;
  if (has_magnitude(operation)) {
    const int bin = static_cast<int>(draws.integer(bins));
    magnitude = with_sign(operation, magnitude_of(operation, kSpace, bins, bin), draws);
  }
  return augment("trivial_augment", operation, magnitude, verb, build);
}

bool plan_random_affine(const Verb& verb, Draws draws, Builder& build) {
  const double height = build.size().height, width = build.size().width;
  const double far_x = verb.p[2] * width, far_y = verb.p[3] * height;
  Move move;
  move.angle = draws.uniform(verb.p[0], verb.p[1]);
  move.x = std::nearbyint(draws.uniform(-far_x, far_x));  // half to even, as Python's round
  move.y = std::nearbyint(draws.uniform(-far_y, far_y));
  move.scale = draws.uniform(verb.p[4], verb.p[5]);
  move.shear_x = draws.uniform(verb.p[6], verb.p[7]);
  move.shear_y = draws.uniform(verb.p[8], verb.p[9]);
  return affine("random_affine", move, width * 0.5, height * 0.5, verb, build);
}

}  // namespace penstock
