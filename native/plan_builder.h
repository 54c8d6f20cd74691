// How verbs become steps: the steps so far, the size they lead to, and the way back to the source's pixels.
#pragma once

#include <string>

#include "plan.h"

namespace penstock {

class Builder {
 public:
  Builder(Size upright, std::vector<Step>& steps, Affine& geometry, Problem& problem);

  Size size() const { return size_; }
  // Stage transform; always false, so that a caller can return it.
  bool fail(const char* cause, const std::string& message);

  // Each adds one step and composes its affine; false where it cannot be (the problem says why).
  bool crop(int top, int left, int height, int width);  // must lie inside
  // The box in doubles, as Python holds it; the step takes float32, as Pillow's C code does.
  bool resize(const char* verb, int64_t height, int64_t width, const Verb& settings, const double box[4]);
  bool resize_all(const char* verb, int64_t height, int64_t width, const Verb& settings);
  bool flip_x();
  bool flip_y();
  bool rotate90(int turns);  // counter-clockwise quarter turns, 0 to 3
  bool pad(const char* verb, int64_t top, int64_t left, int64_t bottom, int64_t right, PadMode mode,
           const uint8_t fill[4]);
  // `forward` takes input pixels to output pixels; the step gets its inverse as Pillow's AFFINE data.
  bool warp(const char* verb, const Affine& forward, int height, int width, Filter filter, const uint8_t fill[4]);
  // The same with the inverse given, as torchvision computes it: kept to the last bit.
  bool warp_inverse(const char* verb, const double inverse[6], int height, int width, Filter filter,
                    const uint8_t fill[4]);
  bool erase(int top, int left, int height, int width, const uint8_t fill[4]);
  bool color(ColorOp op, double amount);
  bool jpeg(int quality);

 private:
  bool add(const Step& step, const Affine& affine, Size size);

  Size size_;
  std::vector<Step>& steps_;
  Affine& geometry_;
  Problem& problem_;
};

std::string words(Size size);  // "H=3 W=4"

// One function a verb, in plan_fits.cpp, plan_random.cpp and plan_augment.cpp; each the twin of a verb's `steps()`.
bool plan_resize(const Verb& verb, Builder& build);
bool plan_resize_short_side(const Verb& verb, Builder& build);
bool plan_resize_long_side(const Verb& verb, Builder& build);
bool plan_resize_patches(const Verb& verb, Builder& build);
bool plan_center_crop(const Verb& verb, Builder& build);
bool plan_crop(const Verb& verb, Builder& build);
bool plan_pad(const Verb& verb, Builder& build);
bool plan_pad_to(const Verb& verb, Builder& build);
bool plan_pad_to_multiple(const Verb& verb, Builder& build);
bool plan_random_resized_crop(const Verb& verb, Draws draws, Builder& build);
bool plan_random_crop(const Verb& verb, Draws draws, Builder& build);
bool plan_random_erasing(const Verb& verb, Draws draws, Builder& build);
bool plan_random_rotate90(const Verb& verb, Draws draws, Builder& build);
bool plan_random_color_jitter(const Verb& verb, Draws draws, Builder& build);
bool plan_rand_augment(const Verb& verb, Draws draws, Builder& build);
bool plan_trivial_augment(const Verb& verb, Draws draws, Builder& build);
bool plan_random_affine(const Verb& verb, Draws draws, Builder& build);

}  // namespace penstock
