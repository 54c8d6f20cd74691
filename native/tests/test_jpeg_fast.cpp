#include <cmath>
#include <cstring>

#include "../jpeg_fast.h"
#include "check.h"
#include "jpeg_maker.h"

using namespace penstock;
using penstock_test::Bytes;
using penstock_test::JpegOptions;
using penstock_test::make_jpeg;

namespace {

unsigned noise = 99;
int random_below(int limit) {
  noise = noise * 1664525u + 1013904223u;
  return static_cast<int>((uint64_t{noise} * static_cast<uint64_t>(limit)) >> 32);
}

// A JPEG of a slope along both axes: what any resampling keeps, if it looks where it should.
double slope(double y, double x, int channel) { return channel == 0 ? x / 4 : channel == 1 ? y / 4 : (x + y) / 8 + 20; }

Bytes slope_jpeg(int height, int width, int h_samp, int v_samp, int components, bool progressive) {
  jpeg_compress_struct info;
  jpeg_error_mgr error;
  info.err = jpeg_std_error(&error);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = components;
  info.in_color_space = components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 98, TRUE);
  if (components == 3) {
    info.comp_info[0].h_samp_factor = h_samp;
    info.comp_info[0].v_samp_factor = v_samp;
  }
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  Bytes row(static_cast<size_t>(width * components));
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < components; ++c) {
        row[static_cast<size_t>(x * components + c)] = static_cast<uint8_t>(std::lround(slope(y, x, c)));
      }
    }
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&info, &pointer, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Bytes bytes(memory, memory + size);
  std::free(memory);
  return bytes;
}

struct Collect final : RowSink {
  size_t row_bytes = 0;
  Region asked, arriving;
  Bytes pixels;
  bool planes = false;
  bool takes_planes() const override { return planes; }
  void push_planes(const uint8_t* const* rows, ptrdiff_t stride, int count) override {
    const ptrdiff_t width = static_cast<ptrdiff_t>(row_bytes / 3);
    for (ptrdiff_t i = 0; i < count * width; ++i) {
      for (int c = 0; c < 3; ++c) pixels.push_back(rows[c][i / width * stride + i % width]);
    }
  }
  Region wanted() const override { return asked; }
  void expect(const Region& region) override { arriving = region; }
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    for (int i = 0; i < count; ++i) pixels.insert(pixels.end(), rows + i * stride, rows + i * stride + row_bytes);
  }
};

Header header_of(const Bytes& bytes) {
  Header header;
  Problem problem;
  CHECK(inspect(bytes.data(), bytes.size(), Limits(), header, problem) && header.backend == Backend::jpeg);
  return header;
}

Step resize_step(int height, int width, float top, float left, float bottom, float right) {
  Step step;
  step.kind = Step::Kind::resize;
  step.height = height;
  step.width = width;
  step.box_top = top;
  step.box_left = left;
  step.box_bottom = bottom;
  step.box_right = right;
  return step;
}

DecodeResult decode(const Bytes& bytes, const Header& header, const FastPlan& plan, Collect& sink) {
  static DecodeScratch scratch;
  static TransformScratch transform;
  const std::atomic<bool> cancel{false};
  sink.row_bytes = static_cast<size_t>(plan.size.width) * 3;
  return decode_jpeg_fast(bytes.data(), bytes.size(), header, plan, Limits(), scratch, transform, cancel, sink);
}

// The largest distance from the slope, away from the edges of the image.
double worst(const FastPlan& plan, const Bytes& pixels, int components) {
  double most = 0;
  const double y_step = (plan.box[2] - plan.box[0]) / plan.size.height;
  const double x_step = (plan.box[3] - plan.box[1]) / plan.size.width;
  for (int y = 2; y < plan.size.height - 2; ++y) {
    for (int x = 2; x < plan.size.width - 2; ++x) {
      for (int c = 0; c < 3; ++c) {
        const double expected = slope(plan.box[0] + (y + 0.5) * y_step - 0.5, plan.box[1] + (x + 0.5) * x_step - 0.5,
                                      components == 1 ? 0 : c);
        const double found = pixels[static_cast<size_t>((y * plan.size.width + x) * 3 + c)];
        most = std::max(most, std::fabs(found - expected));
      }
    }
  }
  return most;
}

