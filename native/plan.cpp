// Which verb becomes which steps, and the geometry of orientations.
#include "plan.h"

#include "plan_builder.h"

namespace penstock {
namespace {

bool resolve_one(const Verb& verb, const DrawKey& key, const std::vector<Affine>& affines, size_t& warps,
                 Builder& build) {
  Draws draws(key, static_cast<uint64_t>(verb.ordinal));
  switch (verb.kind) {
    case Verb::Kind::resize:
      return plan_resize(verb, build);
    case Verb::Kind::resize_short_side:
      return plan_resize_short_side(verb, build);
    case Verb::Kind::resize_long_side:
      return plan_resize_long_side(verb, build);
    case Verb::Kind::resize_patches:
      return plan_resize_patches(verb, build);
    case Verb::Kind::center_crop:
      return plan_center_crop(verb, build);
    case Verb::Kind::crop:
      return plan_crop(verb, build);
    case Verb::Kind::pad:
      return plan_pad(verb, build);
    case Verb::Kind::pad_to:
      return plan_pad_to(verb, build);
    case Verb::Kind::pad_to_multiple:
      return plan_pad_to_multiple(verb, build);
    case Verb::Kind::random_resized_crop:
      return plan_random_resized_crop(verb, draws, build);
    case Verb::Kind::random_crop:
      return plan_random_crop(verb, draws, build);
    case Verb::Kind::random_erasing:
      return plan_random_erasing(verb, draws, build);
    case Verb::Kind::random_rotate90:
      return plan_random_rotate90(verb, draws, build);
    case Verb::Kind::random_color_jitter:
      return plan_random_color_jitter(verb, draws, build);
    case Verb::Kind::rand_augment:
      return plan_rand_augment(verb, draws, build);
    case Verb::Kind::trivial_augment:
      return plan_trivial_augment(verb, draws, build);
    case Verb::Kind::random_affine:
      return plan_random_affine(verb, draws, build);
    case Verb::Kind::random_horizontal_flip:
      return draws.uniform() < verb.p[0] ? build.flip_x() : true;
    case Verb::Kind::random_vertical_flip:
      return draws.uniform() < verb.p[0] ? build.flip_y() : true;
    case Verb::Kind::random_grayscale:
      return draws.uniform() < verb.p[0] ? build.color(ColorOp::greyscale, 0.0) : true;
    case Verb::Kind::jpeg_roundtrip:
      return build.jpeg(static_cast<int>(verb.p[0]));
    case Verb::Kind::warp:
      if (warps >= affines.size()) return build.fail("no matrix", "warp: expected a matrix, found none");
      return build.warp("warp", affines[warps++], verb.height, verb.width, verb.filter, verb.fill);
  }
  return true;
}

}  // namespace

Size upright_size(Size stored, int orientation) {
  return orientation >= 5 && orientation <= 8 ? Size{stored.width, stored.height} : stored;
}

Affine orientation_affine(Size stored, int orientation) {
  const double h = stored.height, w = stored.width;
  switch (orientation) {
    case 2:
      return Affine{{-1, 0, w, 0, 1, 0}};  // mirrored left to right
    case 3:
      return Affine{{-1, 0, w, 0, -1, h}};  // half a turn
    case 4:
      return Affine{{1, 0, 0, 0, -1, h}};  // mirrored top to bottom
    case 5:
      return Affine{{0, 1, 0, 1, 0, 0}};  // transposed
    case 6:
      return Affine{{0, -1, h, 1, 0, 0}};  // upright after a quarter turn clockwise
    case 7:
      return Affine{{0, -1, h, -1, 0, w}};  // transposed along the other diagonal
    case 8:
      return Affine{{0, 1, 0, -1, 0, w}};  // upright after a quarter turn counter-clockwise
    default:
      return Affine{};
  }
}

bool resolve(const std::vector<Verb>& verbs, Size upright, const DrawKey& key, const std::vector<Affine>& affines,
             std::vector<Step>& steps, Affine& geometry, Problem& problem) {
  Builder build(upright, steps, geometry, problem);
  size_t warps = 0;
  for (const Verb& verb : verbs) {
    if (!resolve_one(verb, key, affines, warps, build)) return false;
  }
  return true;
}

}  // namespace penstock
