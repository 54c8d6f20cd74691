// The verbs that choose a size or a part without a draw.
#include <algorithm>
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

// A whole size before it is known to fit an int.
struct Wide {
  int64_t height = 0, width = 0;
};

// The largest size inside height x width with the image's aspect: PIL.ImageOps.contain, operation by operation.
Wide contained(Size image, int height, int width) {
  const double image_height = image.height, image_width = image.width;
  const double image_ratio = image_width / image_height;
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  if (image_ratio > ratio) {
    return {static_cast<int64_t>(std::nearbyint(image_height / image_width * static_cast<double>(width))), width};
  }
  if (image_ratio < ratio) {
    return {height, static_cast<int64_t>(std::nearbyint(image_width / image_height * static_cast<double>(height)))};
  }
  return {height, width};
}

// The same up to a pixel, as timm's and OpenCLIP's ResizeKeepRatio have it; they differ where a side ends in a half.
Wide divided(Size image, int height, int width) {
  const double ratio = std::max(static_cast<double>(image.height) / static_cast<double>(height),
                                static_cast<double>(image.width) / static_cast<double>(width));
  return {static_cast<int64_t>(std::nearbyint(static_cast<double>(image.height) / ratio)),
          static_cast<int64_t>(std::nearbyint(static_cast<double>(image.width) / ratio))};
}

// torchvision's Resize(n, max_size=most): both sides cut to whole pixels, the short one anew where the long one is
// capped.
Wide short_side_floor(int64_t n, int64_t most, int64_t short_side, int64_t long_side) {
  Wide out{n, n * long_side / short_side};  // short, long
  if (most > 0 && out.width > most) out = {most * out.height / out.width, most};
  return out;
}

// The same as Hugging Face's DETR has it: the short side is rounded where the long one is capped, and the long one
// follows from the short one before rounding.
Wide short_side_even(int64_t n, int64_t most, int64_t short_side, int64_t long_side) {
  const double least = static_cast<double>(short_side), greatest = static_cast<double>(long_side);
  if (most > 0 && greatest / least * static_cast<double>(n) > static_cast<double>(most)) {
    const double raw = static_cast<double>(most) * least / greatest;
    const int64_t rounded = static_cast<int64_t>(std::nearbyint(raw));
    if (rounded == short_side) return {short_side, long_side};
    return {rounded, static_cast<int64_t>(raw * greatest / least)};
  }
  return {n, n * long_side / short_side};
}

// The resize, unless it would enlarge what must not be. A resize in float32 always runs: it changes what a sample is.
bool resize_unless_enlarging(const Verb& verb, Wide size, Builder& build) {
  const Size image = build.size();
  if (!verb.enlarge && size.height >= image.height && size.width >= image.width) {
    return verb.float32 ? build.resize_all("resize", image.height, image.width, verb) : true;
  }
  return build.resize_all("resize", size.height, size.width, verb);
}

bool plan_contain(const Verb& verb, Builder& build) {
  const Wide inner = contained(build.size(), verb.height, verb.width);
  if (!build.resize_all("resize", inner.height, inner.width, verb)) return false;
  const int64_t down = verb.height - inner.height, across = verb.width - inner.width;
  const int64_t top = static_cast<int64_t>(std::nearbyint(static_cast<double>(down) * 0.5));
  const int64_t left = static_cast<int64_t>(std::nearbyint(static_cast<double>(across) * 0.5));
  return build.pad("resize", top, left, down - top, across - left, PadMode::constant, verb.fill);
}

// PIL.ImageOps.fit with bleed 0 and centering 0.5, operation by operation.
bool plan_cover(const Verb& verb, Builder& build) {
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

// Where a smaller image lies in the middle of a centred crop: torchvision gives the odd pixel to the far side, Hugging
// Face's processors to the near one.
int64_t room_before(int64_t room, Verb::Rounding rounding) {
  if (room <= 0) return 0;
  return rounding == Verb::Rounding::floor ? (room + 1) / 2 : room / 2;
}

}  // namespace

