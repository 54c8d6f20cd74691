// The verbs that choose a size or a part without a draw.
#include <cmath>

#include "plan_builder.h"

namespace penstock {
namespace {

// Where a centred crop starts. Half to even is Python's round (torchvision), floor is Hugging Face's.
int centred(int space, Verb::Rounding rounding) {
  const int half = space / 2;
  if (rounding == Verb::Rounding::floor || space % 2 == 0) return half;
  return half + half % 2;
}

}  // namespace

bool plan_resize(const Verb& verb, Builder& build) {
  if (verb.fit == Verb::Fit::fill) return build.resize_all("resize", verb.height, verb.width, verb);
  // PIL.ImageOps.fit with bleed 0 and centering 0.5, operation by operation.
  const double live_width = build.size().width, live_height = build.size().height;
  const double live_ratio = live_width / live_height;
  const double output_ratio = static_cast<double>(verb.width) / static_cast<double>(verb.height);
  double crop_width = live_width, crop_height = live_height;
  if (live_ratio > output_ratio) {
    crop_width = output_ratio * live_height;
  } else if (live_ratio < output_ratio) {
    crop_height = live_width / output_ratio;
  }
  const double left = (live_width - crop_width) * 0.5, top = (live_height - crop_height) * 0.5;
  const double box[4] = {top, left, top + crop_height, left + crop_width};
  return build.resize("resize", verb.height, verb.width, verb, box);
}

bool plan_resize_short_side(const Verb& verb, Builder& build) {
  const int64_t n = verb.height, height = build.size().height, width = build.size().width;
  if (width <= height) return build.resize_all("resize", n * height / width, n, verb);
  return build.resize_all("resize", n, n * width / height, verb);
}

bool plan_center_crop(const Verb& verb, Builder& build) {
  const Size size = build.size();
  if (verb.height > size.height || verb.width > size.width) {
    return build.fail("crop larger than the image", "center_crop: expected an image of at least " +
                                                        words({verb.height, verb.width}) + ", found " + words(size));
  }
  return build.crop(centred(size.height - verb.height, verb.rounding), centred(size.width - verb.width, verb.rounding),
                    verb.height, verb.width);
}

}  // namespace penstock
