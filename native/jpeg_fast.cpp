// A JPEG to an image of another size: planes from the codec, each resampled on its own, colours last.
#include "jpeg_fast.h"

#include <algorithm>
#include <cmath>

#include "jpeg_entropy.h"
#include "plan.h"
#include "repeatable_sink.h"

namespace penstock {
namespace {

using codec::Codec;
using codec::Stop;

constexpr double kMargin = 1.5;  // of the scaled image over the size needed, on both axes
constexpr double kPart = 0.6;    // of the image: a smaller box is decoded alone
constexpr int kLumaLift = 14, kColourLift = 10;
constexpr int kRowsPerPush = 16;              // of the output
constexpr int kMostRows = 4 * DCTSIZE;        // of one component in a row of MCUs
constexpr uint64_t kMostBytes = 64ull << 20;  // of planes
constexpr int kScales[] = {1, 2, 4};          // of the IDCT, in eighths: those that the codec has fast code for

// One component as it comes, and where it lies: stored pixel s is at (s * scale - origin) of an axis.
struct Plane {
  uint8_t* pixels = nullptr;
  ptrdiff_t stride = 0;
  int height = 0, width = 0;
  int rows = 0;  // kept: row y is written over row y - rows
  double y_scale = 1, x_scale = 1;
  double y_origin = 0, x_origin = 0;
  int y_sampling = 1, x_sampling = 1;  // stored pixels a sample stands for
  int idct = DCTSIZE;                  // samples a block came out as

  uint8_t* row(int y) const { return pixels + stride * (y % rows); }
};

ptrdiff_t padded(int width) { return (width + static_cast<ptrdiff_t>(kPlanePad) + 31) & ~ptrdiff_t{31}; }

int idct_size(const jpeg_component_info& component) {
#if JPEG_LIB_VERSION >= 70
  return component.DCT_h_scaled_size;
#else
  return component.DCT_scaled_size;
#endif
}

// How wide the filter has to be on a plane so that the result is as soft as the exact one's. The variances of what is
// applied one after another add up: a triangle of width w has w^2 / 6; fancy upsampling, which the planes are spared,
// 3 / 4; a block's mean over n pixels, which the exact way does not take, (n^2 - 1) / 12, and the other scaled
// transforms, which keep more than the mean, part of it.
double filter_width(Filter filter, double scale, const Plane& plane, int sampling, double plane_scale) {
  const double exact = std::max(scale, 1.0);
  if (filter != Filter::bilinear) return exact * plane_scale;
  const double step = static_cast<double>(DCTSIZE) / plane.idct;
  const double kept = plane.idct == 1 ? 1.0 : 0.5;
  const double upsampled = sampling == 2 ? 0.75 : 0.0;
  const double block = kept * sampling * sampling * (step * step - 1.0) / 12.0;
  return std::sqrt(std::max(exact * exact + 6.0 * (upsampled - block), 0.0)) * plane_scale;
}

PlaneRequest request_of(Filter filter, double start, double end, int out_size, const Plane& plane, bool along_y) {
  const double plane_scale = along_y ? plane.y_scale : plane.x_scale;
  const double origin = along_y ? plane.y_origin : plane.x_origin;
  const int sampling = along_y ? plane.y_sampling : plane.x_sampling;
  return {along_y ? plane.height : plane.width,
          out_size,
          start * plane_scale - origin,
          end * plane_scale - origin,
          filter,
          filter_width(filter, (end - start) / out_size, plane, sampling, plane_scale)};
}

// The fast transform of whole blocks rounds down, flat ones excepted: what that takes away on average, in 1/32.
int lift_of(const Plane& plane, int lift) { return plane.idct == DCTSIZE ? lift : 0; }

// Resamples planes to plan.size and pushes RGB rows, as soon as the rows of the planes that they need are there.
class Resampler {
 public:
  Resampler(Plane* planes, int count, bool convert, const FastPlan& plan, DecodeScratch& scratch, RowSink& sink);
  // How many blocks of rows have to stay: the one that comes next, and those that outputs not yet pushed need.
  int kept_blocks(const int* rows_a_block) const;
  // Rows [0, arrived[c]) of each plane have come; those past plane.height count as come with the last.
  void push(const int* arrived);

