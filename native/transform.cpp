// Builds the chain of sinks for one image. Every crop and flip is folded into the table or the window next to it, so a
// chain is: [crop] [horizontal] [vertical] ... [transpose] [frame steps] ... pack.
#include "transform.h"

#include <algorithm>
#include <cmath>

#include "frame.h"
#include "sinks.h"

namespace penstock {
namespace {

// Rows or columns [start, start + size) of an axis.
struct Window {
  int start = 0, size = 0;
};

// A resize and what follows it until the next one: which part of its output is kept, and whether that part is flipped.
// The first group of a segment has no resize: it is the image as it arrives.
struct Group {
  Step resize;
  Window x, y;
  bool flipped_x = false, flipped_y = false;
};

// What runs on strips, and the frame steps after it.
struct Segment {
  std::vector<Group> groups;
  std::vector<Step> frame_steps;
  Format format;  // on strips; the frame steps may change it
};

void crop(Group& group, const Step& step) {
  const int left = group.flipped_x ? group.x.size - step.left - step.width : step.left;
  const int top = group.flipped_y ? group.y.size - step.top - step.height : step.top;
  group.x = {group.x.start + left, step.width};
  group.y = {group.y.start + top, step.height};
}

// Pillow crops where the box is the size asked for and starts on a pixel. RGBA goes through premultiplied colours even
// then, unless nothing is cut.
bool is_crop(const Step& step, Format format, const Group& group) {
  const bool whole_pixels = step.box_left == std::floor(step.box_left) && step.box_top == std::floor(step.box_top) &&
                            step.box_right - step.box_left == static_cast<float>(step.width) &&
                            step.box_bottom - step.box_top == static_cast<float>(step.height);
  if (format.channels != 4 || step.filter == Filter::nearest) return whole_pixels;
  return whole_pixels && step.width == group.x.size && step.height == group.y.size;
}

Size size_of(const Group& group) { return {group.y.size, group.x.size}; }

Segment new_segment(Size size, Format format) {
  Segment segment;
  segment.groups.resize(1);
  segment.groups[0].x = {0, size.width};
  segment.groups[0].y = {0, size.height};
  segment.format = format;
  return segment;
}

std::vector<Segment> gather(Size upright, Format format, const std::vector<Step>& steps) {
  std::vector<Segment> segments{new_segment(upright, format)};
  Size size = upright;
  for (const Step& step : steps) {
    if (is_frame_step(step)) {
      segments.back().frame_steps.push_back(step);
    } else {
      if (!segments.back().frame_steps.empty()) segments.push_back(new_segment(size, format));
      Group& group = segments.back().groups.back();
      if (step.kind == Step::Kind::flip_x) {
        group.flipped_x = !group.flipped_x;
      } else if (step.kind == Step::Kind::flip_y) {
        group.flipped_y = !group.flipped_y;
      } else if (step.kind == Step::Kind::crop) {
        crop(group, step);
      } else if (is_crop(step, format, group)) {
        Step part = step;
        part.top = static_cast<int>(step.box_top);
        part.left = static_cast<int>(step.box_left);
        crop(group, part);
      } else {
        Group next;
        next.resize = step;
        next.x = {0, step.width};
        next.y = {0, step.height};
        segments.back().groups.push_back(next);
      }
    }
    size = size_after(step, size);
    format = format_after(step, format);
  }
  return segments;
}

AxisRequest horizontal_request(const Group& group, int in_size, bool mirrored) {
  const Step& s = group.resize;
  return {in_size, s.width, s.box_left, s.box_right, s.filter, group.x.start, group.x.size, mirrored, group.flipped_x};
}

AxisRequest vertical_request(const Group& group, int in_size, bool mirrored) {
  const Step& s = group.resize;
  return {in_size, s.height, s.box_top, s.box_bottom, s.filter, group.y.start, group.y.size, mirrored, group.flipped_y};
}

// Pillow weighs the colours of RGBA by their alpha.
bool premultiplies(const Step& step, Format format) { return format.channels == 4 && step.filter != Filter::nearest; }

Format chain_format(const Incoming& incoming) {
  return incoming.to_grey ? Format{1, incoming.pushed.sample} : incoming.pushed;
}

Size upright_of(Size stored, int orientation) { return orientation >= 5 ? Size{stored.width, stored.height} : stored; }

}  // namespace

struct Chain::Impl {
  Impl(const Incoming& in, const Output& o, TransformScratch& s)
      : incoming(in), output(o), scratch(s), pool(s), format(in.pushed) {}

