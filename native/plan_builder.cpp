#include "plan_builder.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

// A step may not make an image that the decoder would have refused: 1 x 60000 pixels and short_side=224 ask for 9 GB.
constexpr int64_t kMaxPixels = 178956970;

Affine invert(const Affine& a) {
  const double* m = a.m;
  const double determinant = m[0] * m[4] - m[1] * m[3];
  const double ia = m[4] / determinant, ib = -m[1] / determinant;
  const double id = -m[3] / determinant, ie = m[0] / determinant;
  return Affine{{ia, ib, -(ia * m[2] + ib * m[5]), id, ie, -(id * m[2] + ie * m[5])}};
}

void set_fill(Step& step, const uint8_t fill[4]) { std::copy(fill, fill + 4, step.fill); }

bool too_many(int64_t height, int64_t width) { return height > kMaxPixels / width; }  // the product could overflow

// A mirror image has no more pixels than the image: symmetric repeats the edge, reflect does not.
bool fits(int side, int64_t padding, PadMode mode) {
  if (mode == PadMode::reflect) return padding < side;
  return mode != PadMode::symmetric || padding <= side;
}

}  // namespace

std::string words(Size size) { return "H=" + std::to_string(size.height) + " W=" + std::to_string(size.width); }

Builder::Builder(Size upright, std::vector<Step>& steps, Affine& geometry, Problem& problem)
    : size_(upright), steps_(steps), geometry_(geometry), problem_(problem) {
  steps_.clear();
  geometry_ = Affine{};
}

bool Builder::fail(const char* cause, const std::string& message) {
  problem_ = Problem{Stage::transform, cause, message};
  return false;
}

bool Builder::crop(int top, int left, int height, int width) {
  Step step;
  step.kind = Step::Kind::crop;
  step.top = top;
  step.left = left;
  step.height = height;
  step.width = width;
  return add(step, {1.0, 0.0, -static_cast<double>(left), 0.0, 1.0, -static_cast<double>(top)}, {height, width});
}

bool Builder::resize(const char* verb, int64_t height, int64_t width, const Verb& settings, const double box[4]) {
  if (height < 1 || width < 1) {
    return fail("side rounds to 0", std::string(verb) +
                                        ": expected a size of at least H=1 W=1, found H=" + std::to_string(height) +
                                        " W=" + std::to_string(width) + " for an image of " + words(size_));
  }
  if (too_many(height, width)) {
    return fail("too many pixels", std::string(verb) + ": expected at most " + std::to_string(kMaxPixels) +
                                       " pixels, found H=" + std::to_string(height) + " W=" + std::to_string(width));
  }
  Step step;
  step.kind = Step::Kind::resize;
  step.height = static_cast<int>(height);
  step.width = static_cast<int>(width);
  step.box_top = static_cast<float>(box[0]);
  step.box_left = static_cast<float>(box[1]);
  step.box_bottom = static_cast<float>(box[2]);
  step.box_right = static_cast<float>(box[3]);
  step.filter = settings.filter;
  step.float32 = settings.float32;
  const double top = step.box_top, left = step.box_left;
  const double box_height = static_cast<double>(step.box_bottom) - top;
  const double box_width = static_cast<double>(step.box_right) - left;
  if (!(box_height > 0.0) || !(box_width > 0.0)) {
    return fail("side rounds to 0",
                std::string(verb) + ": expected a box of some size, found none left in an image of " + words(size_));
  }
  const double y_scale = static_cast<double>(height) / box_height;
  const double x_scale = static_cast<double>(width) / box_width;
  return add(step, {x_scale, 0.0, 0.0 - left * x_scale, 0.0, y_scale, 0.0 - top * y_scale}, {step.height, step.width});
}

bool Builder::resize_all(const char* verb, int64_t height, int64_t width, const Verb& settings) {
  const double box[4] = {0.0, 0.0, static_cast<double>(size_.height), static_cast<double>(size_.width)};
  return resize(verb, height, width, settings, box);
}

bool Builder::flip_x() {
  Step step;
  step.kind = Step::Kind::flip_x;
  return add(step, {-1.0, 0.0, static_cast<double>(size_.width), 0.0, 1.0, 0.0}, size_);
}

bool Builder::flip_y() {
  Step step;
  step.kind = Step::Kind::flip_y;
  return add(step, {1.0, 0.0, 0.0, 0.0, -1.0, static_cast<double>(size_.height)}, size_);
}

