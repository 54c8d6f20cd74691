// Builds the chain of sinks for one image. Every crop and flip is folded into the table or the window next to it, so a
// chain is: [crop] [horizontal] [vertical] ... [transpose] pack.
#include "transform.h"

#include <algorithm>
#include <cmath>

#include "sinks.h"

namespace penstock {
namespace {

// Rows or columns [start, start + size) of an axis.
struct Window {
  int start = 0, size = 0;
};

// A resize and what follows it until the next one: which part of its output is kept, and whether that part is flipped.
// The first group of a chain has no resize: it is the image as decoded.
struct Group {
  Step resize;
  Window x, y;
  bool flipped = false;
};

void crop(Group& group, const Step& step) {
  const int left = group.flipped ? group.x.size - step.left - step.width : step.left;
  group.x = {group.x.start + left, step.width};
  group.y = {group.y.start + step.top, step.height};
}

// Pillow crops where the box is the size asked for and starts on a pixel.
bool is_crop(const Step& step) {
  return step.box_left == std::floor(step.box_left) && step.box_top == std::floor(step.box_top) &&
         step.box_right - step.box_left == static_cast<float>(step.width) &&
         step.box_bottom - step.box_top == static_cast<float>(step.height);
}

std::vector<Group> gather(Size upright, const std::vector<Step>& steps) {
  std::vector<Group> groups(1);
  groups[0].x = {0, upright.width};
  groups[0].y = {0, upright.height};
  for (const Step& step : steps) {
    if (step.kind == Step::Kind::flip_x) {
      groups.back().flipped = !groups.back().flipped;
    } else if (step.kind == Step::Kind::crop) {
      crop(groups.back(), step);
    } else if (is_crop(step)) {
      Step part = step;
      part.top = static_cast<int>(step.box_top);
      part.left = static_cast<int>(step.box_left);
      crop(groups.back(), part);
    } else {
      Group next;
      next.resize = step;
      next.x = {0, step.width};
      next.y = {0, step.height};
      groups.push_back(next);
    }
  }
  return groups;
}

AxisRequest horizontal_request(const Group& group, int in_size, bool mirrored) {
  const Step& s = group.resize;
  return {in_size, s.width, s.box_left, s.box_right, s.filter, group.x.start, group.x.size, mirrored, group.flipped};
}

AxisRequest vertical_request(const Group& group, int in_size, bool mirrored) {
  const Step& s = group.resize;
  return {in_size, s.height, s.box_top, s.box_bottom, s.filter, group.y.start, group.y.size, mirrored, false};
}

Size upright_of(Size stored, int orientation) { return orientation >= 5 ? Size{stored.width, stored.height} : stored; }

}  // namespace

struct Chain::Impl {
  Impl(const Output& o, TransformScratch& scratch) : output(o), axes(scratch.axes), pool(scratch) {}

  Output output;
  AxisCache& axes;
  BufferPool pool;
  std::vector<std::unique_ptr<Sink>> sinks;
  PackSink* pack = nullptr;
  size_t row_bytes = 0;

  // What arrives at the end of the chain so far. Rows run along `across`, columns along `along`; upright, across is y.
  struct Arriving {
    int size = 0;           // of the frame on this axis
    bool reversed = false;  // last to first
    Window kept;            // the part that is wanted, in arrival positions: a crop not yet built
  } rows, columns;

  template <class T, class... Arguments>
  T* add(Arguments&&... arguments) {
    auto sink = std::make_unique<T>(std::forward<Arguments>(arguments)...);
    T* raw = sink.get();
    if (!sinks.empty()) sinks.back()->set_next(raw);
    sinks.push_back(std::move(sink));
    return raw;
  }

  // Narrows an axis to `window` of the upright frame, which spans exactly what is kept now.
  static void narrow(Arriving& axis, Window window) {
    const int start = axis.reversed ? axis.kept.size - window.start - window.size : window.start;
    axis.kept = {axis.kept.start + start, window.size};
  }

  // Builds the crop that is pending.
  void flush() {
    if (rows.kept.size != rows.size || columns.kept.size != columns.size) {
      add<CropSink>(rows.kept.start, rows.kept.size, columns.kept.start, columns.kept.size);
    }
    settle(rows, rows.kept.size);
    settle(columns, columns.kept.size);
  }

  static void settle(Arriving& axis, int size) {
    axis.size = size;
    axis.kept = {0, size};
  }

  // One resize. Which pass comes first is decided upright, whichever way the rows arrive.
  void resize(const Group& group, bool transposed) {
    Arriving& x = transposed ? rows : columns;
    Arriving& y = transposed ? columns : rows;
    const AxisRequest along_x = horizontal_request(group, x.kept.size, x.reversed);
    const AxisRequest along_y = vertical_request(group, y.kept.size, y.reversed);
    std::shared_ptr<const AxisTable> x_table, y_table;
    if (!axis_is_identity(along_x)) x_table = axes.get(along_x);
    if (!axis_is_identity(along_y)) y_table = axes.get(along_y);

    const bool vertical_first = group.resize.adaptive_order &&
                                vertical_pass_first({y.kept.size, x.kept.size}, {along_y.out_size, along_x.out_size});
    const bool across_first = transposed != vertical_first;

    // Rows that no output needs are cropped before any pass; columns too where the pass across rows comes first.
    const AxisTable* row_table = transposed ? x_table.get() : y_table.get();
    const AxisTable* column_table = transposed ? y_table.get() : x_table.get();
    int first_row = 0, first_column = 0;
    if (row_table != nullptr) {
      first_row = row_table->input_low;
      rows.kept = {rows.kept.start + first_row, row_table->input_high - first_row};
    } else {
      narrow(rows, transposed ? group.x : group.y);
    }
    if (column_table == nullptr) {
      narrow(columns, transposed ? group.y : group.x);
    } else if (across_first) {
      first_column = column_table->input_low;
      columns.kept = {columns.kept.start + first_column, column_table->input_high - first_column};
    }
    flush();

    const auto& across_table = transposed ? x_table : y_table;
    const auto& along_table = transposed ? y_table : x_table;
    if (across_first) across(across_table, first_row);
    along(along_table, first_column);
    if (!across_first) across(across_table, first_row);
    if (x_table == nullptr) x.reversed = x.reversed != group.flipped;
  }

