// The links of a chain: each takes strips of rows in arrival order and hands strips on.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "rows.h"
#include "transform.h"

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

// Passes rows [row, row + rows) and columns [column, column + columns) of what arrives.
class CropSink final : public Sink {
 public:
  CropSink(int row, int rows, int column, int columns)
      : row_(row), rows_(rows), offset_(static_cast<ptrdiff_t>(column) * kChannels), bytes_(columns * kChannels) {}
  void push(const Strip& strip) override;

 private:
  int row_, rows_, arrived_ = 0;
  ptrdiff_t offset_;
  int bytes_;
};

// The pass along a row: every row becomes table.window_size pixels. `column` is where the arriving rows start on the
// table's axis (columns that no output needs may have been cropped away).
class HorizontalSink final : public Sink {
 public:
  HorizontalSink(std::shared_ptr<const AxisTable> table, int column, int columns, BufferPool& pool);
  void push(const Strip& strip) override;

 private:
  std::shared_ptr<const AxisTable> table_;
  ptrdiff_t offset_;
  size_t row_bytes_, out_stride_;
  uint8_t* padded_;  // one row with room behind it, for the kernels' wide loads at the very end of a strip
  uint8_t* out_;
};

// The pass across rows. `row` is the axis position of the first row that arrives; rows are kept only while an output
// still needs them. Outputs leave in arrival order: last to first where the table is descending.
class VerticalSink final : public Sink {
 public:
  VerticalSink(std::shared_ptr<const AxisTable> table, int row, int width, BufferPool& pool);
  void push(const Strip& strip) override;

 private:
  int place(int emitted) const { return table_->descending ? table_->window_size - 1 - emitted : emitted; }

  std::shared_ptr<const AxisTable> table_;
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
  TransposeSink(int rows, int width, bool rows_reversed, bool columns_reversed, BufferPool& pool);
  void push(const Strip& strip) override;
  void finish() override;

 private:
  int rows_, width_, arrived_ = 0;
  bool rows_reversed_, columns_reversed_;
  uint8_t* frame_;
  uint8_t* out_;
};

// Writes rows into the slot in the output's dtype and layout.
class PackSink final : public Sink {
 public:
  PackSink(Size size, bool rows_reversed, bool columns_reversed, const Output& output, void* slot, BufferPool& pool);
  void push(const Strip& strip) override;
  int64_t elapsed_ns() const { return elapsed_ns_; }

 private:
  void pack(const uint8_t* row, int y);

  Size size_;
  bool rows_reversed_, columns_reversed_;
  const Output& output_;
  void* slot_;
  uint8_t* turned_ = nullptr;  // one row, mirrored
  const Kernels& kernels_ = kernels();
  int arrived_ = 0;
  int64_t elapsed_ns_ = 0;
};

}  // namespace penstock