bool plan_resize(const Verb& verb, Builder& build) {
  switch (verb.fit) {
    case Verb::Fit::fill:
      return build.resize_all("resize", verb.height, verb.width, verb);
    case Verb::Fit::cover:
      return plan_cover(verb, build);
    case Verb::Fit::contain:
      return plan_contain(verb, build);
    case Verb::Fit::inside:
      return resize_unless_enlarging(verb,
                                     verb.rounding == Verb::Rounding::even
                                         ? divided(build.size(), verb.height, verb.width)
                                         : contained(build.size(), verb.height, verb.width),
                                     build);
  }
  return true;
}

bool plan_resize_short_side(const Verb& verb, Builder& build) {
  const int64_t height = build.size().height, width = build.size().width;
  const bool tall = width <= height;
  const int64_t short_side = tall ? width : height, long_side = tall ? height : width;
  const Wide sides = verb.rounding == Verb::Rounding::even
                         ? short_side_even(verb.height, verb.width, short_side, long_side)
                         : short_side_floor(verb.height, verb.width, short_side, long_side);
  return resize_unless_enlarging(verb, tall ? Wide{sides.width, sides.height} : sides, build);
}

// torchvision's Resize(None, max_size=n).
bool plan_resize_long_side(const Verb& verb, Builder& build) {
  const int64_t n = verb.height, height = build.size().height, width = build.size().width;
  return resize_unless_enlarging(verb, width <= height ? Wide{n, n * width / height} : Wide{n * height / width, n},
                                 build);
}

bool plan_center_crop(const Verb& verb, Builder& build) {
  const int64_t down = int64_t{verb.height} - build.size().height, across = int64_t{verb.width} - build.size().width;
  const int64_t top = room_before(down, verb.rounding), left = room_before(across, verb.rounding);
  if (!build.pad("center_crop", top, left, down > 0 ? down - top : 0, across > 0 ? across - left : 0, PadMode::constant,
                 verb.fill)) {
    return false;
  }
  const Size size = build.size();
  return build.crop(centred(size.height - verb.height, verb.rounding), centred(size.width - verb.width, verb.rounding),
                    verb.height, verb.width);
}

bool plan_crop(const Verb& verb, Builder& build) {
  const int64_t top = static_cast<int64_t>(verb.p[0]), left = static_cast<int64_t>(verb.p[1]);
  const int64_t bottom = top + verb.height, right = left + verb.width;
  const Size size = build.size();
  if (bottom > size.height || right > size.width) {
    return build.fail("crop outside the image",
                      "crop: expected a box inside the image, found bottom=" + std::to_string(bottom) +
                          " right=" + std::to_string(right) + " in an image of " + words(size));
  }
  return build.crop(static_cast<int>(top), static_cast<int>(left), verb.height, verb.width);
}

bool plan_pad(const Verb& verb, Builder& build) {
  return build.pad("pad", static_cast<int64_t>(verb.p[0]), static_cast<int64_t>(verb.p[1]),
                   static_cast<int64_t>(verb.p[2]), static_cast<int64_t>(verb.p[3]), verb.pad_mode, verb.fill);
}

bool plan_pad_to(const Verb& verb, Builder& build) {
  const Size size = build.size();
  const int64_t down = int64_t{verb.height} - size.height, across = int64_t{verb.width} - size.width;
  if (down < 0 || across < 0) {
    return build.fail("image larger than the size", "pad_to: expected an image of at most " +
                                                        words({verb.height, verb.width}) + ", found " + words(size));
  }
  const bool start = verb.rounding == Verb::Rounding::start;
  const int64_t top = start ? 0 : down / 2, left = start ? 0 : across / 2;
  return build.pad("pad_to", top, left, down - top, across - left, verb.pad_mode, verb.fill);
}

bool plan_pad_to_multiple(const Verb& verb, Builder& build) {
  const int64_t multiple = verb.height, height = build.size().height, width = build.size().width;
  const int64_t bottom = (height + multiple - 1) / multiple * multiple - height;
  const int64_t right = (width + multiple - 1) / multiple * multiple - width;
  return build.pad("pad_to_multiple", 0, 0, bottom, right, verb.pad_mode, verb.fill);
}

}  // namespace penstock
