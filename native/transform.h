// The chain of one image: resolved steps become sinks; rows go in, the finished image comes out in its slot.
#pragma once

#include <memory>

#include "resample.h"
#include "resample_float.h"
#include "rows.h"

namespace penstock {

enum class PadMode : uint8_t { constant, edge, reflect, symmetric };

// What a colour step does; the names and the arithmetic are Pillow's ImageEnhance, ImageOps and mode "HSV".
enum class ColorOp : uint8_t {
  brightness,    // ImageEnhance.Brightness(amount)
  contrast,      // ImageEnhance.Contrast(amount)
  saturation,    // ImageEnhance.Color(amount)
  sharpness,     // ImageEnhance.Sharpness(amount)
  hue,           // torchvision's adjust_hue on PIL images: H of mode HSV shifted by int(amount * 255), modulo 256
  greyscale,     // convert("L"), repeated
  posterize,     // ImageOps.posterize(bits = amount)
  solarize,      // ImageOps.solarize(threshold = amount)
  autocontrast,  // ImageOps.autocontrast
  equalize,      // ImageOps.equalize
  invert,        // ImageOps.invert
};

// A step whose numbers are known: sizes and draws are in. In the frame of the image as the step meets it (upright).
// crop, resize (precision uint8), flip_x and flip_y run on strips of rows; every other kind is a frame step: it has the
// whole image before it (frame.h).
struct Step {
  enum class Kind : uint8_t { crop, resize, flip_x, flip_y, rotate90, pad, warp, erase, color, jpeg } kind = Kind::crop;
  // crop, erase: rows [top, top + height) and columns [left, left + width); always inside the image.
  // pad, warp: the output's height x width; pad: the image's place in it is (top, left).
  int top = 0, left = 0, height = 0, width = 0;
  // resize: to height x width, from the box (Pillow's resize(box=)), float32 as Pillow's C code takes it
  float box_top = 0, box_left = 0, box_bottom = 0, box_right = 0;
  Filter filter = Filter::bilinear;  // resize and warp (there nearest, bilinear or bicubic)
  // Which of Pillow's orders of the passes: true, vertical_pass_first() decides (Pillow >= 13); false, always
  // horizontal first.
  bool adaptive_order = true;
  bool float32 = false;  // resize in float32, no rounding between the passes: a frame step, its output is float32

  int turns = 0;                           // rotate90: quarter turns counter-clockwise, 1 to 3
  PadMode pad_mode = PadMode::constant;    // pad
  uint8_t fill[4] = {0, 0, 0, 0};          // pad, warp, erase: a sample a channel
  double inverse[6] = {1, 0, 0, 0, 1, 0};  // warp: output pixel -> input pixel, what Image.transform(AFFINE) takes
  ColorOp op = ColorOp::brightness;        // color
  double amount = 0;                       // color: its factor or level
  int quality = 95;                        // jpeg
};

enum class Dtype : uint8_t { uint8, uint16, float16, bfloat16, float32 };
enum class Layout : uint8_t { nhwc, nchw, patches };

struct Output {
  Dtype dtype = Dtype::uint8;
  Layout layout = Layout::nhwc;
  std::shared_ptr<const Normalizer> normalizer;  // null: none; the samples' own values in dtype
  int patch = 0;  // Layout::patches: side of a patch; the slot is [max_patches, patch * patch * channels], row-major
  int max_patches = 0;  // grid, (row, column, channel) inside a patch; patches past the image's own are zeros
};

// Buffers a thread keeps from image to image.
struct TransformScratch {
  AxisCache axes;
  std::vector<std::vector<uint8_t>> buffers;
  std::vector<uint8_t> encoded;  // of the jpeg step
  FloatScratch floats;
};

// What a chain will be given: rows of `pushed` in the stored frame, to be turned upright by `orientation`.
struct Incoming {
  Size stored;
  int orientation = 1;
  Format pushed;
  bool to_grey = false;  // RGB arrives, L is wanted (Pillow's convert)
};

// One image's way from stored rows to its slot. Build once an image; push stored rows; then finish().
// `steps` are in the upright frame; `slot` has room for the final size in output's dtype and layout. Working memory is
// strips: resize keeps the rows its filter spans; orientations 5-8 stream vertical-first through swapped tables and
// keep only the output frame; a frame step keeps the frame it works on. A crop after a resize is computed as a window
// of it, never more.
class Chain final : public RowSink {
 public:
  Chain(const Incoming& incoming, const std::vector<Step>& steps, const Output& output, void* slot,
        TransformScratch& scratch);
  ~Chain() override;
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override;
  bool takes_planes() const override;
  void push_planes(const uint8_t* const* planes, ptrdiff_t stride, int count) override;
  Region wanted() const override;
  void expect(const Region& arriving) override;
  // The finished image's rows, top down, go to `behind` as well, for as long as the core's nearest cache has them. Only
  // of an output that keeps samples as they are, interleaved.
  void hand_on(Chain& behind);
  void finish();             // after the last row; the slot is complete
  int64_t batch_ns() const;  // time spent packing into the slot, timed a strip at a time

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The size after the steps.
Size final_size(Size upright, const std::vector<Step>& steps);

// Bytes of working memory that a chain will allocate (stated before it starts).
uint64_t chain_bytes(const Incoming& incoming, const std::vector<Step>& steps);

// Bytes of a sample of a dtype, and of the slot of one image.
size_t element_bytes(Dtype dtype);
size_t slot_bytes(Size size, int channels, const Output& output);

}  // namespace penstock
