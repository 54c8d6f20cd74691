// The verbs that draw where to cut and whether to turn.
#include <cmath>

#include "plan_builder.h"

namespace penstock {
namespace {

constexpr int kTries = 10;  // of random_resized_crop, before the central crop: torchvision's number

}  // namespace

// torchvision's RandomResizedCrop.get_params, with the draws in its order: area, aspect, then row and column.
bool plan_random_resized_crop(const Verb& verb, Draws draws, Builder& build) {
  const Size size = build.size();
  const double image_height = size.height, image_width = size.width, area = image_height * image_width;
  const double low_ratio = verb.p[2], high_ratio = verb.p[3];
  const double low_log = std::log(low_ratio), high_log = std::log(high_ratio);
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const double target = area * draws.uniform(verb.p[0], verb.p[1]);
    const double aspect = std::exp(draws.uniform(low_log, high_log));
    const double width = std::nearbyint(std::sqrt(target * aspect));  // half to even, as Python's round
    const double height = std::nearbyint(std::sqrt(target / aspect));
    if (width > 0.0 && width <= image_width && height > 0.0 && height <= image_height) {
      const int crop_height = static_cast<int>(height), crop_width = static_cast<int>(width);
      const int top = static_cast<int>(draws.integer(size.height - crop_height + 1));
      const int left = static_cast<int>(draws.integer(size.width - crop_width + 1));
      return build.crop(top, left, crop_height, crop_width) &&
             build.resize_all("random_resized_crop", verb.height, verb.width, verb);
    }
  }
  const double image_ratio = image_width / image_height;
  int crop_height = size.height, crop_width = size.width;
  if (image_ratio < low_ratio) {
    crop_height = static_cast<int>(std::nearbyint(image_width / low_ratio));
  } else if (image_ratio > high_ratio) {
    crop_width = static_cast<int>(std::nearbyint(image_height * high_ratio));
  }
  if (crop_height < 1 || crop_width < 1) {
    return build.fail("side rounds to 0", "random_resized_crop: expected a crop of at least H=1 W=1, found " +
                                              words({crop_height, crop_width}) + " in an image of " + words(size));
  }
  return build.crop((size.height - crop_height) / 2, (size.width - crop_width) / 2, crop_height, crop_width) &&
         build.resize_all("random_resized_crop", verb.height, verb.width, verb);
}

}  // namespace penstock
