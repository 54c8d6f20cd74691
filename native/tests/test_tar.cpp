#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "../tar.h"
#include "../tar_header.h"
#include "check.h"

using namespace penstock;

namespace {

class InMemory : public TarBytes {
 public:
  explicit InMemory(const std::string& text) : bytes_(text.begin(), text.end()) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  bool read(int64_t offset, size_t count, uint8_t* into, int& error) override {
    if (offset + static_cast<int64_t>(count) > refused_from) {
      error = 5;
      return false;
    }
    // Exactly what is there, so that a sanitizer sees every byte too many.
    std::memcpy(into, bytes_.data() + offset, count);
    return true;
  }
  int64_t next_data(int64_t from) override { return from; }
  int64_t refused_from = int64_t{1} << 62;

 private:
  std::vector<uint8_t> bytes_;
};

class Counted final : public InMemory {
 public:
  using InMemory::InMemory;
  bool read(int64_t offset, size_t count, uint8_t* into, int& error) override {
    ++reads;
    return InMemory::read(offset, count, into, error);
  }
  int reads = 0;
};

std::string with_sum(std::string block) {
  unsigned sum = 0;
  std::memset(&block[148], ' ', 8);
  for (char byte : block) sum += static_cast<uint8_t>(byte);
  std::snprintf(&block[148], 8, "%06o", sum);
  block[155] = ' ';
  return block;
}

std::string header(const std::string& name, int64_t size, char type = '0') {
  std::string block(kTarBlock, '\0');
  std::memcpy(&block[0], name.data(), std::min<size_t>(name.size(), 100));
  std::snprintf(&block[124], 12, "%011llo", static_cast<unsigned long long>(size));
  block[156] = type;
  std::memcpy(&block[257], "ustar\00000", 8);
  return with_sum(block);
}

std::string filled(std::string text) {
  text.resize(static_cast<size_t>(tar_padded(static_cast<int64_t>(text.size()))));
  return text;
}

std::string member(const std::string& name, const std::string& text, char type = '0') {
  return header(name, static_cast<int64_t>(text.size()), type) + filled(text);
}

const std::string kEnd(2 * kTarBlock, '\0');

TarIndex indexed(const std::string& text) {
  InMemory bytes(text);
  TarIndex index;
  index_tar(bytes, index);
  return index;
}

std::string key(const TarIndex& index, size_t row) {
  const auto sample = static_cast<size_t>(index.sample[row]);
  const auto start = static_cast<size_t>(index.key_offsets[sample]);
  return index.keys.substr(start, static_cast<size_t>(index.key_offsets[sample + 1]) - start);
}

bool damaged(const TarIndex& index, TarFault fault, int64_t at, int64_t first, int64_t second = 0) {
  if (index.damage.size() != 1) return false;
  const TarDamage& found = index.damage[0];
  return found.fault == fault && found.at == at && found.first == first && found.second == second;
}

void lists_members_by_sample() {
  const TarIndex index = indexed(member("a/1.jpg", "picture") + member("a/1.cls", "7") + member("2.JPG", "") + kEnd);
  CHECK(index.damage.empty() && index.offset.size() == 3);
  CHECK(key(index, 0) == "a/1" && key(index, 1) == "a/1" && key(index, 2) == "2");
  CHECK(index.extensions == (std::vector<std::string>{"jpg", "cls"}));
  CHECK(index.offset[0] == 512 && index.size[0] == 7 && index.offset[1] == 1536 && index.size[2] == 0);
  CHECK(index.classes == "7");
}

void reads_names_of_every_kind() {
  const std::string longer(300, 'x');
  const std::string path = "path=" + longer + ".jpg\n";
  const std::string pax = std::to_string(path.size() + 4) + " " + path;
  std::string ustar = header("rest.jpg", 0);
  std::memcpy(&ustar[345], "folder", 6);
  const TarIndex index = indexed(member("@L", longer + ".png" + '\0', 'L') + member("short", "1") +
                                 member("@P", pax, 'x') + member("short", "2") + with_sum(ustar) + kEnd);
  CHECK(index.damage.empty() && index.offset.size() == 3);
  CHECK(key(index, 0) == longer && index.extensions[0] == "png");
  CHECK(key(index, 1) == longer && index.extensions[1] == "jpg");
  CHECK(key(index, 2) == "folder/rest");
}

void goes_on_behind_damage() {
  const std::string a = member("a.jpg", std::string(700, 'a')), b = member("b.jpg", "b"), c = member("c.jpg", "c");
  std::string broken = b;
  broken[3] ^= 1;
  TarIndex index = indexed(a + broken + c + kEnd);
  CHECK(index.offset.size() == 2 && key(index, 1) == "c" && damaged(index, TarFault::no_header, 1536, 2560));
  index = indexed(a + b);
  CHECK(index.offset.size() == 2 && damaged(index, TarFault::no_end, 2560, 0));
  index = indexed(a + b + kEnd + c + kEnd);
  CHECK(index.offset.size() == 3 && damaged(index, TarFault::more, 2560, 2, 3584));
  index = indexed(b + a.substr(0, 600));
  CHECK(index.offset.size() == 2 && damaged(index, TarFault::cut_member, 1536, 700, 88));
  CHECK(index.state[0] == static_cast<uint8_t>(TarState::whole) &&
        index.state[1] == static_cast<uint8_t>(TarState::cut));
  index = indexed(a.substr(0, 600) + b + member("d.jpg", std::string(2000, 'd')) + c + kEnd);
  CHECK(index.offset.size() == 4 && damaged(index, TarFault::overrun, 512, 700, 88));
  CHECK(index.state[0] == static_cast<uint8_t>(TarState::overrun) && key(index, 1) == "b");
}

void takes_no_absurd_size_at_its_word() {
  const std::string good = member("good.jpg", "g") + kEnd;
  std::string huge = header("huge.jpg", 0);
  std::memset(&huge[124], 0x7F, 12);
  huge[124] = static_cast<char>(0x80);
  for (int zeros : {0, 3, 10}) {  // from beyond 64 bits down to one that ends within the file
    std::string block = huge;
    std::memset(&block[125], 0, static_cast<size_t>(zeros));
    const TarIndex index = indexed(with_sum(block) + good);
    CHECK(key(index, index.offset.size() - 1) == "good" && !index.damage.empty());
  }
  std::string negative = huge;
  std::memset(&negative[124], 0xFF, 12);
  CHECK(key(indexed(with_sum(negative) + good), 0) == "good");
  const TarIndex record = indexed(header("@L", int64_t{1} << 32, 'L') + good);
  CHECK(record.offset.size() == 1 && record.damage.size() == 1);
}

// Nothing but a hole, apart from what is put into it.
class Hollow final : public TarBytes {
 public:
  explicit Hollow(int64_t size) : size_(size) {}
  void put(int64_t at, const std::string& text) { parts_[at] = text; }
  int64_t size() const override { return size_; }
  bool read(int64_t offset, size_t count, uint8_t* into, int& /*error*/) override {
    ++reads;
    std::memset(into, 0, count);
    for (const auto& [at, text] : parts_) {
      for (size_t i = 0; i < text.size(); ++i) {
        const int64_t place = at + static_cast<int64_t>(i) - offset;
        if (place >= 0 && place < static_cast<int64_t>(count)) into[place] = static_cast<uint8_t>(text[i]);
      }
    }
    return true;
  }
  int64_t next_data(int64_t from) override {
    int64_t next = size_;
    for (const auto& [at, text] : parts_) {
      if (at + static_cast<int64_t>(text.size()) > from) next = std::min(next, std::max(at, from));
    }
    return next;
  }
  int reads = 0;

