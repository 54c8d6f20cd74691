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
  const int begin = std::max(part_.top - arrived_, 0);
  const int end = std::min(part_.top + part_.height - arrived_, strip.count);
  arrived_ += strip.count;
  if (begin >= end) return;
  const size_t offset = static_cast<size_t>(part_.left) * pixel_bytes_;
  Strip inside;
  inside.rows = strip.row(begin) + offset;
  inside.stride = strip.stride;
  inside.count = end - begin;
  inside.tail = strip.readable(end - 1) - offset;
  next_->push(inside);
}

RowSinkFunction::RowSinkFunction(Function function, int width, size_t out_pixel_bytes, BufferPool& pool)
    : function_(function), width_(width), out_stride_(padded_stride(static_cast<size_t>(width) * out_pixel_bytes)) {
  out_ = pool.take(out_stride_ * kStripRows);
}

void RowSinkFunction::push(const Strip& strip) {
  for (int done = 0; done < strip.count; done += kStripRows) {
    Strip out;
    out.rows = out_;
    out.stride = static_cast<ptrdiff_t>(out_stride_);
    out.count = std::min(kStripRows, strip.count - done);
    out.tail = out_stride_;
    for (int i = 0; i < out.count; ++i) {
      function_(strip.row(done + i), width_, out_ + static_cast<size_t>(i) * out_stride_);
    }
    next_->push(out);
  }
}

HorizontalSink::HorizontalSink(std::shared_ptr<const AxisTable> table, int column, int columns, Format format,
                               BufferPool& pool)
    : table_(std::move(table)),
      format_(format),
      offset_(static_cast<ptrdiff_t>(column) * static_cast<ptrdiff_t>(format.pixel_bytes())),
      row_bytes_(static_cast<size_t>(columns) * format.pixel_bytes()),
      out_stride_(padded_stride(static_cast<size_t>(table_->window_size) * format.pixel_bytes())) {
  if (format == Format{}) padded_ = pool.take(padded_stride(row_bytes_));
  out_ = pool.take(out_stride_ * kStripRows);
}

void HorizontalSink::push(const Strip& strip) {
  if (padded_ != nullptr) {
    push_rgb(strip);
  } else {
    push_any(strip);
  }
}

namespace {

template <int Channels>
void weigh_row(const AxisTable& table, const uint8_t* in, uint8_t* out) {
  const int32_t* weights = table.weights.data();
  for (int o = 0; o < table.window_size; ++o, weights += table.max_count, out += Channels) {
    const uint8_t* from = in + static_cast<ptrdiff_t>(table.first[o]) * Channels;
    int32_t sums[Channels];
    std::fill(sums, sums + Channels, 1 << (kWeightBits - 1));
    for (int k = 0; k < table.count[o]; ++k, from += Channels) {
      for (int c = 0; c < Channels; ++c) sums[c] += from[c] * weights[k];
    }
    for (int c = 0; c < Channels; ++c) out[c] = static_cast<uint8_t>(std::clamp(sums[c] >> kWeightBits, 0, 255));
  }
}

void pick_row(const AxisTable& table, const uint8_t* in, size_t pixel_bytes, uint8_t* out) {
  for (int o = 0; o < table.window_size; ++o, out += pixel_bytes) {
    if (table.count[o] > 0) {
      std::memcpy(out, in + static_cast<ptrdiff_t>(table.first[o]) * static_cast<ptrdiff_t>(pixel_bytes), pixel_bytes);
    } else {
      std::memset(out, 0, pixel_bytes);
    }
  }
}

}  // namespace

void HorizontalSink::push_any(const Strip& strip) {
  for (int done = 0; done < strip.count; done += kStripRows) {
    Strip out;
    out.rows = out_;
    out.stride = static_cast<ptrdiff_t>(out_stride_);
    out.count = std::min(kStripRows, strip.count - done);
    out.tail = out_stride_;
    for (int i = 0; i < out.count; ++i) {
      const uint8_t* from = strip.row(done + i) - offset_;
      uint8_t* to = out_ + static_cast<size_t>(i) * out_stride_;
      if (format_.sample != Sample::uint8) {
        pick_row(*table_, from, format_.pixel_bytes(), to);
      } else if (format_.channels == 1) {
        weigh_row<1>(*table_, from, to);
      } else {
        weigh_row<4>(*table_, from, to);
      }
    }
    next_->push(out);
  }
}

