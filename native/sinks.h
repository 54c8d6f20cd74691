// The links of a chain: each takes strips of rows in arrival order and hands strips on.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "frame.h"
#include "rows.h"

namespace penstock {

constexpr int kStripRows =
    8;  // rows a sink gathers before it hands them on: enough to amortise, few enough for the L1 cache

// Rows in arrival order. `tail`: bytes that may be read from the start of the last row; earlier rows may be read into
// the next.
struct Strip {
  const uint8_t* rows = nullptr;
  ptrdiff_t stride = 0;
  int count = 0;
  size_t tail = 0;

  const uint8_t* row(int i) const { return rows + i * stride; }
  // Bytes that may be read from the start of row i.
  size_t readable(int i) const {
    return stride > 0 ? static_cast<size_t>(count - 1 - i) * static_cast<size_t>(stride) + tail : tail;
  }
};

class Sink {
 public:
  virtual ~Sink() = default;
  virtual void push(const Strip& strip) = 0;
  virtual void finish() {}  // after the last row; hands on what was kept
  void set_next(Sink* next) { next_ = next; }

 protected:
  Sink* next_ = nullptr;
};

// Hands out the thread's buffers in the order in which a chain asks: the same chain finds the same buffers again.
class BufferPool {
 public:
  explicit BufferPool(TransformScratch& scratch) : scratch_(scratch) {}
  uint8_t* take(size_t bytes);  // 64-byte aligned, content undefined

 private:
  TransformScratch& scratch_;
  size_t used_ = 0;
};

// Passes a part of what arrives.
class CropSink final : public Sink {
 public:
  CropSink(const Region& part, size_t pixel_bytes) : part_(part), pixel_bytes_(pixel_bytes) {}
  // What arrives is only this part of the image.
  void expect(const Region& arriving) {
    part_.top -= arriving.top;
    part_.left -= arriving.left;
  }
  void push(const Strip& strip) override;

 private:
  Region part_;
  size_t pixel_bytes_;
  int arrived_ = 0;
};

// A function of one row at a time: another format, or other values.
class RowSinkFunction final : public Sink {
 public:
  using Function = void (*)(const uint8_t* in, int width, uint8_t* out);
  RowSinkFunction(Function function, int width, size_t out_pixel_bytes, BufferPool& pool);
  void push(const Strip& strip) override;

 private:
  Function function_;
  int width_;
  size_t out_stride_;
  uint8_t* out_;
};

void grey_of_rgb(const uint8_t* in, int width, uint8_t* out);    // Pillow's convert("L"), uint8
void grey_of_rgb16(const uint8_t* in, int width, uint8_t* out);  // the same weights, uint16
void premultiply(const uint8_t* in, int width, uint8_t* out);    // Pillow's RGBA to RGBa
void unpremultiply(const uint8_t* in, int width, uint8_t* out);  // Pillow's RGBa to RGBA

// The pass along a row: every row becomes table.window_size pixels. `column` is where the arriving rows start on the
// table's axis (columns that no output needs may have been cropped away). RGB takes the kernels; other uint8 formats a
// plain loop; wider samples are only ever picked (nearest).
class HorizontalSink final : public Sink {
 public:
  HorizontalSink(std::shared_ptr<const AxisTable> table, int column, int columns, Format format, BufferPool& pool);
  void push(const Strip& strip) override;

 private:
  void push_rgb(const Strip& strip);
  void push_any(const Strip& strip);

  std::shared_ptr<const AxisTable> table_;
  Format format_;
  ptrdiff_t offset_;
  size_t row_bytes_, out_stride_;
  uint8_t* padded_ = nullptr;  // one row with room behind it, for the kernels' wide loads at the very end of a strip
  uint8_t* out_;
};

// The pass across rows. `row` is the axis position of the first row that arrives; rows are kept only while an output
// still needs them. Outputs leave in arrival order: last to first where the table is descending.
class VerticalSink final : public Sink {
 public:
  VerticalSink(std::shared_ptr<const AxisTable> table, int row, int width, Format format, BufferPool& pool);
  void push(const Strip& strip) override;

 private:
  int place(int emitted) const { return table_->descending ? table_->window_size - 1 - emitted : emitted; }

