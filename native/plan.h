// Verbs as data: what Python describes, resolved per image into steps once its size and its draws are known.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "random.h"
#include "transform.h"

namespace penstock {

// One spatial verb of the line. The Python dataclass of the same name makes it (transform/*.py: `native()`): a dict
// with "kind" and whichever other fields the verb sets, under the names they have here.
struct Verb {
  enum class Kind : uint8_t {
    resize,             // height, width, fit, enlarge, fill (contain), precision
    resize_short_side,  // height = n, width = the most the long side may become (0: any)
    resize_long_side,   // height = n
    resize_patches,     // p = {max_patches, patch, multiple}, rounding = ceil | floor
    center_crop,        // height, width, rounding, fill
    crop,               // height, width, p = {top, left}
    pad,                // p = {top, left, bottom, right}, pad_mode, fill
    pad_to,           // height, width, pad_mode, fill, rounding (floor: image centred; "start": image at the top left)
    pad_to_multiple,  // height = multiple, width = multiple, pad_mode, fill
    warp,             // height, width, filter, fill; matrices come with each item (Input.affines), in order
    jpeg_roundtrip,   // p = {quality}
    random_resized_crop,     // height, width, p = {scale_min, scale_max, ratio_min, ratio_max}
    random_crop,             // height, width, p = {pad top, left, bottom, right, pad_if_needed}, pad_mode, fill
    random_horizontal_flip,  // p = {probability}
    random_vertical_flip,    // p = {probability}
    random_rotate90,         // p = {probability}
    random_color_jitter,     // p = {brightness low, high, contrast low, high, saturation low, high, hue low, high}
    random_grayscale,        // p = {probability}
    random_erasing,          // p = {probability, scale_min, scale_max, ratio_min, ratio_max}, fill
    rand_augment,            // p = {operations, magnitude, bins}, filter, fill
    trivial_augment,         // p = {bins}, filter, fill
    random_affine,  // p = {degrees low, high, translate x, y (fractions), scale low, high, shear x low, high, y low,
                    // high}
  } kind = Kind::resize;
  enum class Fit : uint8_t { fill, cover, contain, inside } fit = Fit::fill;
  enum class Rounding : uint8_t { even, floor, ceil, start } rounding = Rounding::even;
  Filter filter = Filter::bilinear;
  PadMode pad_mode = PadMode::constant;
  bool enlarge = true;
  bool float32 = false;  // precision="float32"
  int height = 0, width = 0;
  std::vector<double> p;
  uint8_t fill[4] = {0, 0, 0, 0};
  int ordinal = 0;  // of the random step among the line's random steps: part of the draw's key
};

struct View;

// shared_from_this: Python holds plans and jobs too, and nanobind would otherwise wrap each in an owner that takes the
// GIL when the last native copy dies.
struct Plan : std::enable_shared_from_this<Plan> {
  Limits limits;
  DecodeOptions decode;
  std::vector<Verb> verbs;
  Output output;
  int channels = 3;            // of the output
  Size size;                   // of every output image; {0, 0}: ragged, each its own
  bool adaptive_order = true;  // passes in the order of Pillow >= 13; false: always horizontal first

  // Where the line calls Python functions on images (map): what runs before, between and after them, each a plan of its
  // own; the verbs are theirs. Empty where it calls none.
  std::vector<std::shared_ptr<Plan>> parts;
  std::optional<Format> given;  // of a part after a map: the pixels that the function answers; else decode's
  bool goes_on = false;         // a part that a map or the cache follows: its image is handed on
  bool cut = false;             // of such a part: it is the cache that follows
  bool in_slot = false;         // of such a part: the image is made in the batch's slot, and what comes of it stays

  // Where the line makes several views of each image: what is made of the one decode. The verbs, the output and the
  // size of such a plan are the first view's. All views have one size each; none has a warp or parts.
  std::vector<View> views;

  // What the chain begins with.
  Format arriving() const { return given ? *given : decode.format(); }
  // Whether every image has a slot of one size: patches do, however large each image is.
  bool fixed() const { return size.height > 0 || output.layout == Layout::patches; }
  size_t image_bytes(Size image) const { return slot_bytes(image, channels, output); }
  size_t warps() const {
    return static_cast<size_t>(
        std::count_if(verbs.begin(), verbs.end(), [](const Verb& verb) { return verb.kind == Verb::Kind::warp; }));
  }
};

// A row of the batch has `copies` images of a view, one behind the other; each draws for itself.
struct View {
  std::shared_ptr<Plan> plan;
  int copies = 1;

  size_t row_bytes() const { return static_cast<size_t>(copies) * plan->image_bytes(plan->size); }
};

// Resolves the verbs for one upright image. False, with `problem` (stage transform), where a verb cannot be applied (a
// side that rounds to 0, a crop larger than the image). `geometry`: upright source -> model pixels.
// `affines`: the matrices of the warp verbs, in order, source to output pixels of that verb.
bool resolve(const std::vector<Verb>& verbs, Size upright, const DrawKey& key, const std::vector<Affine>& affines,
             std::vector<Step>& steps, Affine& geometry, Problem& problem);

// Stored pixels -> upright pixels for an EXIF orientation.
Affine orientation_affine(Size stored, int orientation);
Size upright_size(Size stored, int orientation);

}  // namespace penstock