bool Builder::rotate90(int turns) {
  if (turns == 0) return true;
  Step step;
  step.kind = Step::Kind::rotate90;
  step.turns = turns;
  const double h = size_.height, w = size_.width;
  if (turns == 1) return add(step, {0.0, 1.0, 0.0, -1.0, 0.0, w}, {size_.width, size_.height});
  if (turns == 2) return add(step, {-1.0, 0.0, w, 0.0, -1.0, h}, size_);
  return add(step, {0.0, -1.0, h, 1.0, 0.0, 0.0}, {size_.width, size_.height});
}

bool Builder::pad(const char* verb, int64_t top, int64_t left, int64_t bottom, int64_t right, PadMode mode,
                  const uint8_t fill[4]) {
  if (top == 0 && left == 0 && bottom == 0 && right == 0) return true;
  const int64_t height = size_.height + top + bottom, width = size_.width + left + right;
  if (too_many(height, width)) {
    return fail("too many pixels", std::string(verb) + ": expected at most " + std::to_string(kMaxPixels) +
                                       " pixels, found H=" + std::to_string(height) + " W=" + std::to_string(width));
  }
  if (!fits(size_.height, std::max(top, bottom), mode) || !fits(size_.width, std::max(left, right), mode)) {
    return fail("padding larger than the image",
                std::string(verb) + ": expected " + (mode == PadMode::reflect ? "less" : "no more") +
                    " padding than the image has pixels for its mode, found top=" + std::to_string(top) +
                    " left=" + std::to_string(left) + " bottom=" + std::to_string(bottom) +
                    " right=" + std::to_string(right) + " around an image of " + words(size_));
  }
  Step step;
  step.kind = Step::Kind::pad;
  step.top = static_cast<int>(top);
  step.left = static_cast<int>(left);
  step.height = static_cast<int>(height);
  step.width = static_cast<int>(width);
  step.pad_mode = mode;
  set_fill(step, fill);
  return add(step, {1.0, 0.0, static_cast<double>(left), 0.0, 1.0, static_cast<double>(top)},
             {step.height, step.width});
}

bool Builder::warp(const char* verb, const Affine& forward, int height, int width, Filter filter,
                   const uint8_t fill[4]) {
  const double determinant = forward.m[0] * forward.m[4] - forward.m[1] * forward.m[3];
  for (double value : forward.m) {
    if (!std::isfinite(value)) {
      return fail("broken matrix", std::string(verb) + ": expected six finite numbers, found one that is not");
    }
  }
  if (!(std::fabs(determinant) > 0.0)) {
    return fail("broken matrix", std::string(verb) + ": expected a matrix that can be inverted, found determinant 0");
  }
  return warp_inverse(verb, invert(forward).m, height, width, filter, fill);
}

bool Builder::warp_inverse(const char* verb, const double inverse[6], int height, int width, Filter filter,
                           const uint8_t fill[4]) {
  if (too_many(height, width)) {
    return fail("too many pixels", std::string(verb) + ": expected at most " + std::to_string(kMaxPixels) +
                                       " pixels, found H=" + std::to_string(height) + " W=" + std::to_string(width));
  }
  Step step;
  step.kind = Step::Kind::warp;
  step.height = height;
  step.width = width;
  step.filter = filter;
  std::copy(inverse, inverse + 6, step.inverse);
  set_fill(step, fill);
  Affine backward;
  std::copy(inverse, inverse + 6, backward.m);
  return add(step, invert(backward), {height, width});
}

bool Builder::erase(int top, int left, int height, int width, const uint8_t fill[4]) {
  Step step;
  step.kind = Step::Kind::erase;
  step.top = top;
  step.left = left;
  step.height = height;
  step.width = width;
  set_fill(step, fill);
  return add(step, Affine{}, size_);
}

bool Builder::color(ColorOp op, double amount) {
  Step step;
  step.kind = Step::Kind::color;
  step.op = op;
  step.amount = amount;
  return add(step, Affine{}, size_);
}

bool Builder::jpeg(int quality) {
  constexpr int kLongestJpegSide = 65500;
  if (size_.height > kLongestJpegSide || size_.width > kLongestJpegSide) {
    return fail("too large for JPEG", "jpeg_roundtrip: expected sides of at most " + std::to_string(kLongestJpegSide) +
                                          " pixels, found " + words(size_));
  }
  Step step;
  step.kind = Step::Kind::jpeg;
  step.quality = quality;
  return add(step, Affine{}, size_);
}

bool Builder::add(const Step& step, const Affine& affine, Size size) {
  steps_.push_back(step);
  geometry_ = compose(geometry_, affine);
  size_ = size;
  return true;
}

}  // namespace penstock
