#include "plan.h"

#include <cmath>

namespace penstock {
namespace {

// A step may not make an image that the decoder would have refused: 1 x 60000 pixels and short_side=224 ask for 9 GB.
constexpr int64_t kMaxPixels = 178956970;
constexpr int kTries = 10;  // of random_resized_crop, before the central crop: torchvision's number

std::string words(Size size) { return "H=" + std::to_string(size.height) + " W=" + std::to_string(size.width); }

// The steps so far, the size they lead to and the way back to the source's pixels.
class Builder {
 public:
  Builder(Size upright, std::vector<Step>& steps, Affine& geometry, Problem& problem)
      : size_(upright), steps_(steps), geometry_(geometry), problem_(problem) {
    steps_.clear();
    geometry_ = Affine{};
  }

  Size size() const { return size_; }

  bool fail(const char* cause, const std::string& message) {
    problem_ = Problem{Stage::transform, cause, message};
    return false;
  }

  bool crop(int top, int left, int height, int width) {
    Step step;
    step.kind = Step::Kind::crop;
    step.top = top;
    step.left = left;
    step.height = height;
    step.width = width;
    return add(step, {1.0, 0.0, -static_cast<double>(left), 0.0, 1.0, -static_cast<double>(top)}, {height, width});
  }

  // The box in doubles, as Python holds it; the step takes float32, as Pillow's C code does.
  bool resize(const char* verb, int64_t height, int64_t width, Filter filter, const double box[4]) {
    if (height > kMaxPixels / width) {  // as a division: the product could overflow
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
    step.filter = filter;
    const double top = step.box_top, left = step.box_left;
    const double box_height = static_cast<double>(step.box_bottom) - top;
    const double box_width = static_cast<double>(step.box_right) - left;
    if (!(box_height > 0.0) || !(box_width > 0.0)) {
      return fail("side rounds to 0",
                  std::string(verb) + ": expected a box of some size, found none left in an image of " + words(size_));
    }
    const double y_scale = static_cast<double>(height) / box_height;
    const double x_scale = static_cast<double>(width) / box_width;
    return add(step, {x_scale, 0.0, 0.0 - left * x_scale, 0.0, y_scale, 0.0 - top * y_scale},
               {step.height, step.width});
  }

  bool resize_all(const char* verb, int64_t height, int64_t width, Filter filter) {
    const double box[4] = {0.0, 0.0, static_cast<double>(size_.height), static_cast<double>(size_.width)};
    return resize(verb, height, width, filter, box);
  }

  bool flip_x() {
    Step step;
    step.kind = Step::Kind::flip_x;
    return add(step, {-1.0, 0.0, static_cast<double>(size_.width), 0.0, 1.0, 0.0}, size_);
  }

 private:
  bool add(const Step& step, const Affine& affine, Size size) {
    steps_.push_back(step);
    geometry_ = compose(geometry_, affine);
    size_ = size;
    return true;
  }

  Size size_;
  std::vector<Step>& steps_;
  Affine& geometry_;
  Problem& problem_;
};

bool resize(const Verb& verb, Builder& build) {
  if (verb.fit == Verb::Fit::fill) return build.resize_all("resize", verb.height, verb.width, verb.filter);
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
  return build.resize("resize", verb.height, verb.width, verb.filter, box);
}

bool resize_short_side(const Verb& verb, Builder& build) {
  const int64_t n = verb.height, height = build.size().height, width = build.size().width;
  if (width <= height) return build.resize_all("resize", n * height / width, n, verb.filter);
  return build.resize_all("resize", n, n * width / height, verb.filter);
}

// Where a centred crop starts. Half to even is Python's round (torchvision), floor is Hugging Face's.
int centred(int space, Verb::Rounding rounding) {
  const int half = space / 2;
  if (rounding == Verb::Rounding::floor || space % 2 == 0) return half;
  return half + half % 2;
}

bool center_crop(const Verb& verb, Builder& build) {
  const Size size = build.size();
  if (verb.height > size.height || verb.width > size.width) {
    return build.fail("crop larger than the image", "center_crop: expected an image of at least " +
                                                        words({verb.height, verb.width}) + ", found " + words(size));
  }
  return build.crop(centred(size.height - verb.height, verb.rounding), centred(size.width - verb.width, verb.rounding),
                    verb.height, verb.width);
}

// torchvision's RandomResizedCrop.get_params, with the draws in its order: area, aspect, then row and column.
bool random_resized_crop(const Verb& verb, Draws draws, Builder& build) {
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
             build.resize_all("random_resized_crop", verb.height, verb.width, verb.filter);
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
         build.resize_all("random_resized_crop", verb.height, verb.width, verb.filter);
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

bool resolve(const std::vector<Verb>& verbs, Size upright, const DrawKey& key, std::vector<Step>& steps,
             Affine& geometry, Problem& problem) {
  Builder build(upright, steps, geometry, problem);
  for (const Verb& verb : verbs) {
    bool done = true;
    switch (verb.kind) {
      case Verb::Kind::resize:
        done = resize(verb, build);
        break;
      case Verb::Kind::resize_short_side:
        done = resize_short_side(verb, build);
        break;
      case Verb::Kind::center_crop:
        done = center_crop(verb, build);
        break;
      case Verb::Kind::random_resized_crop:
        done = random_resized_crop(verb, Draws(key, static_cast<uint64_t>(verb.ordinal)), build);
        break;
      case Verb::Kind::random_horizontal_flip:
        if (Draws(key, static_cast<uint64_t>(verb.ordinal)).uniform() < verb.p[0]) done = build.flip_x();
        break;
    }
    if (!done) return false;
  }
  return true;
}

}  // namespace penstock
