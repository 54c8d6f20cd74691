#include "sinks.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

// Room behind a row that a sink owns, so that wide loads of the last pixels stay inside.
constexpr size_t kRowPadding = 64;

size_t padded_stride(size_t bytes) { return (bytes + kRowPadding + 31) & ~size_t{31}; }

}  // namespace

uint8_t* BufferPool::take(size_t bytes) {
  constexpr size_t kAlignment = 64;
  if (used_ == scratch_.buffers.size()) scratch_.buffers.emplace_back();
  std::vector<uint8_t>& buffer = scratch_.buffers[used_++];
  if (buffer.size() < bytes + kAlignment) {
    // A fresh vector: resize() would copy what nobody needs.
    buffer = std::vector<uint8_t>(bytes + bytes / 4 + kAlignment);
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(buffer.data());
  return buffer.data() + ((kAlignment - address % kAlignment) % kAlignment);
}

void CropSink::push(const Strip& strip) {
  const int begin = std::max(row_ - arrived_, 0);
  const int end = std::min(row_ + rows_ - arrived_, strip.count);
  arrived_ += strip.count;
  if (begin >= end) return;
  Strip inside;
  inside.rows = strip.row(begin) + offset_;
  inside.stride = strip.stride;
  inside.count = end - begin;
  inside.tail = strip.readable(end - 1) - static_cast<size_t>(offset_);
  next_->push(inside);
}

HorizontalSink::HorizontalSink(std::shared_ptr<const AxisTable> table, int column, int columns, BufferPool& pool)
    : table_(std::move(table)),
      offset_(static_cast<ptrdiff_t>(column) * kChannels),
      row_bytes_(static_cast<size_t>(columns) * kChannels),
      out_stride_(padded_stride(static_cast<size_t>(table_->window_size) * kChannels)) {
  padded_ = pool.take(padded_stride(row_bytes_));
  out_ = pool.take(out_stride_ * kStripRows);
}

void HorizontalSink::push(const Strip& strip) {
  const Kernels& run = kernels();
  const size_t offset = static_cast<size_t>(offset_);
  for (int done = 0; done < strip.count; done += kStripRows) {
    const int count = std::min(kStripRows, strip.count - done);
    // Where the last row's end is the end of readable memory, that row goes through a copy with room behind it.
    int direct = count;
    size_t readable = strip.readable(done + count - 1);
    if (readable + offset < table_->reach) {
      direct = count - 1;
      readable = direct > 0 ? strip.readable(done + direct - 1) : 0;
    }
    if (direct > 0) {
      run.horizontal(*table_, strip.row(done) - offset_, strip.stride, direct, readable + offset, out_,
                     static_cast<ptrdiff_t>(out_stride_));
    }
    if (direct < count) {
      std::memcpy(padded_, strip.row(done + direct), row_bytes_);
      run.horizontal(*table_, padded_ - offset_, 0, 1, row_bytes_ + kRowPadding + offset,
                     out_ + static_cast<size_t>(direct) * out_stride_, static_cast<ptrdiff_t>(out_stride_));
    }
    Strip out;
    out.rows = out_;
    out.stride = static_cast<ptrdiff_t>(out_stride_);
    out.count = count;
    out.tail = out_stride_;
    next_->push(out);
  }
}

VerticalSink::VerticalSink(std::shared_ptr<const AxisTable> table, int row, int width, BufferPool& pool)
    : table_(std::move(table)),
      arrived_(row),
      bytes_(width * kChannels),
      stride_(padded_stride(static_cast<size_t>(bytes_))) {
  const size_t kept = static_cast<size_t>(std::max(table_->max_count, 1));
  ring_ = pool.take(stride_ * kept);
  out_ = pool.take(stride_ * kStripRows);
  pointers_ = reinterpret_cast<const uint8_t**>(pool.take(sizeof(uint8_t*) * kept));
}

void VerticalSink::push(const Strip& strip) {
  const Kernels& run = kernels();
  const AxisTable& table = *table_;
  const int ring_rows = std::max(table.max_count, 1);
  const int end = arrived_ + strip.count;
  Strip out;
  out.rows = out_;
  out.stride = static_cast<ptrdiff_t>(stride_);
  out.tail = stride_;
  for (; emitted_ < table.window_size; ++emitted_) {
    const int o = place(emitted_);
    const int first = table.first[o], count = table.count[o];
    if (first + count > end) break;
    for (int k = 0; k < count; ++k) {
      const int row = first + k;
      pointers_[k] =
          row >= arrived_ ? strip.row(row - arrived_) : ring_ + static_cast<size_t>(row % ring_rows) * stride_;
    }
    run.vertical(pointers_, table.weights.data() + static_cast<size_t>(o) * table.max_count, count, bytes_,
                 out_ + static_cast<size_t>(out.count) * stride_);
    if (++out.count == kStripRows) {
      next_->push(out);
      out.count = 0;
    }
  }
  if (out.count > 0) next_->push(out);

  if (emitted_ < table.window_size) {
    const int needed = table.first[place(emitted_)];
    for (int row = std::max(needed, arrived_); row < end; ++row) {
      std::memcpy(ring_ + static_cast<size_t>(row % ring_rows) * stride_, strip.row(row - arrived_),
                  static_cast<size_t>(bytes_));
    }
  }
  arrived_ = end;
}

TransposeSink::TransposeSink(int rows, int width, bool rows_reversed, bool columns_reversed, BufferPool& pool)
    : rows_(rows), width_(width), rows_reversed_(rows_reversed), columns_reversed_(columns_reversed) {
  frame_ = pool.take(static_cast<size_t>(rows) * static_cast<size_t>(width) * kChannels);
  out_ = pool.take(padded_stride(static_cast<size_t>(rows) * kChannels) * kStripRows);
}

void TransposeSink::push(const Strip& strip) {
  const size_t bytes = static_cast<size_t>(width_) * kChannels;
  for (int i = 0; i < strip.count && arrived_ < rows_; ++i, ++arrived_) {
    const int x = rows_reversed_ ? rows_ - 1 - arrived_ : arrived_;
    std::memcpy(frame_ + static_cast<size_t>(x) * bytes, strip.row(i), bytes);
  }
}

void TransposeSink::finish() {
  const size_t bytes = static_cast<size_t>(width_) * kChannels;
  const size_t stride = padded_stride(static_cast<size_t>(rows_) * kChannels);
  Strip out;
  out.rows = out_;
  out.stride = static_cast<ptrdiff_t>(stride);
  out.tail = stride;
  for (int y = 0; y < width_; y += kStripRows) {
    out.count = std::min(kStripRows, width_ - y);
    for (int x = 0; x < rows_; ++x) {
      const uint8_t* column = frame_ + static_cast<size_t>(x) * bytes;
      for (int j = 0; j < out.count; ++j) {
        const int from = columns_reversed_ ? width_ - 1 - y - j : y + j;
        std::memcpy(out_ + static_cast<size_t>(j) * stride + static_cast<size_t>(x) * kChannels,
                    column + static_cast<size_t>(from) * kChannels, kChannels);
      }
    }
    next_->push(out);
  }
}

}  // namespace penstock