 private:
  std::map<int64_t, std::string> parts_;
  int64_t size_;
};

void passes_over_holes_of_any_size() {
  const int64_t member_bytes = int64_t{1} << 32;
  Hollow bytes(member_bytes + 4 * kTarBlock);
  // A member that holds something, then a header that seems to be swallowed, then nothing.
  bytes.put(0, header("a.jpg", member_bytes) + std::string(kTarBlock, 'x') + header("b.jpg", 0));
  TarIndex index;
  index_tar(bytes, index);
  CHECK(index.offset.size() == 2 && index.size[0] == member_bytes && key(index, 1) == "b");
  CHECK(bytes.reads < 100);
}

// Many headers that lead to one long row of them, which leads nowhere, each followed by one that leads on.
void follows_no_header_twice() {
  const int64_t pairs = 3000, row = 60000, start = 2 * kTarBlock + pairs * 2 * kTarBlock;
  const int64_t end = start + (row + 1) * kTarBlock;  // behind a block that is no header
  std::string text = header("all.jpg", end - kTarBlock) + std::string(kTarBlock, 'x');
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t at = 2 * kTarBlock + i * 2 * kTarBlock;
    text += header("f.jpg", start - at - kTarBlock) + header("s.jpg", end - at - 2 * kTarBlock);
  }
  const std::string empty = header("t.jpg", 0);
  for (int64_t i = 0; i < row; ++i) text += empty;
  text += std::string(2 * kTarBlock, 'x');
  Counted bytes(text);
  TarIndex index;
  index_tar(bytes, index);
  CHECK(index.offset.size() >= static_cast<size_t>(pairs));
  CHECK(bytes.reads < 100'000);
}

// A file that is written to meanwhile: zeros for the first look, something else from then on.
class Changing final : public TarBytes {
 public:
  int64_t size() const override { return 8 * kTarBlock; }
  bool read(int64_t /*offset*/, size_t count, uint8_t* into, int& /*error*/) override {
    std::memset(into, reads++ == 0 ? 0 : 'x', count);
    return true;
  }
  int64_t next_data(int64_t from) override { return from; }
  int reads = 0;
};

void ends_where_the_file_changes_meanwhile() {
  Changing bytes;
  TarIndex index;
  index_tar(bytes, index);
  CHECK(index.offset.empty() && !index.damage.empty() && bytes.reads < 10);
}

void says_where_reading_ended() {
  InMemory bytes(member("a.jpg", std::string(9000, 'a')) + member("b.jpg", "b") + kEnd);
  bytes.refused_from = 5000;
  TarIndex index;
  index_tar(bytes, index);
  CHECK(index.offset.size() == 1 && damaged(index, TarFault::unreadable, 9728, 5));
}

void reads_files_on_threads() {
  char pattern[] = "/tmp/penstock_test_tar_XXXXXX";
  CHECK(mkdtemp(pattern) != nullptr);
  const std::string folder = pattern;
  std::vector<std::string> paths;
  for (int i = 0; i < 9; ++i) {
    paths.push_back(folder + "/" + std::to_string(i));
    const std::string text =
        member(std::to_string(i) + ".jpg", std::string(static_cast<size_t>(i) * 100000, 'x')) + kEnd;
    std::FILE* file = std::fopen(paths.back().c_str(), "wb");
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
  }
  paths.push_back(folder + "/none");
  paths.push_back(folder);
  const std::vector<TarIndex> indices = index_tars(paths, 4);
  for (int i = 0; i < 9; ++i) {
    const TarIndex& index = indices[static_cast<size_t>(i)];
    CHECK(index.problem.cause.empty() && key(index, 0) == std::to_string(i) && index.mtime_ns > 0);
    unlink(paths[static_cast<size_t>(i)].c_str());
  }
  CHECK(indices[9].problem.cause == "not found" && indices[10].problem.cause == "not a regular file");
  rmdir(folder.c_str());
}

}  // namespace

int main() {
  lists_members_by_sample();
  reads_names_of_every_kind();
  goes_on_behind_damage();
  takes_no_absurd_size_at_its_word();
  passes_over_holes_of_any_size();
  follows_no_header_twice();
  ends_where_the_file_changes_meanwhile();
  says_where_reading_ended();
  reads_files_on_threads();
  return penstock_test::report("test_tar");
}