  std::shared_ptr<const AxisTable> table_;
  bool weighs_;  // false: wider samples, whose rows are only ever picked (nearest)
  int arrived_;  // axis position of the next row to arrive
  int emitted_ = 0;
  int bytes_;
  size_t stride_;
  uint8_t* ring_;
  uint8_t* out_;
  const uint8_t** pointers_;
};

// Keeps `rows` rows of `width` pixels that are columns of the upright image, then hands the upright image on, top down.
class TransposeSink final : public Sink {
 public:
  TransposeSink(int rows, int width, bool rows_reversed, bool columns_reversed, size_t pixel_bytes, BufferPool& pool);
  void push(const Strip& strip) override;
  void finish() override;

 private:
  int rows_, width_, arrived_ = 0;
  bool rows_reversed_, columns_reversed_;
  size_t pixel_bytes_;
  uint8_t* frame_;
  uint8_t* out_;
};

// Keeps the whole image, runs frame steps on it, and hands the result on, top down.
class FrameSink final : public Sink {
 public:
  FrameSink(Size size, Format format, bool rows_reversed, bool columns_reversed, std::vector<Step> steps,
            TransformScratch& scratch, BufferPool& pool);
  void push(const Strip& strip) override;
  void finish() override;

 private:
  Frame frame_;
  bool rows_reversed_, columns_reversed_;
  int arrived_ = 0;
  std::vector<Step> steps_;
  TransformScratch& scratch_;
  BufferPool& pool_;
};

Frame take_frame(Size size, Format format, BufferPool& pool);

// Writes rows into the slot in the output's dtype and layout.
class PackSink final : public Sink {
 public:
  PackSink(Size size, Format format, bool rows_reversed, bool columns_reversed, const Output& output, void* slot,
           BufferPool& pool);
  void push(const Strip& strip) override;
  // The same of rows of RGB in three planes, straight into the slot's planes.
  bool takes_planes() const;
  void push_planes(const uint8_t* const* planes, ptrdiff_t stride, int count);
  // The image's rows, top down, go to `behind` as well, each strip as soon as it lies in the slot, which is interleaved
  // and has the rows' own samples. With `timed`, the time of that counts as this sink's.
  void hand_on(RowSink& behind, bool timed) {
    behind_ = &behind;
    times_behind_ = timed;
  }
  void leave_untimed() { timed_ = false; }
  void finish() override;
  int64_t elapsed_ns() const { return elapsed_ns_; }

 private:
  int place_of_next() const { return rows_reversed_ ? size_.height - 1 - arrived_ : arrived_; }
  void hand_on(int from, int to);
  // Row y of the image, upright, into the slot.
  void pack(const uint8_t* row, int y);
  // Row y, a run for each patch, straight to the patches: by a kernel.
  void write_runs(const uint8_t* row, int y);
  // Row y to patches_; true where that row of patches is whole.
  bool gather(const uint8_t* row, int y);
  // What lies together in the slot, pixels_ pixels: row y of the image, or row y of the patches.
  void write(const uint8_t* row, int y);
  bool write_rgb(const uint8_t* row, int y);    // straight into the slot, by the kernels; false: not one of theirs
  const uint8_t* convert(const uint8_t* row);   // in the output's dtype, interleaved
  void place(const uint8_t* converted, int y);  // where the layout wants it

  Size size_;
  Format format_;
  bool rows_reversed_, columns_reversed_;
  const Output& output_;
  void* slot_;
  size_t element_;  // bytes of a sample in the slot
  size_t pixels_;
  uint8_t* turned_ = nullptr;   // one row, mirrored
  bool has_kernel_;             // RGB, normalised to float32
  uint8_t* patches_ = nullptr;  // one row of patches, one patch after another, where no kernel writes them
  int gathered_ = 0;            // rows of it
  uint8_t* line_ = nullptr;     // pixels_, converted
  const Kernels& kernels_ = kernels();
  int arrived_ = 0;
  int64_t elapsed_ns_ = 0;
  bool timed_ = true;
  RowSink* behind_ = nullptr;
  bool times_behind_ = false;
};

}  // namespace penstock
