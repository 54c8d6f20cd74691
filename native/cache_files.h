// What the cache asks of the operating system. Every call here either does what it says or gives the error's number.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

// A file's number, closed when it goes. Closing gives a lock back only with the last copy: see unlock_file().
class FileNumber {
 public:
  FileNumber() = default;
  explicit FileNumber(int number) : number_(number) {}
  FileNumber(const FileNumber&) = delete;
  FileNumber& operator=(const FileNumber&) = delete;
  FileNumber(FileNumber&& other) noexcept { *this = std::move(other); }
  FileNumber& operator=(FileNumber&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~FileNumber() { reset(); }
  void reset();
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

// A file beside others in `folder`: never a link, never blocking. `flags` as open's.
FileNumber open_beside(int folder, const std::string& name, int flags, int& error, mode_t mode = 0600);

bool write_all(int file, std::vector<iovec> parts, uint64_t offset, int& error);
// As many bytes as there are, up to `bytes`.
bool read_some(int file, void* into, size_t bytes, uint64_t offset, size_t& count, int& error);
// Room on the disk for bytes that come later, beyond the file's end as well: writing them is cheaper then. Its size
// stays. False: the file system does not do that, or not quickly, and need not be asked again.
bool reserve(int file, uint64_t offset, uint64_t bytes);
// Gives back what is reserved beyond the end of a file that grows no more. No byte of it changes.
void give_back_reserved(int file);
// The size of a file in `folder`; 0 where there is none.
uint64_t size_beside(int folder, const std::string& name);
// When a file's bytes, or a folder's names, last changed; 0 where there is none.
int64_t written_ns(const struct stat& status);
int64_t written_ns_beside(int folder, const std::string& name);
std::vector<std::string> names_in(int folder, int& error);  // without . and .., sorted

// flock: of the open file, so a forked child shares it until unlock_file(), or until both have closed it.
bool lock_file(int file, bool exclusive, int patience_ms);
void unlock_file(int file);

std::string error_words(int error);  // "no space left on the device", for "found ..."
bool no_room_or_read_only(int error);

// The kind of network file system that `file` is on, or "" where it is none. `path` is for those a number does not
// tell.
std::string network_file_system(int file);
// The same by Linux's number of it: the table itself.
const char* network_file_system_name(uint64_t number);

int64_t cache_clock_ns();  // of the day
int64_t cache_steady_ms();

}  // namespace penstock
