// A decode that begins again: every row reaches the sink once, as rows and as planes.
#include <cstdint>
#include <vector>

#include "check.h"
#include "repeatable_sink.h"

namespace {

using namespace penstock;

constexpr int kWidth = 4, kHeight = 11;

class Counting final : public RowSink {
 public:
  explicit Counting(bool planes) : planes_(planes) {}
  bool takes_planes() const override { return planes_; }
  void expect(const Region&) override { ++expected; }
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    for (int i = 0; i < count; ++i) seen.push_back(rows[i * stride]);
  }
  void push_planes(const uint8_t* const* planes, ptrdiff_t stride, int count) override {
    for (int i = 0; i < count; ++i) {
      CHECK(planes[1][i * stride] == planes[0][i * stride] + 50 &&
            planes[2][i * stride] == planes[0][i * stride] + 100);
      seen.push_back(planes[0][i * stride]);
    }
  }
  std::vector<int> seen;
  int expected = 0;

 private:
  bool planes_;
};

void test_each_row_comes_once(bool planes, const std::vector<int>& first, const std::vector<int>& second) {
  std::vector<uint8_t> rows[3];
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < kHeight; ++y) rows[c].insert(rows[c].end(), kWidth, static_cast<uint8_t>(y + c * 50));
  }
  Counting counting(planes);
  RepeatableSink sink(counting);
  CHECK(sink.takes_planes() == planes);
  for (const std::vector<int>* blocks : {&first, &second}) {
    sink.begin_again();
    sink.expect({});
    int at = 0;
    for (int count : *blocks) {
      const ptrdiff_t from = at * kWidth;
      const uint8_t* const parts[3] = {rows[0].data() + from, rows[1].data() + from, rows[2].data() + from};
      if (planes) {
        sink.push_planes(parts, kWidth, count);
      } else {
        sink.push(parts[0], kWidth, count);
      }
      at += count;
    }
  }
  CHECK(counting.expected == 1);
  CHECK(counting.seen.size() == static_cast<size_t>(kHeight));
  for (size_t y = 0; y < counting.seen.size(); ++y) CHECK(counting.seen[y] == static_cast<int>(y));
}

}  // namespace

int main() {
  for (bool planes : {false, true}) {
    test_each_row_comes_once(planes, {}, {4, 7});
    test_each_row_comes_once(planes, {3, 2}, {4, 4, 3});
    test_each_row_comes_once(planes, {8}, {1, 2, 8});
    test_each_row_comes_once(planes, {4, 7}, {11});
  }
  return penstock_test::report("test_repeatable_sink");
}
