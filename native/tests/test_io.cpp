#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "../io.h"
#include "check.h"

using namespace penstock;

namespace {

std::string folder;

std::string write_file(const char* name, size_t bytes) {
  const std::string path = folder + "/" + name;
  std::FILE* file = std::fopen(path.c_str(), "wb");
  for (size_t i = 0; i < bytes; ++i) std::fputc(static_cast<int>(i * 7 & 255), file);
  std::fclose(file);
  return path;
}

bool content_ok(ByteBuffer& buffer, size_t offset, size_t bytes) {
  if (buffer.size() != bytes) return false;
  for (size_t i = 0; i < bytes; ++i) {
    if (buffer.data()[i] != ((i + offset) * 7 & 255)) return false;
  }
  return true;
}

void reads_whole_files_and_ranges() {
  Limits limits;
  ByteBuffer buffer;
  Problem problem;
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{65535}, size_t{65536}, size_t{65537}, size_t{300000}}) {
    const std::string path = write_file("plain", bytes);
    CHECK(read_file(path.c_str(), 0, kWholeFile, limits, buffer, problem));
    CHECK(content_ok(buffer, 0, bytes));
  }
  const std::string path = write_file("plain", 12000);
  CHECK(read_file(path.c_str(), 100, 50, limits, buffer, problem) && content_ok(buffer, 100, 50));
  CHECK(read_file(path.c_str(), 11990, kWholeFile, limits, buffer, problem) && content_ok(buffer, 11990, 10));
  CHECK(read_file(path.c_str(), 12000, kWholeFile, limits, buffer, problem) && buffer.size() == 0);
  CHECK(read_file(path.c_str(), 12000, 0, limits, buffer, problem) && buffer.size() == 0);
  CHECK(!read_file(path.c_str(), 0, 12345, limits, buffer, problem));
  CHECK(problem.stage == Stage::read && problem.cause == "short read");
  CHECK(problem.message == "expected 12345 bytes, found 12000 bytes");
  CHECK(!read_file(path.c_str(), 12001, 1, limits, buffer, problem));
  CHECK(problem.message == "expected 1 byte at offset 12001, found 0 bytes");
  CHECK(!read_file(path.c_str(), ~uint64_t{0}, 1, limits, buffer, problem));
  CHECK(!read_file(path.c_str(), 10, ~uint64_t{1}, limits, buffer, problem));
  CHECK(problem.cause == "too large");
}

void refuses_what_is_not_a_regular_file() {
  Limits limits;
  ByteBuffer buffer;
  Problem problem;
  CHECK(!read_file((folder + "/none").c_str(), 0, kWholeFile, limits, buffer, problem));
  CHECK(problem.cause == "not found" && problem.message == "expected a file, found no such file");
  CHECK(!read_file(folder.c_str(), 0, kWholeFile, limits, buffer, problem));
  CHECK(problem.cause == "not a regular file" && problem.message == "expected a regular file, found a directory");
  const std::string fifo = folder + "/fifo";
  CHECK(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(!read_file(fifo.c_str(), 0, kWholeFile, limits, buffer, problem));
  CHECK(problem.cause == "not a regular file" && problem.message == "expected a regular file, found a FIFO");
  unlink(fifo.c_str());
  CHECK(!read_file("/dev/zero", 0, kWholeFile, limits, buffer, problem));
  CHECK(problem.message == "expected a regular file, found a device");
  const std::string loop = folder + "/loop";
  CHECK(symlink(loop.c_str(), loop.c_str()) == 0);
  CHECK(!read_file(loop.c_str(), 0, kWholeFile, limits, buffer, problem));
  CHECK(problem.cause == "read error");
  unlink(loop.c_str());
  if (geteuid() != 0) {
    const std::string path = write_file("locked", 3);
    chmod(path.c_str(), 0);
    CHECK(!read_file(path.c_str(), 0, kWholeFile, limits, buffer, problem));
    CHECK(problem.cause == "permission denied");
    unlink(path.c_str());
  }
}

void holds_the_limit() {
  Limits limits;
  limits.max_file_bytes = 100;
  ByteBuffer buffer;
  Problem problem;
  const std::string path = write_file("plain", 101);
  CHECK(!read_file(path.c_str(), 0, kWholeFile, limits, buffer, problem));
  CHECK(problem.cause == "too large" && problem.message == "expected at most 100 bytes, found 101 bytes");
  CHECK(read_file(path.c_str(), 1, kWholeFile, limits, buffer, problem) && buffer.size() == 100);
  CHECK(buffer.capacity() >= 100);
  buffer.trim(10);
  CHECK(buffer.capacity() == 0 && buffer.size() == 0);
}

void keeps_content_while_growing() {
  ByteBuffer buffer;
  CHECK(buffer.reserve(10));
  std::memset(buffer.data(), 42, buffer.capacity());
  const size_t before = buffer.capacity();
  CHECK(buffer.grow(before * 3));
  CHECK(buffer.data()[0] == 42 && buffer.data()[before - 1] == 42);
  CHECK(!buffer.grow(~size_t{0}) && !buffer.reserve(~size_t{0}));
}

}  // namespace

int main() {
  char pattern[] = "/tmp/penstock_test_io_XXXXXX";
  if (mkdtemp(pattern) == nullptr) return 1;
  folder = pattern;
  reads_whole_files_and_ranges();
  refuses_what_is_not_a_regular_file();
  holds_the_limit();
  keeps_content_while_growing();
  unlink((folder + "/plain").c_str());
  rmdir(folder.c_str());
  return penstock_test::report("test_io");
}