 private:
  bool complete(int y, const int* arrived) const;
  void push_rows(int first, int rows);

  const Plane* planes_;
  int count_;
  bool convert_;
  const FastPlan& plan_;
  RowSink& sink_;
  const bool as_planes_;
  const PlaneKernels& run_ = plane_kernels();
  std::shared_ptr<const PlaneAxis> along_[3], across_[3];
  int next_ = 0, end_ = 0;  // rows of the output: the next to push, and the end of what the sink wants
  ptrdiff_t row_bytes_ = 0, rgb_bytes_ = 0;
  uint8_t* narrow_ = nullptr;
  uint8_t* lines_[3] = {};
  uint8_t* rgb_ = nullptr;
  std::vector<const uint8_t*> rows_;
};

Resampler::Resampler(Plane* planes, int count, bool convert, const FastPlan& plan, DecodeScratch& scratch,
                     RowSink& sink)
    : planes_(planes),
      count_(count),
      convert_(convert),
      plan_(plan),
      sink_(sink),
      as_planes_(sink.takes_planes()),
      end_(plan.size.height) {
  int widest = plan.size.width, taps = 1;
  for (int c = 0; c < count; ++c) {
    along_[c] = scratch.axes.get(request_of(plan.filter, plan.box[1], plan.box[3], plan.size.width, planes[c], false));
    across_[c] = scratch.axes.get(request_of(plan.filter, plan.box[0], plan.box[2], plan.size.height, planes[c], true));
    widest = std::max(widest, planes[c].width);
    taps = std::max(taps, across_[c]->taps);
  }
  rows_.resize(static_cast<size_t>(taps));
  // A block of rows goes through one pass before the next: a pass that reads what was written a moment ago would wait
  // for it to reach the cache.
  row_bytes_ = padded(widest);
  rgb_bytes_ = padded(plan.size.width * kChannels);
  const ptrdiff_t block_bytes = row_bytes_ * kRowsPerPush;
  const size_t needed = static_cast<size_t>(block_bytes * 4 + rgb_bytes_ * kRowsPerPush);
  if (scratch.lines.size() < needed) scratch.lines = std::vector<uint8_t>(needed);
  narrow_ = scratch.lines.data();
  rgb_ = narrow_ + block_bytes * 4;
  for (int c = 0; c < 3; ++c) lines_[c] = narrow_ + block_bytes * (c + 1);

  const Region wanted = sink.wanted();
  if (wanted.height > 0 && wanted.height < plan.size.height) {
    next_ = wanted.top;
    end_ = wanted.top + wanted.height;
    sink.expect({wanted.top, 0, wanted.height, plan.size.width});
  }
}

// Everything counted in blocks: the taps of an output lie within their number of rows around its center. One component
// may still wait for a row when the center is its taps below the last; another's taps reach their number further up.
int Resampler::kept_blocks(const int* rows_a_block) const {
  double reach = 0;
  for (int c = 0; c < count_; ++c) {
    reach = std::max(reach, static_cast<double>(across_[c]->taps + 1) / rows_a_block[c]);
  }
  return static_cast<int>(std::ceil(2.0 * reach)) + 2;
}

bool Resampler::complete(int y, const int* arrived) const {
  for (int c = 0; c < count_; ++c) {
    const int last = across_[c]->first[y] + across_[c]->count[y];
    if (std::min(last, planes_[c].height) > arrived[c]) return false;
  }
  return true;
}

void Resampler::push(const int* arrived) {
  while (next_ < end_) {
    int rows = 0;
    while (rows < kRowsPerPush && next_ + rows < end_ && complete(next_ + rows, arrived)) ++rows;
    if (rows == 0) return;
    push_rows(next_, rows);
    next_ += rows;
  }
}

void Resampler::push_rows(int first, int rows) {
  for (int c = 0; c < count_; ++c) {
    const PlaneAxis& vertical = *across_[c];
    const Plane& plane = planes_[c];
    const int low = along_[c]->low, width = along_[c]->high - low;
    for (int i = 0; i < rows; ++i) {
      const int y = first + i, taps = vertical.count[y];
      int kept = vertical.first[y] % plane.rows;
      for (int k = 0; k < taps; ++k) {
        rows_[static_cast<size_t>(k)] = plane.pixels + plane.stride * kept + low;
        // Where the plane has fewer rows than there are taps, the last stands for those behind it.
        if (vertical.first[y] + k + 1 < plane.height && ++kept == plane.rows) kept = 0;
      }
      run_.vertical(rows_.data(), vertical.weights.data() + static_cast<size_t>(y) * vertical.taps, taps, vertical.bits,
                    width, narrow_ + row_bytes_ * i);
    }
    run_.horizontal(*along_[c], narrow_, row_bytes_, rows, lines_[c]);
  }
  // Grey: two planes of 128 go with it, and become grey themselves.
  if (count_ == 1) std::fill(lines_[1], lines_[1] + 2 * row_bytes_ * kRowsPerPush, uint8_t{128});
  for (int i = 0; i < rows; ++i) {
    uint8_t* row[3] = {lines_[0] + row_bytes_ * i, lines_[1] + row_bytes_ * i, lines_[2] + row_bytes_ * i};
    if (convert_) {
      run_.colours(row, plan_.size.width, lift_of(planes_[0], kLumaLift), lift_of(planes_[1], kColourLift));
    }
    if (!as_planes_) run_.join(row, plan_.size.width, rgb_ + rgb_bytes_ * i);
  }
  if (as_planes_) {
    sink_.push_planes(lines_, row_bytes_, rows);
  } else {
    sink_.push(rgb_, rgb_bytes_, rows);
  }
}

void place(Plane* planes, int count, DecodeScratch& scratch) {
  size_t total = kPlanePad;
  for (int c = 0; c < count; ++c) total += static_cast<size_t>(planes[c].stride) * static_cast<size_t>(planes[c].rows);
  if (scratch.planes.size() < total) scratch.planes = std::vector<uint8_t>(total);
  uint8_t* at = scratch.planes.data();
  for (int c = 0; c < count; ++c) {
    planes[c].pixels = at;
    at += planes[c].stride * planes[c].rows;
  }
}

// All of the file, each component at its own resolution: of every plane only the last rows are kept.
bool read_planes(Codec& codec, const FastPlan& plan, Plane* planes, DecodeScratch& scratch, RowSink& sink,
                 DecodeResult& result) {
  codec.info.raw_data_out = TRUE;
  if (!codec::start(codec)) return false;
  const jpeg_decompress_struct& info = codec.info;
  const int count = info.num_components;
  int rows_a_block[3] = {};
  for (int c = 0; c < count; ++c) {
    const jpeg_component_info& component = info.comp_info[c];
    const int block = idct_size(component);
    Plane& plane = planes[c];
    plane.height = static_cast<int>(component.downsampled_height);
    plane.width = static_cast<int>(component.downsampled_width);
    rows_a_block[c] = component.v_samp_factor * block;
    plane.stride = padded(static_cast<int>(component.width_in_blocks) * block);
    plane.idct = block;
    plane.y_sampling = info.max_v_samp_factor / component.v_samp_factor;
    plane.x_sampling = info.max_h_samp_factor / component.h_samp_factor;
    plane.y_scale = static_cast<double>(component.v_samp_factor * block) / (info.max_v_samp_factor * DCTSIZE);
    plane.x_scale = static_cast<double>(component.h_samp_factor * block) / (info.max_h_samp_factor * DCTSIZE);
  }
  Resampler resampler(planes, count, info.jpeg_color_space != JCS_RGB, plan, scratch, sink);
  const int blocks = std::min(resampler.kept_blocks(rows_a_block), static_cast<int>(info.total_iMCU_rows));
  for (int c = 0; c < count; ++c) planes[c].rows = rows_a_block[c] * blocks;
  place(planes, count, scratch);
  const int lines = info.max_v_samp_factor * codec::block_of(info);
  JSAMPROW rows[3][kMostRows];
  JSAMPARRAY arrays[3] = {rows[0], rows[1], rows[2]};
  int arrived[3] = {};
  while (info.output_scanline < info.output_height) {
    for (int c = 0; c < count; ++c) {
      for (int i = 0; i < rows_a_block[c]; ++i) rows[c][i] = planes[c].row(arrived[c] + i);
      arrived[c] += rows_a_block[c];
    }
    if (!codec::read_raw(codec, arrays, lines)) return false;
    const int64_t begin = codec::now_ns();
    resampler.push(arrived);
    result.transform_ns += codec::now_ns() - begin;
  }
  return codec::finish(codec);
}

// The rows and columns around the box, at the scaled size.
bool read_part(Codec& codec, const FastPlan& plan, const uint8_t* scan, Plane* planes, DecodeScratch& scratch,
               RowSink& sink, DecodeResult& result) {
  if (!codec::start(codec)) return false;
  const jpeg_decompress_struct& info = codec.info;
  const double scale = static_cast<double>(plan.scale) / DCTSIZE;
  const int height = static_cast<int>(info.output_height), width = static_cast<int>(info.output_width);
  const auto reach = [&](double start, double end, int out) {
    return static_cast<int>(std::ceil(3.0 * std::max((end - start) * scale / out, 1.0))) + 1;
  };
  const int y_reach = reach(plan.box[0], plan.box[2], plan.size.height);
  const int x_reach = reach(plan.box[1], plan.box[3], plan.size.width);
  Region wanted;
  wanted.top = std::max(static_cast<int>(plan.box[0] * scale) - y_reach, 0);
  wanted.left = std::max(static_cast<int>(plan.box[1] * scale) - x_reach, 0);
  wanted.height = std::min(static_cast<int>(plan.box[2] * scale) + y_reach, height) - wanted.top;
  wanted.width = std::min(static_cast<int>(plan.box[3] * scale) + x_reach, width) - wanted.left;
  Region part = codec::part_of(info, wanted);
  if (part.width < width && !codec::crop_columns(codec, part.left, part.width)) return false;

  const int count = info.output_components;
  const int mcu = info.max_v_samp_factor * codec::block_of(info);
  for (int c = 0; c < count; ++c) {
    Plane& plane = planes[c];
    plane.height = plane.rows = part.height;
    plane.width = part.width;
    plane.stride = padded(part.width);
    plane.idct = plan.scale;
    plane.y_scale = plane.x_scale = scale;
    plane.y_origin = part.top;
    plane.x_origin = part.left;
  }
  place(planes, count, scratch);
  const size_t stride = static_cast<size_t>(part.width) * static_cast<size_t>(count);
  if (scratch.strip.size() < stride * static_cast<size_t>(mcu)) scratch.strip.resize(stride * static_cast<size_t>(mcu));
  if (part.top > 0 && !codec::skip_rows(codec, part.top)) return false;
  for (int done = 0; done < part.height; done += codec.rows_read) {
    if (codec.cancel->load(std::memory_order_relaxed)) {
      codec.stop = Stop::cancelled;
      return false;
    }
    if (!codec::read_rows(codec, scratch.strip.data(), stride, std::min(mcu, part.height - done))) return false;
    for (int i = 0; i < codec.rows_read; ++i) {
      const uint8_t* from = scratch.strip.data() + stride * static_cast<size_t>(i);
      uint8_t* to = planes[0].pixels + planes[0].stride * (done + i);
      if (count == 1) {
        std::copy(from, from + part.width, to);
      } else {
        kernels().split_planar(from, part.width, to, planes[1].pixels - planes[0].pixels);
      }
    }
  }
  if (!codec::read_rest(codec, scan, scratch.strip.data(), stride, mcu)) return false;
  const int64_t begin = codec::now_ns();
  const int arrived[3] = {part.height, part.height, part.height};
  Resampler(planes, count, info.jpeg_color_space != JCS_RGB, plan, scratch, sink).push(arrived);
  result.transform_ns += codec::now_ns() - begin;
  return true;
}

// The box of an upright image in the stored one.
void stored_box(const Header& header, const double upright[4], double box[4]) {
  const Size stored = {header.stored_height, header.stored_width};
  const Affine m = orientation_affine(stored, header.orientation);
  double x[2], y[2];
  for (int i = 0; i < 2; ++i) {  // its inverse: turned by the transpose
    const double u = upright[i * 2 + 1] - m.m[2], v = upright[i * 2] - m.m[5];
    x[i] = m.m[0] * u + m.m[3] * v;
    y[i] = m.m[1] * u + m.m[4] * v;
  }
  box[0] = std::min(y[0], y[1]);
  box[1] = std::min(x[0], x[1]);
  box[2] = std::max(y[0], y[1]);
  box[3] = std::max(x[0], x[1]);
}

// One go at the file, as in jpeg.cpp.
bool decode_once(const uint8_t* data, size_t size, const Header& header, const FastPlan& plan, const Limits& limits,
                 codec::EntropyScratch* entropy, DecodeScratch& scratch, const std::atomic<bool>& cancel, RowSink& sink,
                 DecodeResult& result) {
  Codec codec;
  codec::CodecOwner owner(codec);
  codec.entropy = entropy;
  Plane planes[3];
  if (codec::open(codec, data, size, header, limits, cancel)) {
    codec.info.scale_num = static_cast<unsigned>(plan.scale);
    codec.info.scale_denom = DCTSIZE;
    codec.info.dct_method = JDCT_IFAST;
    codec.info.out_color_space = codec.info.jpeg_color_space;
    if (plan.planar) {
      read_planes(codec, plan, planes, scratch, sink, result);
    } else {
      read_part(codec, plan, codec.source.next_input_byte, planes, scratch, sink, result);
    }
  }
  if (codec::needs_library(codec)) return false;
  codec::conclude(codec, limits, result);
  return true;
}

}  // namespace

FastPlan plan_fast(const Header& header, const std::vector<Step>& steps) {
  FastPlan plan;
  if (header.backend != Backend::jpeg || (header.components != 1 && header.components != 3)) return plan;
  if (header.stored_height < 2 * DCTSIZE || header.stored_width < 2 * DCTSIZE) return plan;
  double top = 0, left = 0;
  size_t at = 0;
  for (; at < steps.size() && steps[at].kind == Step::Kind::crop; ++at) {
    top += steps[at].top;
    left += steps[at].left;
  }
  if (at == steps.size()) return plan;
  const Step& resize = steps[at];
  if (resize.kind != Step::Kind::resize || resize.float32 || resize.filter == Filter::nearest) return plan;
  const double upright[4] = {top + resize.box_top, left + resize.box_left, top + resize.box_bottom,
                             left + resize.box_right};
  stored_box(header, upright, plan.box);
  plan.size = header.orientation >= 5 ? Size{resize.width, resize.height} : Size{resize.height, resize.width};
  plan.filter = resize.filter;
  plan.consumed = at + 1;
  const double height = plan.box[2] - plan.box[0], width = plan.box[3] - plan.box[1];
  for (int scale : kScales) {
    const double share = static_cast<double>(scale) / DCTSIZE;
    if (height * share >= kMargin * plan.size.height && width * share >= kMargin * plan.size.width) {
      plan.scale = scale;
      break;
    }
  }
  const double pixels = static_cast<double>(header.stored_height) * header.stored_width;
  plan.planar = height * width >= kPart * pixels;
  // Without a smaller scale the planes alone have to pay: not where most of them is not needed, nor where more pixels
  // come out than go in.
  if (plan.scale == DCTSIZE &&
      (!plan.planar || static_cast<double>(plan.size.height) * plan.size.width > height * width)) {
    return plan;
  }
  const double share = static_cast<double>(plan.scale) / DCTSIZE;
  const double scaled = (header.stored_height * share + 4.0 * DCTSIZE) * (header.stored_width * share + 128.0);
  plan.working_bytes = static_cast<uint64_t>(scaled * header.components);
  plan.possible = plan.working_bytes <= kMostBytes;
  return plan;
}

DecodeResult decode_jpeg_fast(const uint8_t* data, size_t size, const Header& header, const FastPlan& plan,
                              const Limits& limits, DecodeScratch& scratch, TransformScratch&,
                              const std::atomic<bool>& cancel, RowSink& sink) {
  DecodeResult result;
  const int64_t start = codec::now_ns();
  RepeatableSink rows(sink);
  codec::EntropyScratch* const entropy = codec::entropy_scratch(scratch);
  if (!decode_once(data, size, header, plan, limits, entropy, scratch, cancel, rows, result)) {
    rows.begin_again();
    decode_once(data, size, header, plan, limits, nullptr, scratch, cancel, rows, result);
  }
  result.decode_ns = codec::now_ns() - start - result.transform_ns;
  return result;
}

}  // namespace penstock
