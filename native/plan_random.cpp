// The verbs that draw where to cut and whether to turn.
#include <algorithm>
#include <cmath>

#include "plan_builder.h"

namespace penstock {
namespace {

constexpr int kTries = 10;  // of a part that fits, before the central crop or none at all: torchvision's number

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

// torchvision's RandomCrop: padded, then padded by what is missing on both sides where asked, then cut at a row and a
// column.
bool plan_random_crop(const Verb& verb, Draws draws, Builder& build) {
  int64_t top = static_cast<int64_t>(verb.p[0]), left = static_cast<int64_t>(verb.p[1]);
  int64_t bottom = static_cast<int64_t>(verb.p[2]), right = static_cast<int64_t>(verb.p[3]);
  if (verb.p[4] != 0.0) {
    const int64_t down = std::max<int64_t>(verb.height - (build.size().height + top + bottom), 0);
    const int64_t across = std::max<int64_t>(verb.width - (build.size().width + left + right), 0);
    top += down;
    bottom += down;
    left += across;
    right += across;
  }
  if (!build.pad("random_crop", top, left, bottom, right, verb.pad_mode, verb.fill)) return false;
  const Size size = build.size();
  if (verb.height > size.height || verb.width > size.width) {
    return build.fail("crop larger than the image", "random_crop: expected an image of at least " +
                                                        words({verb.height, verb.width}) + ", found " + words(size));
  }
  const int row = static_cast<int>(draws.integer(size.height - verb.height + 1));
  const int column = static_cast<int>(draws.integer(size.width - verb.width + 1));
  return build.crop(row, column, verb.height, verb.width);
}

// With the probability, one to three quarter turns, each as likely.
bool plan_random_rotate90(const Verb& verb, Draws draws, Builder& build) {
  if (!(draws.uniform() < verb.p[0])) return true;
  return build.rotate90(1 + static_cast<int>(draws.integer(3)));
}

// torchvision's RandomErasing.get_params, with the draws in its order: whether, area, aspect (height / width here),
// then row and column. A part without pixels erases nothing, and so does an image in which none of the tries fits.
bool plan_random_erasing(const Verb& verb, Draws draws, Builder& build) {
  if (!(draws.uniform() < verb.p[0])) return true;
  const Size size = build.size();
  const double image_height = size.height, image_width = size.width, area = image_height * image_width;
  const double low_log = std::log(verb.p[3]), high_log = std::log(verb.p[4]);
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const double target = area * draws.uniform(verb.p[1], verb.p[2]);
    const double aspect = std::exp(draws.uniform(low_log, high_log));
    const double height = std::nearbyint(std::sqrt(target * aspect));
    const double width = std::nearbyint(std::sqrt(target / aspect));
    if (height < image_height && width < image_width) {
      const int part_height = static_cast<int>(height), part_width = static_cast<int>(width);
      const int top = static_cast<int>(draws.integer(size.height - part_height + 1));
      const int left = static_cast<int>(draws.integer(size.width - part_width + 1));
      if (part_height == 0 || part_width == 0) return true;
      return build.erase(top, left, part_height, part_width, verb.fill);
    }
  }
  return true;
}

}  // namespace penstock
