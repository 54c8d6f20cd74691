// Verbs as data: what Python describes, resolved per image into steps once its size and its draws are known.
#pragma once

#include <memory>

#include "random.h"
#include "transform.h"

namespace penstock {

// One spatial verb of the line. The Python dataclass of the same name makes it (transform/*.py: `native()`).
struct Verb {
  enum class Kind : uint8_t {
    resize,                  // height, width, fit (fill | cover)
    resize_short_side,       // height = n
    center_crop,             // height, width, rounding
    random_resized_crop,     // height, width, p = {scale_min, scale_max, ratio_min, ratio_max}
    random_horizontal_flip,  // p = {probability}
  } kind = Kind::resize;
  enum class Fit : uint8_t { fill, cover } fit = Fit::fill;
  enum class Rounding : uint8_t { even, floor } rounding = Rounding::even;
  Filter filter = Filter::bilinear;
  int height = 0, width = 0;
  double p[4] = {0, 0, 0, 0};
  int ordinal = 0;  // of the random step among the line's random steps: part of the draw's key
};

// shared_from_this: Python holds plans and jobs too, and nanobind would otherwise wrap each in an owner that takes the
// GIL when the last native copy dies.
struct Plan : std::enable_shared_from_this<Plan> {
  Limits limits;
  std::vector<Verb> verbs;
  Output output;
  Size size;                   // of every output image; {0, 0}: ragged, each its own
  bool adaptive_order = true;  // passes in the order of Pillow >= 13; false: always horizontal first
};

// Resolves the verbs for one upright image. False, with `problem` (stage transform), where a verb cannot be applied (a
// side that rounds to 0, a crop larger than the image). `geometry`: upright source -> model pixels.
bool resolve(const std::vector<Verb>& verbs, Size upright, const DrawKey& key, std::vector<Step>& steps,
             Affine& geometry, Problem& problem);

// Stored pixels -> upright pixels for an EXIF orientation.
Affine orientation_affine(Size stored, int orientation);
Size upright_size(Size stored, int orientation);

}  // namespace penstock
