// libFuzzer entry: any bytes through index_tar(). Every block that looks like a header gets a right checksum first;
// every member must lie within the file, or say that it does not.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../tar.h"
#include "../tar_header.h"

namespace {

class InMemory final : public penstock::TarBytes {
 public:
  explicit InMemory(const std::vector<uint8_t>& bytes) : bytes_(bytes) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  bool read(int64_t offset, size_t count, uint8_t* into, int&) override {
    if (offset < 0 || static_cast<uint64_t>(offset) + count > bytes_.size()) std::abort();
    std::memcpy(into, bytes_.data() + offset, count);
    return true;
  }
  int64_t next_data(int64_t from) override { return from; }

 private:
  const std::vector<uint8_t>& bytes_;
};

void put_sum(uint8_t* block) {
  unsigned sum = 8 * ' ';
  for (size_t i = 0; i < 512; ++i) sum += i >= 148 && i < 156 ? 0 : block[i];
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  std::memcpy(block + 148, text, 7);
  block[155] = ' ';
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> file(data, data + size);
  for (size_t at = 0; at + 512 <= file.size(); at += 512) {
    if (penstock::tar_has_magic(file.data() + at)) put_sum(file.data() + at);
  }
  InMemory bytes(file);
  penstock::TarIndex index;
  penstock::index_tar(bytes, index);
  for (size_t row = 0; row < index.offset.size(); ++row) {
    const bool whole = index.state[row] == static_cast<uint8_t>(penstock::TarState::whole);
    if (index.offset[row] < 0 || index.size[row] < 0 || index.offset[row] > bytes.size()) std::abort();
    if (whole && index.size[row] > bytes.size() - index.offset[row]) std::abort();
    if (index.sample[row] + 1 >= static_cast<int64_t>(index.key_offsets.size())) std::abort();
  }
  return 0;
}