  void along(const std::shared_ptr<const AxisTable>& table, int first_column) {
    if (table == nullptr) return;
    add<HorizontalSink>(table, first_column, columns.size, pool);
    settle(columns, table->window_size);
    columns.reversed = false;
  }

  void across(const std::shared_ptr<const AxisTable>& table, int first_row) {
    if (table == nullptr) return;
    add<VerticalSink>(table, first_row, columns.size, pool);
    settle(rows, table->window_size);
    rows.reversed = table->descending;
  }

  void transpose() {
    flush();
    add<TransposeSink>(rows.size, columns.size, rows.reversed, columns.reversed, pool);
    std::swap(rows, columns);
    rows.reversed = columns.reversed = false;
  }
};

Chain::Chain(Size stored, int orientation, const std::vector<Step>& steps, const Output& output, void* slot,
             TransformScratch& scratch)
    : impl_(std::make_unique<Impl>(output, scratch)) {
  Impl& chain = *impl_;
  bool transposed = orientation >= 5;
  chain.row_bytes = static_cast<size_t>(stored.width) * kChannels;
  chain.sinks.reserve(8);
  Impl::settle(chain.rows, stored.height);
  Impl::settle(chain.columns, stored.width);
  chain.rows.reversed = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  chain.columns.reversed = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;

  const std::vector<Group> groups = gather(upright_of(stored, orientation), steps);
  Impl::Arriving& x = transposed ? chain.rows : chain.columns;
  Impl::Arriving& y = transposed ? chain.columns : chain.rows;
  Impl::narrow(x, groups[0].x);
  Impl::narrow(y, groups[0].y);
  x.reversed = x.reversed != groups[0].flipped;
  for (size_t i = 1; i < groups.size(); ++i) {
    chain.resize(groups[i], transposed);
    if (transposed) chain.transpose();
    transposed = false;
  }
  if (transposed) chain.transpose();
  chain.flush();
  chain.pack = chain.add<PackSink>(Size{chain.rows.size, chain.columns.size}, chain.rows.reversed,
                                   chain.columns.reversed, chain.output, slot, chain.pool);
}

Chain::~Chain() = default;

void Chain::push(const uint8_t* rows, ptrdiff_t stride, int count) {
  if (count <= 0) return;
  impl_->sinks.front()->push({rows, stride, count, impl_->row_bytes});
}

void Chain::finish() {
  for (auto& sink : impl_->sinks) sink->finish();
}

int64_t Chain::batch_ns() const { return impl_->pack->elapsed_ns(); }

Size final_size(Size upright, const std::vector<Step>& steps) {
  const std::vector<Group> groups = gather(upright, steps);
  return {groups.back().y.size, groups.back().x.size};
}

uint64_t chain_bytes(Size stored, int orientation, const std::vector<Step>& steps) {
  constexpr uint64_t kSlack = 256;  // padding and alignment of a row
  const auto row = [](int width) { return static_cast<uint64_t>(width) * kChannels + kSlack; };
  const std::vector<Group> groups = gather(upright_of(stored, orientation), steps);
  bool transposed = orientation >= 5;
  uint64_t bytes = 0;
  const auto add_frame = [&](const Group& g) {
    bytes += static_cast<uint64_t>(g.x.size) * g.y.size * kChannels + kStripRows * row(g.x.size);
  };
  for (size_t i = 1; i < groups.size(); ++i) {
    const Group& from = groups[i - 1];
    const Group& to = groups[i];
    const AxisRequest along_x = horizontal_request(to, from.x.size, false);
    const AxisRequest along_y = vertical_request(to, from.y.size, false);
    const AxisRequest& across = transposed ? along_x : along_y;
    const AxisRequest& along = transposed ? along_y : along_x;
    const bool vertical_first = to.resize.adaptive_order && vertical_pass_first({along_y.in_size, along_x.in_size},
                                                                                {along_y.out_size, along_x.out_size});
    // The pass across rows works on rows as wide as they are then: before or after the other pass.
    const int width = transposed != vertical_first || axis_is_identity(along) ? along.in_size : along.window_size;
    if (!axis_is_identity(across)) bytes += (static_cast<uint64_t>(axis_support(across)) + kStripRows) * row(width);
    if (!axis_is_identity(along)) bytes += row(along.in_size) + kStripRows * row(along.window_size);
    if (transposed) add_frame(to);
    transposed = false;
  }
  if (transposed) add_frame(groups.back());
  return bytes + row(groups.back().x.size);
}

}  // namespace penstock
