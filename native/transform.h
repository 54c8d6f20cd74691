// The chain of one image: resolved steps become sinks; rows go in, the finished image comes out in its slot.
#pragma once

#include <memory>

#include "resample.h"
#include "rows.h"

namespace penstock {

// A step whose numbers are known: sizes and draws are in. In the frame of the image as the step meets it (upright).
struct Step {
  enum class Kind : uint8_t { crop, resize, flip_x } kind = Kind::crop;
  // crop: rows [top, top + height) and columns [left, left + width); always inside the image
  int top = 0, left = 0, height = 0, width = 0;
  // resize: to height x width, from the box (Pillow's resize(box=)), float32 as Pillow's C code takes it
  float box_top = 0, box_left = 0, box_bottom = 0, box_right = 0;
  Filter filter = Filter::bilinear;
  // Which of Pillow's orders of the passes: true, vertical_pass_first() decides (Pillow >= 13); false, always
  // horizontal first.
  bool adaptive_order = true;
};

enum class Dtype : uint8_t { uint8, float32 };
enum class Layout : uint8_t { nhwc, nchw };

struct Output {
  Dtype dtype = Dtype::uint8;
  Layout layout = Layout::nhwc;
  std::shared_ptr<const Normalizer> normalizer;  // null: none (dtype uint8, or float32 holding 0..255)
};

// Buffers a thread keeps from image to image.
struct TransformScratch {
  AxisCache axes;
  std::vector<std::vector<uint8_t>> buffers;
  // whatever else the sinks reuse
};

// One image's way from stored rows to its slot. Build once an image; push stored rows; then finish().
// `stored` x `orientation` describe the rows that will be pushed; `steps` are in the upright frame; `slot` has room for
// the final size in output's dtype (image-contiguous: [H, W, 3] or [3, H, W]). Working memory is strips: resize keeps
// the rows its filter spans; orientations 5-8 stream vertical-first through swapped tables and keep only the output
// frame. A crop after a resize is computed as a window of it, never more.
class Chain final : public RowSink {
 public:
  Chain(Size stored, int orientation, const std::vector<Step>& steps, const Output& output, void* slot,
        TransformScratch& scratch);
  ~Chain() override;
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override;
  void finish();             // after the last row; the slot is complete
  int64_t batch_ns() const;  // time spent packing into the slot, timed a strip at a time

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The size after the steps.
Size final_size(Size upright, const std::vector<Step>& steps);

// Bytes of working memory that a chain will allocate (stated before it starts).
uint64_t chain_bytes(Size stored, int orientation, const std::vector<Step>& steps);

}  // namespace penstock