  Incoming incoming;
  Output output;
  TransformScratch& scratch;
  BufferPool pool;
  Format format;              // of the rows at the end of the chain so far
  bool entered = false;       // the first crop is built, or found needless
  Region wanted;              // the part of the stored image that the chain needs; {}: all
  CropSink* entry = nullptr;  // that first crop
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

  // Builds the crop that is pending; the first one is where a decoder may spare work.
  void flush() {
    if (rows.kept.size != rows.size || columns.kept.size != columns.size) {
      const Region part{rows.kept.start, columns.kept.start, rows.kept.size, columns.kept.size};
      CropSink* sink = add<CropSink>(part, format.pixel_bytes());
      if (!entered) {
        entry = sink;
        wanted = part;
      }
    }
    settle(rows, rows.kept.size);
    settle(columns, columns.kept.size);
    if (!entered && incoming.to_grey) {
      apply(format.sample == Sample::uint8 ? grey_of_rgb : grey_of_rgb16, chain_format(incoming));
    }
    entered = true;
  }

  // A function of each row; the rows have `to` as their format after it.
  void apply(RowSinkFunction::Function function, Format to) {
    add<RowSinkFunction>(function, columns.size, to.pixel_bytes(), pool);
    format = to;
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
    if (!axis_is_identity(along_x)) x_table = scratch.axes.get(along_x);
    if (!axis_is_identity(along_y)) y_table = scratch.axes.get(along_y);

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

    const bool premultiplied = premultiplies(group.resize, format);
    if (premultiplied) apply(premultiply, format);
    const auto& across_table = transposed ? x_table : y_table;
    const auto& along_table = transposed ? y_table : x_table;
    if (across_first) across(across_table, first_row);
    along(along_table, first_column);
    if (!across_first) across(across_table, first_row);
    if (premultiplied) apply(unpremultiply, format);
    if (x_table == nullptr) x.reversed = x.reversed != group.flipped_x;
    if (y_table == nullptr) y.reversed = y.reversed != group.flipped_y;
  }

  void along(const std::shared_ptr<const AxisTable>& table, int first_column) {
    if (table == nullptr) return;
    add<HorizontalSink>(table, first_column, columns.size, format, pool);
    settle(columns, table->window_size);
    columns.reversed = false;
  }

  void across(const std::shared_ptr<const AxisTable>& table, int first_row) {
    if (table == nullptr) return;
    add<VerticalSink>(table, first_row, columns.size, format, pool);
    settle(rows, table->window_size);
    rows.reversed = table->descending;
  }

  void transpose() {
    flush();
    add<TransposeSink>(rows.size, columns.size, rows.reversed, columns.reversed, format.pixel_bytes(), pool);
    std::swap(rows, columns);
    rows.reversed = columns.reversed = false;
  }

  // The frame steps of a segment: the image is upright and top down after them.
  void frame(const std::vector<Step>& steps) {
    flush();
    Size size{rows.size, columns.size};
    add<FrameSink>(size, format, rows.reversed, columns.reversed, steps, scratch, pool);
    for (const Step& step : steps) {
      size = size_after(step, size);
      format = format_after(step, format);
    }
    settle(rows, size.height);
    settle(columns, size.width);
    rows.reversed = columns.reversed = false;
  }

