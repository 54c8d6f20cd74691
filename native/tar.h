// The index of a tar: which members it holds and where their bytes are, damage included. Nothing of a member is read
// but its header, the records that extend it, and the text of a .cls.
#pragma once

#include <string>
#include <vector>

#include "types.h"

namespace penstock {

// What a member's bytes are.
enum class TarState : uint8_t {
  whole,
  cut,      // the file ends inside it
  overrun,  // another member's header stands inside it: bytes were lost before that one
  sparse,   // holes were left out: its bytes are not the file's
};

// What was met where something else was expected. `at` is an offset in the file; `first` and `second` by the fault.
enum class TarFault : uint8_t {
  no_header,      // at: neither header nor zeros; first: where the next header was found, -1 for nowhere
  cut_member,     // at: a member's first byte; first: its size; second: how many are there
  overrun,        // at: a member's first byte; first: its size; second: after how many the next header stands
  no_end,         // at: the end of the file; first: how many zero blocks stand there (two end a tar)
  more,           // at: zero blocks in the middle; first: how many; second: where something else follows
  bad_extension,  // at: the header of a record of names and sizes that cannot be read
  unreadable,     // at: where the system refused to read; first: its error number
};

struct TarDamage {
  TarFault fault;
  int64_t at = 0, first = 0, second = 0;
};

// Members left out, by what they are.
struct TarCounts {
  int64_t links = 0, folders = 0, devices = 0, others = 0;
  int64_t hidden = 0;   // the last part of the name begins with a point
  int64_t unnamed = 0;  // no point in it: no extension to tell what it is
};

struct TarIndex {
  Problem problem;  // why the file could not be opened; its cause is empty where it could
  int64_t file_bytes = 0, mtime_ns = 0, ctime_ns = 0;
  // A sample is what shares a name up to the first point of its last part, in order of appearance.
  std::string keys;
  std::vector<int64_t> key_offsets{0};
  std::vector<std::string> extensions;  // behind that point, in lower case, each once
  // One entry a member.
  std::vector<int64_t> sample, offset, size;
  std::vector<int32_t> extension;
  std::vector<uint8_t> state;
  // The bytes of each member with the extension "cls", in order; none where it is longer than kLongestClass.
  std::string classes;
  std::vector<int64_t> class_offsets{0};
  std::vector<TarDamage> damage;
  TarCounts counts;
};

constexpr int64_t kLongestClass = 4096;

// Bytes that a tar is read from.
class TarBytes {
 public:
  virtual ~TarBytes() = default;
  virtual int64_t size() const = 0;
  // Reads `count` bytes at `offset`, which are there by size(). Otherwise false, with the error's number.
  virtual bool read(int64_t offset, size_t count, uint8_t* into, int& error) = 0;
  // The first offset from `from` on that may hold anything but zeros, at most size().
  virtual int64_t next_data(int64_t from) = 0;
};

void index_tar(TarBytes& bytes, TarIndex& index);

// The indices of files, on a few threads that are joined before it returns.
std::vector<TarIndex> index_tars(const std::vector<std::string>& paths, int threads);

}  // namespace penstock