void keeps_every_pixel_in_its_place() {
  const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}, {4, 1}, {1, 2}};
  for (const auto& sampling : samplings) {
    for (bool progressive : {false, true}) {
      const Bytes bytes = slope_jpeg(371, 502, sampling[0], sampling[1], 3, progressive);
      const Header header = header_of(bytes);
      for (int side : {30, 60, 110, 200, 300}) {
        const FastPlan whole = plan_fast(header, {resize_step(side, side, 0, 0, 371, 502)});
        CHECK(whole.possible && whole.planar && whole.consumed == 1);
        Collect sink;
        CHECK(decode(bytes, header, whole, sink).outcome == DecodeOutcome::clean);
        CHECK(sink.pixels.size() == static_cast<size_t>(side * side * 3));
        CHECK(worst(whole, sink.pixels, 3) < 4.0);
      }
      const FastPlan part = plan_fast(header, {resize_step(40, 50, 101.5f, 133.25f, 250.5f, 310.0f)});
      CHECK(part.possible && !part.planar && part.scale == 4);
      Collect sink;
      CHECK(decode(bytes, header, part, sink).outcome == DecodeOutcome::clean);
      CHECK(worst(part, sink.pixels, 3) < 4.0);
    }
  }
  const Bytes grey = slope_jpeg(371, 502, 1, 1, 1, false);
  const FastPlan plan = plan_fast(header_of(grey), {resize_step(200, 200, 0, 0, 371, 502)});
  Collect sink;
  CHECK(decode(grey, header_of(grey), plan, sink).outcome == DecodeOutcome::clean);
  CHECK(worst(plan, sink.pixels, 1) < 2.5);
}

void plans() {
  const Bytes bytes = slope_jpeg(400, 600, 2, 2, 3, false);
  Header header = header_of(bytes);
  Step crop;
  crop.kind = Step::Kind::crop;
  crop.top = 10;
  crop.left = 20;
  crop.height = 380;
  crop.width = 570;
  Step flip;
  flip.kind = Step::Kind::flip_x;
  const Step resize = resize_step(90, 100, 1, 2, 371, 562);
  const FastPlan plan = plan_fast(header, {crop, resize, flip});
  CHECK(plan.possible && plan.consumed == 2 && plan.size == (Size{90, 100}) && plan.scale == 4);
  CHECK(plan.box[0] == 11 && plan.box[1] == 22 && plan.box[2] == 381 && plan.box[3] == 582);
  CHECK(plan.working_bytes > 200 * 300);
  CHECK(!plan_fast(header, {}).possible && !plan_fast(header, {crop}).possible);
  CHECK(!plan_fast(header, {flip, resize}).possible);
  CHECK(!plan_fast(header, {resize_step(500, 700, 0, 0, 400, 600)}).possible);  // more pixels out than in
  CHECK(!plan_fast(header, {resize_step(100, 100, 0, 0, 120, 120)}).possible);  // a part at full scale: exact
  CHECK(plan_fast(header, {resize_step(33, 50, 0, 0, 400, 600)}).scale == 1);
  CHECK(plan_fast(header, {resize_step(34, 50, 0, 0, 400, 600)}).scale == 2);
  CHECK(plan_fast(header, {resize_step(200, 300, 0, 0, 400, 600)}).scale == 8);
  Step nearest = resize, precise = resize;
  nearest.filter = Filter::nearest;
  precise.float32 = true;
  CHECK(!plan_fast(header, {nearest}).possible && !plan_fast(header, {precise}).possible);
  header.orientation = 6;  // upright 600 x 400: a quarter turn clockwise of what is stored
  const FastPlan turned = plan_fast(header, {resize_step(150, 90, 10, 20, 590, 380)});
  CHECK(turned.size == (Size{90, 150}));
  CHECK(turned.box[0] == 20 && turned.box[1] == 10 && turned.box[2] == 380 && turned.box[3] == 590);
}

void gives_only_the_rows_wanted() {
  const Bytes bytes = slope_jpeg(371, 502, 2, 2, 3, false);
  const Header header = header_of(bytes);
  const FastPlan plan = plan_fast(header, {resize_step(100, 120, 0, 0, 371, 502)});
  Collect whole, part;
  part.asked = {37, 5, 41, 60};
  CHECK(decode(bytes, header, plan, whole).outcome == DecodeOutcome::clean);
  CHECK(decode(bytes, header, plan, part).outcome == DecodeOutcome::clean);
  CHECK(part.arriving == (Region{37, 0, 41, 120}));
  CHECK(part.pixels == Bytes(whole.pixels.begin() + 37 * 360, whole.pixels.begin() + 78 * 360));
}

void planes_hold_the_same_pixels() {
  for (int components : {1, 3}) {
    const Bytes bytes = slope_jpeg(371, 502, 2, 2, components, false);
    const Header header = header_of(bytes);
    const FastPlan plan = plan_fast(header, {resize_step(100, 123, 0, 0, 371, 502)});
    Collect rows, planes;
    planes.planes = true;
    CHECK(decode(bytes, header, plan, rows).outcome == DecodeOutcome::clean);
    CHECK(decode(bytes, header, plan, planes).outcome == DecodeOutcome::clean);
    CHECK(rows.pixels.size() == 100 * 123 * 3 && rows.pixels == planes.pixels);
  }
}