  // One segment; `transposed`: the rows that arrive are columns of the upright image.
  void segment(const Segment& part, bool transposed) {
    Arriving& x = transposed ? rows : columns;
    Arriving& y = transposed ? columns : rows;
    narrow(x, part.groups[0].x);
    narrow(y, part.groups[0].y);
    x.reversed = x.reversed != part.groups[0].flipped_x;
    y.reversed = y.reversed != part.groups[0].flipped_y;
    for (size_t i = 1; i < part.groups.size(); ++i) {
      resize(part.groups[i], transposed);
      if (transposed) transpose();
      transposed = false;
    }
    if (transposed) transpose();
    if (!part.frame_steps.empty()) frame(part.frame_steps);
  }
};

Chain::Chain(const Incoming& incoming, const std::vector<Step>& steps, const Output& output, void* slot,
             TransformScratch& scratch)
    : impl_(std::make_unique<Impl>(incoming, output, scratch)) {
  Impl& chain = *impl_;
  const int orientation = incoming.orientation;
  chain.row_bytes = static_cast<size_t>(incoming.stored.width) * incoming.pushed.pixel_bytes();
  chain.sinks.reserve(8);
  Impl::settle(chain.rows, incoming.stored.height);
  Impl::settle(chain.columns, incoming.stored.width);
  chain.rows.reversed = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  chain.columns.reversed = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;

  bool transposed = orientation >= 5;
  for (const Segment& part : gather(upright_of(incoming.stored, orientation), chain_format(incoming), steps)) {
    chain.segment(part, transposed);
    transposed = false;
  }
  chain.flush();
  chain.pack = chain.add<PackSink>(Size{chain.rows.size, chain.columns.size}, chain.format, chain.rows.reversed,
                                   chain.columns.reversed, chain.output, slot, chain.pool);
}

Chain::~Chain() = default;

void Chain::push(const uint8_t* rows, ptrdiff_t stride, int count) {
  if (count <= 0) return;
  impl_->sinks.front()->push({rows, stride, count, impl_->row_bytes});
}

// Where nothing is left to be done but packing.
bool Chain::takes_planes() const { return impl_->sinks.size() == 1 && impl_->pack->takes_planes(); }

void Chain::push_planes(const uint8_t* const* planes, ptrdiff_t stride, int count) {
  impl_->pack->push_planes(planes, stride, count);
}

void Chain::hand_on(Chain& behind) {
  const bool packs_only = behind.impl_->sinks.size() == 1;
  impl_->pack->hand_on(behind, packs_only);
  if (packs_only) behind.impl_->pack->leave_untimed();
}

Region Chain::wanted() const { return impl_->wanted; }

void Chain::expect(const Region& arriving) {
  if (impl_->entry == nullptr) return;
  impl_->entry->expect(arriving);
  impl_->row_bytes = static_cast<size_t>(arriving.width) * impl_->incoming.pushed.pixel_bytes();
}

void Chain::finish() {
  for (auto& sink : impl_->sinks) sink->finish();
}

int64_t Chain::batch_ns() const { return impl_->pack->elapsed_ns(); }

Size final_size(Size upright, const std::vector<Step>& steps) {
  Size size = upright;
  for (const Step& step : steps) size = size_after(step, size);
  return size;
}

namespace {

// Of the rows between the passes of a resize in float32.
uint64_t float_rows_bytes(Size in, Size out, int channels) {
  const uint64_t samples = out.height <= in.height
                               ? static_cast<uint64_t>(in.width) * static_cast<uint64_t>(out.height)
                               : static_cast<uint64_t>(out.width) * static_cast<uint64_t>(in.height);
  return samples * static_cast<uint64_t>(channels) * sizeof(float);
}

}  // namespace

uint64_t chain_bytes(const Incoming& incoming, const std::vector<Step>& steps) {
  constexpr uint64_t kSlack = 256;  // padding and alignment of a row
  bool transposed = incoming.orientation >= 5;
  const std::vector<Segment> segments =
      gather(upright_of(incoming.stored, incoming.orientation), chain_format(incoming), steps);
  uint64_t bytes = 0;
  for (const Segment& segment : segments) {
    Format format = segment.format;
    const auto row = [&](int width) { return static_cast<uint64_t>(width) * format.pixel_bytes() + kSlack; };
    const auto frame = [&](Size size) { return static_cast<uint64_t>(size.height) * row(size.width); };
    const std::vector<Group>& groups = segment.groups;
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
      if (premultiplies(to.resize, format)) bytes += kStripRows * (row(along.in_size) + row(along.window_size));
      if (transposed) bytes += frame(size_of(to)) + kStripRows * row(to.x.size);
      transposed = false;
    }
    Size size = size_of(groups.back());
    if (transposed) bytes += frame(size) + kStripRows * row(size.width);
    transposed = false;
    if (!segment.frame_steps.empty()) bytes += frame(size);
    for (const Step& step : segment.frame_steps) {
      const Size before = size;
      size = size_after(step, size);
      format = format_after(step, format);
      if (!in_place(step)) bytes += frame(size);
      if (step.float32) bytes += float_rows_bytes(before, size, format.channels);
    }
    bytes += row(size.width);
  }
  if (incoming.to_grey) bytes += kStripRows * (static_cast<uint64_t>(incoming.stored.width) + kSlack);
  return bytes;
}

size_t slot_bytes(Size size, int channels, const Output& output) {
  const size_t pixel = static_cast<size_t>(channels) * element_bytes(output.dtype);
  if (output.layout == Layout::patches) {
    const size_t side = static_cast<size_t>(output.patch);
    return static_cast<size_t>(output.max_patches) * side * side * pixel;
  }
  return static_cast<size_t>(size.height) * static_cast<size_t>(size.width) * pixel;
}

}  // namespace penstock