void HorizontalSink::push_rgb(const Strip& strip) {
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

VerticalSink::VerticalSink(std::shared_ptr<const AxisTable> table, int row, int width, Format format, BufferPool& pool)
    : table_(std::move(table)),
      weighs_(format.sample == Sample::uint8),
      arrived_(row),
      bytes_(width * static_cast<int>(format.pixel_bytes())),
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
    uint8_t* to = out_ + static_cast<size_t>(out.count) * stride_;
    if (weighs_) {
      run.vertical(pointers_, table.weights.data() + static_cast<size_t>(o) * table.max_count, count, bytes_, to);
    } else if (count > 0) {
      std::memcpy(to, pointers_[0], static_cast<size_t>(bytes_));
    } else {
      std::memset(to, 0, static_cast<size_t>(bytes_));
    }
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

TransposeSink::TransposeSink(int rows, int width, bool rows_reversed, bool columns_reversed, size_t pixel_bytes,
                             BufferPool& pool)
    : rows_(rows),
      width_(width),
      rows_reversed_(rows_reversed),
      columns_reversed_(columns_reversed),
      pixel_bytes_(pixel_bytes) {
  frame_ = pool.take(static_cast<size_t>(rows) * static_cast<size_t>(width) * pixel_bytes);
  out_ = pool.take(padded_stride(static_cast<size_t>(rows) * pixel_bytes) * kStripRows);
}

void TransposeSink::push(const Strip& strip) {
  const size_t bytes = static_cast<size_t>(width_) * pixel_bytes_;
  for (int i = 0; i < strip.count && arrived_ < rows_; ++i, ++arrived_) {
    const int x = rows_reversed_ ? rows_ - 1 - arrived_ : arrived_;
    std::memcpy(frame_ + static_cast<size_t>(x) * bytes, strip.row(i), bytes);
  }
}

namespace {

// `count` columns of the frame, from column `y` on, as rows. The size of a pixel is a constant, so that copies are
// moves.
template <size_t PixelBytes>
void gather_columns(const uint8_t* frame, int rows, int width, int y, int count, bool reversed, uint8_t* out,
                    size_t stride) {
  const size_t bytes = static_cast<size_t>(width) * PixelBytes;
  for (int x = 0; x < rows; ++x) {
    const uint8_t* column = frame + static_cast<size_t>(x) * bytes;
    for (int j = 0; j < count; ++j) {
      const int from = reversed ? width - 1 - y - j : y + j;
      std::memcpy(out + static_cast<size_t>(j) * stride + static_cast<size_t>(x) * PixelBytes,
                  column + static_cast<size_t>(from) * PixelBytes, PixelBytes);
    }
  }
}

}  // namespace

void TransposeSink::finish() {
  const size_t stride = padded_stride(static_cast<size_t>(rows_) * pixel_bytes_);
  Strip out;
  out.rows = out_;
  out.stride = static_cast<ptrdiff_t>(stride);
  out.tail = stride;
  for (int y = 0; y < width_; y += kStripRows) {
    out.count = std::min(kStripRows, width_ - y);
    const auto gather = pixel_bytes_ == 1   ? gather_columns<1>
                        : pixel_bytes_ == 2 ? gather_columns<2>
                        : pixel_bytes_ == 3 ? gather_columns<3>
                        : pixel_bytes_ == 4 ? gather_columns<4>
                        : pixel_bytes_ == 6 ? gather_columns<6>
                                            : gather_columns<8>;
    gather(frame_, rows_, width_, y, out.count, columns_reversed_, out_, stride);
    next_->push(out);
  }
}

}  // namespace penstock