void never_calls_a_broken_file_clean() {
  for (bool progressive : {false, true}) {
    JpegOptions options;
    options.progressive = progressive;
    const Bytes whole = make_jpeg(160, 200, options);
    const Header header = header_of(whole);
    const FastPlan plans[] = {plan_fast(header, {resize_step(20, 20, 0, 0, 160, 200)}),
                              plan_fast(header, {resize_step(100, 100, 0, 0, 160, 200)}),
                              plan_fast(header, {resize_step(20, 20, 0, 0, 60, 60)})};
    for (const FastPlan& plan : plans) {
      CHECK(plan.possible);
      for (size_t size = whole.size() / 2; size < whole.size() - 16; size += 97) {
        Collect sink;
        const Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
        CHECK(decode(cut, header, plan, sink).outcome == DecodeOutcome::referee);
      }
    }
    Bytes hole = whole;
    std::fill(hole.end() - 900, hole.end() - 600, 0);
    Collect sink;
    CHECK(decode(hole, header, plans[0], sink).outcome == DecodeOutcome::referee);
  }
}

void kernels_agree() {
  const PlaneKernels* fast = avx2_plane_kernels();
  if (fast == nullptr) return;
  const PlaneKernels& plain = portable_plane_kernels();
  const Filter filters[] = {Filter::box, Filter::bilinear, Filter::hamming, Filter::bicubic, Filter::lanczos};
  for (int round = 0; round < 2000; ++round) {
    PlaneRequest request;
    request.in_size = 2 + random_below(300);
    request.out_size = 1 + random_below(120);
    request.box_start = random_below(request.in_size) * 0.37;
    request.box_end = request.box_start + (request.in_size - request.box_start) * (1 + random_below(100)) / 100.0;
    request.filter = filters[round % 5];
    request.width = (request.box_end - request.box_start) / request.out_size * (round % 2 == 0 ? 1.0 : 1.2);
    const PlaneAxis axis = build_plane_axis(request);
    for (int o = 0; o < axis.out_size; ++o) {
      int sum = 0;
      for (int k = 0; k < axis.taps; ++k) sum += axis.weights[static_cast<size_t>(o * axis.taps + k)];
      CHECK(sum == 1 << axis.bits && axis.first[o] >= axis.low);
    }
    const int rows_at_once = 1 + random_below(3);
    const ptrdiff_t stride = std::max(request.in_size, request.out_size) + static_cast<ptrdiff_t>(2 * kPlanePad);
    Bytes in(static_cast<size_t>(stride * rows_at_once));
    for (uint8_t& sample : in)
      sample = static_cast<uint8_t>(random_below(3) == 0 ? 255 * random_below(2) : random_below(256));
    Bytes a(in.size()), b = a;
    plain.horizontal(axis, in.data(), stride, rows_at_once, a.data());
    fast->horizontal(axis, in.data(), stride, rows_at_once, b.data());
    for (int row = 0; row < rows_at_once; ++row) {
      CHECK(
          std::equal(a.begin() + stride * row, a.begin() + stride * row + request.out_size, b.begin() + stride * row));
    }
    const int bytes = 1 + random_below(100);
    std::vector<const uint8_t*> rows(static_cast<size_t>(axis.taps));
    for (const uint8_t*& row : rows) row = in.data() + random_below(static_cast<int>(in.size() - kPlanePad) / 2);
    Bytes wide(512, 7);
    for (uint8_t& sample : wide) sample = static_cast<uint8_t>(random_below(256));
    for (const uint8_t*& row : rows) row = wide.data() + random_below(300);
    Bytes c(256), d(256);
    const int8_t* weights = axis.weights.data() + static_cast<size_t>(random_below(axis.out_size) * axis.taps);
    plain.vertical(rows.data(), weights, axis.taps, axis.bits, bytes, c.data());
    fast->vertical(rows.data(), weights, axis.taps, axis.bits, bytes, d.data());
    CHECK(std::equal(c.begin(), c.begin() + bytes, d.begin()));
    Bytes e = wide, f = wide, g(1024), h(1024);
    uint8_t* const e_planes[] = {e.data(), e.data() + 170, e.data() + 340};
    uint8_t* const f_planes[] = {f.data(), f.data() + 170, f.data() + 340};
    plain.colours(e_planes, bytes, 14, 10);
    fast->colours(f_planes, bytes, 14, 10);
    for (int p = 0; p < 3; ++p) CHECK(std::equal(e_planes[p], e_planes[p] + bytes, f_planes[p]));
    plain.join(e_planes, bytes, g.data());
    fast->join(f_planes, bytes, h.data());
    CHECK(std::equal(g.begin(), g.begin() + bytes * 3, h.begin()));
  }
}

}  // namespace

int main() {
  plans();
  keeps_every_pixel_in_its_place();
  gives_only_the_rows_wanted();
  planes_hold_the_same_pixels();
  never_calls_a_broken_file_clean();
  kernels_agree();
  return penstock_test::report("test_jpeg_fast");
}
