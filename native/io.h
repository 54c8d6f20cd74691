// Reading files. The only part of the core that makes system calls on the user's data.
#pragma once

#include <cstdlib>
#include <memory>

#include "budget.h"

namespace penstock {

// Memory owned by one job. Grows without initialising; content is undefined after reserve().
class ByteBuffer {
 public:
  ByteBuffer() = default;
  ByteBuffer(const ByteBuffer&) = delete;
  ByteBuffer& operator=(const ByteBuffer&) = delete;
  ByteBuffer(ByteBuffer&& other) noexcept { *this = std::move(other); }
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~ByteBuffer() { std::free(data_); }
  bool reserve(size_t bytes);    // false: out of memory
  bool grow(size_t bytes);       // as reserve, but the content is kept
  void trim(size_t keep_bytes);  // gives memory back when more than keep_bytes is held
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  void set_size(size_t size) { size_ = size; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0, capacity_ = 0;
};

constexpr uint64_t kWholeFile = ~uint64_t{0};

// Told when a thread goes into a system call that may never return, and when it is back.
class CallWatch {
 public:
  virtual ~CallWatch() = default;
  virtual void enter() = 0;
  // False: the item was given up meanwhile and is another's; nothing of it may be touched any more.
  virtual bool leave() = 0;
  virtual bool given_up() const = 0;
};

// What tells one state of a file from another.
struct FileIdentity {
  uint64_t inode = 0, bytes = 0;
  int64_t mtime_ns = 0, ctime_ns = 0;
  bool operator==(const FileIdentity& o) const {
    return inode == o.inode && bytes == o.bytes && mtime_ns == o.mtime_ns && ctime_ns == o.ctime_ns;
  }
};

// The state of the open file before and after its bytes were read.
struct FileWitness {
  FileIdentity before, after;
};

// False: there is no such regular file, or `watch` has given the item up.
bool identify(const char* path, FileIdentity& identity, CallWatch* watch = nullptr);

// Reads [offset, offset + length) of a regular file (length kWholeFile: to its end) into `out`.
// Never blocks on a FIFO or a device: whatever is not a regular file is refused. EINTR is retried. A range beyond
// the end, a directory, a file larger than limits.max_file_bytes: false, with `problem` filled in. The bytes are taken
// from `holding` before they are read; cancelled while waiting for them: false, with problem.cause "cancelled".
// `watch` (may be nullptr) sees the system calls, but not that wait; where it has given the item up: false, and neither
// `holding` nor `cancel` was touched since. `witness` is told the file's state where all went well.
bool read_file(const char* path, uint64_t offset, uint64_t length, const Limits& limits, ByteBuffer& out,
               Problem& problem, Holding& holding, const std::atomic<bool>& cancel, CallWatch* watch = nullptr,
               FileWitness* witness = nullptr);
bool read_file(const char* path, uint64_t offset, uint64_t length, const Limits& limits, ByteBuffer& out,
               Problem& problem);

// A regular file that stays open, for reads at any place.
class OpenFile {
 public:
  OpenFile() = default;
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile();
  bool open(const char* path, Problem& problem);  // false, as read_file; once
  int64_t size() const { return size_; }          // as of open(), and so are the times
  int64_t mtime_ns() const { return mtime_ns_; }
  int64_t ctime_ns() const { return ctime_ns_; }
  // Exactly `count` bytes; false with the error's number, or EIO where there are fewer.
  bool read(int64_t offset, size_t count, uint8_t* into, int& error) const;
  // The first offset from `from` on that is not in a hole, at most size(); `from` where nobody can tell.
  int64_t next_data(int64_t from) const;

 private:
  int number_ = -1;
  int64_t size_ = 0, mtime_ns_ = 0, ctime_ns_ = 0;
};

}  // namespace penstock
