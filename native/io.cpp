// Reading files: open without blocking, refuse what is not a regular file, read to the end.
#include "io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace penstock {
namespace {

constexpr size_t kGranule = size_t{64} << 10;     // capacities are multiples: data sets repeat sizes nearly
constexpr uint64_t kChunk = uint64_t{1} << 30;    // some systems refuse longer single reads
constexpr size_t kLimit = ~size_t{0} - kGranule;  // beyond it the rounding would overflow

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

// The time inside system calls, told to the watch, where there is one.
class Inside {
 public:
  explicit Inside(CallWatch* watch) : watch_(watch) { enter(); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() {
    if (inside_) leave();
  }
  void enter() {
    if (watch_ != nullptr) watch_->enter();
    inside_ = watch_ != nullptr;
  }
  bool leave() {
    inside_ = false;
    return watch_ == nullptr || watch_->leave();
  }

 private:
  CallWatch* watch_;
  bool inside_ = false;
};

// strerror_r comes in two shapes; these take either.
[[maybe_unused]] const char* error_text(int, const char* buffer) { return buffer; }
[[maybe_unused]] const char* error_text(const char* text, const char*) { return text; }

std::string describe(int error) {
  char buffer[128] = "unknown error";
  return error_text(strerror_r(error, buffer, sizeof buffer), buffer);
}

bool fail(Problem& problem, const char* cause, std::string message) {
  problem.stage = Stage::read;
  problem.cause = cause;
  problem.message = std::move(message);
  return false;
}

bool fail_with_error(Problem& problem, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return fail(problem, "not found", "expected a file, found no such file");
    case EACCES:
    case EPERM:
      return fail(problem, "permission denied", "expected a readable file, found permission denied");
    case ENXIO:
      return fail(problem, "not a regular file", "expected a regular file, found a socket or a device");
    case ENOMEM:
      return fail(problem, "out of memory", "expected a readable file, found the system out of memory");
    default:
      return fail(problem, "read error", "expected a readable file, found \"" + describe(error) + "\"");
  }
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

int open_to_read(const char* path) {
  int number;
  do {
    number = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (number < 0 && errno == EINTR);
  return number;
}

std::string bytes_text(uint64_t count) { return std::to_string(count) + (count == 1 ? " byte" : " bytes"); }

bool fail_size(Problem& problem, uint64_t limit, uint64_t found) {
  return fail(problem, "too large", "expected at most " + bytes_text(limit) + ", found " + bytes_text(found));
}

bool fail_memory(Problem& problem, uint64_t wanted) {
  return fail(problem, "out of memory", "expected memory for " + bytes_text(wanted) + ", found none");
}

bool fail_short(Problem& problem, uint64_t expected, uint64_t offset, uint64_t found) {
  std::string place = offset > 0 ? " at offset " + std::to_string(offset) : "";
  return fail(problem, "short read", "expected " + bytes_text(expected) + place + ", found " + bytes_text(found));
}

FileIdentity identity_of(const struct stat& about) {
  constexpr int64_t kSecond = 1000000000;
  FileIdentity identity;
  identity.inode = static_cast<uint64_t>(about.st_ino);
  identity.bytes = static_cast<uint64_t>(about.st_size);
#ifdef __APPLE__
  identity.mtime_ns = about.st_mtimespec.tv_sec * kSecond + about.st_mtimespec.tv_nsec;
  identity.ctime_ns = about.st_ctimespec.tv_sec * kSecond + about.st_ctimespec.tv_nsec;
#else
  identity.mtime_ns = about.st_mtim.tv_sec * kSecond + about.st_mtim.tv_nsec;
  identity.ctime_ns = about.st_ctim.tv_sec * kSecond + about.st_ctim.tv_nsec;
#endif
  return identity;
}

// Up to `wanted` bytes from `offset`. Returns the count (0: the end), or -1 with errno.
ssize_t read_some(int number, uint8_t* into, uint64_t wanted, uint64_t offset) {
  ssize_t count;
  do {
    count = ::pread(number, into, static_cast<size_t>(std::min(wanted, kChunk)), static_cast<off_t>(offset));
  } while (count < 0 && errno == EINTR);
  return count;
}

}  // namespace

bool ByteBuffer::reserve(size_t bytes) {
  if (bytes <= capacity_ && data_ != nullptr) return true;
  if (bytes > kLimit) return false;
  // Freed first: the old content is not needed, and the peak stays at one buffer.
  std::free(data_);
  data_ = nullptr;
  size_ = capacity_ = 0;
  return grow(bytes);
}

bool ByteBuffer::grow(size_t bytes) {
  if (bytes <= capacity_ && data_ != nullptr) return true;
  if (bytes > kLimit) return false;
  size_t rounded = std::max(kGranule, (bytes + kGranule - 1) / kGranule * kGranule);
  void* moved = std::realloc(data_, rounded);
  if (moved == nullptr) return false;
  data_ = static_cast<uint8_t*>(moved);
  capacity_ = rounded;
  return true;
}

void ByteBuffer::trim(size_t keep_bytes) {
  if (capacity_ <= keep_bytes) return;
  std::free(data_);
  data_ = nullptr;
  size_ = capacity_ = 0;
}

bool read_file(const char* path, uint64_t offset, uint64_t length, const Limits& limits, ByteBuffer& out,
               Problem& problem) {
  Holding unlimited;
  const std::atomic<bool> never{false};
  return read_file(path, offset, length, limits, out, problem, unlimited, never);
}

bool read_file(const char* path, uint64_t offset, uint64_t length, const Limits& limits, ByteBuffer& out,
               Problem& problem, Holding& holding, const std::atomic<bool>& cancel, CallWatch* watch,
               FileWitness* witness) {
  out.set_size(0);
  Inside inside(watch);  // until the file is closed, which may hang as well
  Descriptor file(open_to_read(path));
  if (file.number() < 0) return fail_with_error(problem, errno);
  struct stat about;
  if (::fstat(file.number(), &about) != 0) return fail_with_error(problem, errno);
  if (!S_ISREG(about.st_mode)) {
    return fail(problem, "not a regular file", std::string("expected a regular file, found ") + kind_of(about.st_mode));
  }
  const uint64_t file_bytes = static_cast<uint64_t>(about.st_size);
  const bool whole = length == kWholeFile;
  if (!whole && length > limits.max_file_bytes) return fail_size(problem, limits.max_file_bytes, length);
  const uint64_t available = offset < file_bytes ? file_bytes - offset : 0;
  if (whole && available > limits.max_file_bytes) return fail_size(problem, limits.max_file_bytes, available);
  if (offset > file_bytes) return fail_short(problem, whole ? 0 : length, offset, 0);
  if (!whole && length > available) return fail_short(problem, length, offset, available);

  const uint64_t expected = whole ? available : length;
  if (!inside.leave()) return false;
  if (!holding.take(expected, cancel)) return fail(problem, "cancelled", "expected to read, found the run over");
  inside.enter();
  // One byte more than the file says, so that the read that meets its end needs no second buffer.
  if (!out.reserve(static_cast<size_t>(expected) + 1)) return fail_memory(problem, expected);
  uint64_t have = 0;
  while (whole || have < expected) {
    if (have > limits.max_file_bytes) return fail_size(problem, limits.max_file_bytes, have);
    if (have == out.capacity() && !out.grow(out.capacity() * 2)) return fail_memory(problem, have);
    const uint64_t room = whole ? out.capacity() - have : expected - have;
    ssize_t count = read_some(file.number(), out.data() + have, room, offset + have);
    if (count < 0) return fail_with_error(problem, errno);
    if (count == 0) break;
    have += static_cast<uint64_t>(count);
  }
  if (have > limits.max_file_bytes) return fail_size(problem, limits.max_file_bytes, have);
  if (have < expected) return fail_short(problem, expected, offset, have);
  out.set_size(static_cast<size_t>(have));
  if (witness != nullptr) {
    witness->before = identity_of(about);
    if (::fstat(file.number(), &about) != 0) return fail_with_error(problem, errno);
    witness->after = identity_of(about);
  }
  return true;
}

bool identify(const char* path, FileIdentity& identity, CallWatch* watch) {
  Inside inside(watch);
  struct stat about;
  if (::stat(path, &about) != 0 || !S_ISREG(about.st_mode)) return false;
  identity = identity_of(about);
  return inside.leave();
}

OpenFile::~OpenFile() {
  if (number_ >= 0) ::close(number_);
}

bool OpenFile::open(const char* path, Problem& problem) {
  number_ = open_to_read(path);
  if (number_ < 0) return fail_with_error(problem, errno);
  struct stat about;
  if (::fstat(number_, &about) != 0) return fail_with_error(problem, errno);
  if (!S_ISREG(about.st_mode)) {
    return fail(problem, "not a regular file", std::string("expected a regular file, found ") + kind_of(about.st_mode));
  }
  const FileIdentity identity = identity_of(about);
  size_ = about.st_size;
  mtime_ns_ = identity.mtime_ns;
  ctime_ns_ = identity.ctime_ns;
  return true;
}

bool OpenFile::read(int64_t offset, size_t count, uint8_t* into, int& error) const {
  size_t have = 0;
  while (have < count) {
    const ssize_t got = read_some(number_, into + have, count - have, static_cast<uint64_t>(offset) + have);
    if (got <= 0) {
      error = got < 0 ? errno : EIO;
      return false;
    }
    have += static_cast<size_t>(got);
  }
  return true;
}

int64_t OpenFile::next_data(int64_t from) const {
#ifdef SEEK_DATA
  const off_t found = ::lseek(number_, static_cast<off_t>(from), SEEK_DATA);
  if (found >= 0) return std::min(static_cast<int64_t>(found), size_);
  return errno == ENXIO ? size_ : from;
#else
  return from;
#endif
}

}  // namespace penstock
