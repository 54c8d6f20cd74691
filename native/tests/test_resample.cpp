// Weight tables, and every instruction set against the portable kernels, bit for bit.
#include <algorithm>
#include <cstring>
#include <random>

#include "../resample.h"
#include "check.h"

using namespace penstock;

namespace {

const Filter kFilters[] = {Filter::nearest, Filter::box,     Filter::bilinear,
                           Filter::hamming, Filter::bicubic, Filter::lanczos};

void test_identity() {
  CHECK(axis_is_identity({7, 7, 0, 7, Filter::bilinear, 0, 7, false}));
  CHECK(!axis_is_identity({7, 7, 0, 6.5f, Filter::bilinear, 0, 7, false}));
  CHECK(!axis_is_identity({7, 8, 0, 7, Filter::bilinear, 0, 8, false}));
}

void test_known_weights() {
  // 4 -> 2 bilinear: triangles of support 2 around 1 and 3, cut off at the edges: 3/7 3/7 1/7.
  const AxisTable t = build_axis({4, 2, 0, 4, Filter::bilinear, 0, 2, false});
  const int32_t three = 1797559, one = 599186;  // rounded from 3/7 and 1/7 of 1 << 22
  CHECK(t.first[0] == 0 && t.count[0] == 3 && t.first[1] == 1 && t.count[1] == 3);
  CHECK(t.weights[0] == three && t.weights[1] == three && t.weights[2] == one);
  CHECK(t.weights[3] == one && t.weights[4] == three && t.weights[5] == three);
}

void test_windows_and_mirrors() {
  for (Filter filter : kFilters) {
    const AxisTable whole = build_axis({50, 20, 1.5f, 47.25f, filter, 0, 20, false});
    const AxisTable part = build_axis({50, 20, 1.5f, 47.25f, filter, 6, 9, false});
    const AxisTable mirrored = build_axis({50, 20, 1.5f, 47.25f, filter, 6, 9, true, true});
    for (int o = 0; o < 9; ++o) {
      const int from = o + 6, back = 8 - o;
      CHECK(part.first[o] == whole.first[from] && part.count[o] == whole.count[from]);
      CHECK(mirrored.count[back] == part.count[o]);
      CHECK(mirrored.first[back] == 50 - part.first[o] - part.count[o]);
      for (int k = 0; k < part.count[o]; ++k) {
        CHECK(part.weights[o * part.max_count + k] == whole.weights[from * whole.max_count + k]);
        CHECK(mirrored.weights[back * mirrored.max_count + part.count[o] - 1 - k] ==
              part.weights[o * part.max_count + k]);
      }
    }
    CHECK(!part.descending && !mirrored.descending);
  }
}

void test_pass_order() {
  CHECK(vertical_pass_first({100, 50}, {10, 50}));
  CHECK(!vertical_pass_first({100, 50}, {90, 45}));
  CHECK(!vertical_pass_first({375, 500}, {224, 224}));
}

void test_kernels(const Kernels& fast, std::mt19937& random) {
  const Kernels& slow = portable_kernels();
  for (int round = 0; round < 1500; ++round) {
    const int in_size = 1 + static_cast<int>(random() % 120), out_size = 1 + static_cast<int>(random() % 70);
    const Filter filter = kFilters[random() % 6];
    AxisTable table = build_axis(
        {in_size, out_size, 0, static_cast<float>(in_size), filter, 0, out_size, random() % 2 == 0, random() % 2 == 0});
    if (fast.pack_axis != nullptr) fast.pack_axis(table);
    const int rows = 1 + static_cast<int>(random() % 5);
    const size_t row_bytes = static_cast<size_t>(in_size) * 3;
    // Exactly as many bytes as are said to be readable, so that a sanitizer sees one too many.
    const size_t readable = random() % 2 == 0 ? row_bytes : std::max(row_bytes, table.reach);
    std::vector<uint8_t> in((rows - 1) * row_bytes + readable);
    for (uint8_t& value : in) value = static_cast<uint8_t>(random() % 4 == 0 ? 255 : random());
    const size_t out_bytes = static_cast<size_t>(out_size) * 3;
    std::vector<uint8_t> expected(out_bytes * rows), found(out_bytes * rows);
    const ptrdiff_t stride = static_cast<ptrdiff_t>(row_bytes), out_stride = static_cast<ptrdiff_t>(out_bytes);
    slow.horizontal(table, in.data(), stride, rows, row_bytes, expected.data(), out_stride);
    fast.horizontal(table, in.data(), stride, rows, readable, found.data(), out_stride);
    CHECK(expected == found);

    std::vector<std::vector<uint8_t>> lines(table.max_count, std::vector<uint8_t>(row_bytes));
    std::vector<const uint8_t*> pointers;
    for (auto& line : lines) {
      for (uint8_t& value : line) value = static_cast<uint8_t>(random());
      pointers.push_back(line.data());
    }
    std::vector<uint8_t> slow_row(row_bytes), fast_row(row_bytes);
    const int bytes = static_cast<int>(row_bytes);
    slow.vertical(pointers.data(), table.weights.data(), table.count[0], bytes, slow_row.data());
    fast.vertical(pointers.data(), table.weights.data(), table.count[0], bytes, fast_row.data());
    CHECK(slow_row == fast_row);
  }
}

void test_normalize(const Kernels& fast) {
  const Kernels& slow = portable_kernels();
  const float means[][3] = {{0.485f, 0.456f, 0.406f}, {0.5f, 0.5f, 0.5f}, {0, 0, 0}, {0.1f, 0.9f, 1e-3f}};
  const float stds[][3] = {{0.229f, 0.224f, 0.225f}, {0.5f, 0.5f, 0.5f}, {1, 1, 1}, {3.1f, 1e-20f, 7e4f}};
  for (int i = 0; i < 4; ++i) {
    const Normalizer normalizer(means[i], stds[i]);
    for (int width : {1, 7, 8, 9, 10, 11, 16, 17, 31, 256}) {
      std::vector<uint8_t> in(static_cast<size_t>(width) * 3);
      for (size_t k = 0; k < in.size(); ++k) in[k] = static_cast<uint8_t>(k * 7 / 3);
      std::vector<float> a(in.size()), b(in.size());
      slow.normalize_planar(in.data(), width, normalizer, a.data(), width);
      fast.normalize_planar(in.data(), width, normalizer, b.data(), width);
      CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
      const uint8_t* const planes[] = {in.data(), in.data() + width, in.data() + width * 2};
      slow.normalize_planes(planes, width, normalizer, a.data(), width);
      fast.normalize_planes(planes, width, normalizer, b.data(), width);
      CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
      slow.normalize_interleaved(in.data(), width, normalizer, a.data());
      fast.normalize_interleaved(in.data(), width, normalizer, b.data());
      CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
      for (int run = 1; run <= width; ++run) {
        const ptrdiff_t stride = run * 3 + 5;  // what lies between the runs stays as it is
        std::vector<float> e(static_cast<size_t>((width / run + 1) * stride), 7.0f), f(e);
        slow.normalize_runs(in.data(), width / run, run, normalizer, e.data(), stride, a.data());
        fast.normalize_runs(in.data(), width / run, run, normalizer, f.data(), stride,
                            run % 2 == 0 ? a.data() : nullptr);
        CHECK(std::memcmp(e.data(), f.data(), e.size() * sizeof(float)) == 0);
      }
      std::vector<uint8_t> c(in.size()), d(in.size());
      slow.split_planar(in.data(), width, c.data(), width);
      fast.split_planar(in.data(), width, d.data(), width);
      CHECK(c == d);
    }
  }
}

void test_cache() {
  AxisCache cache;
  const AxisRequest request{50, 20, 0, 50, Filter::bilinear, 0, 20, false};
  const auto table = cache.get(request);
  for (int size = 1; size < 40; ++size) cache.get({size, 20, 0, static_cast<float>(size), Filter::box, 0, 20, false});
  CHECK(cache.get(request) == table);
  for (int size = 1; size < 200; ++size) cache.get({size, 20, 0, static_cast<float>(size), Filter::box, 0, 20, true});
  CHECK(cache.get(request) != table);
  CHECK(table->weights == cache.get(request)->weights);
}

}  // namespace

int main() {
  std::mt19937 random(1);
  test_identity();
  test_known_weights();
  test_windows_and_mirrors();
  test_pass_order();
  test_kernels(portable_kernels(), random);
  test_normalize(portable_kernels());
  if (const Kernels* fast = avx2_kernels()) {
    test_kernels(*fast, random);
    test_normalize(*fast);
  }
  test_cache();
  return penstock_test::report("test_resample");
}
