// A TIFF directory inside a JPEG block, read only where it is ordinary: EXIF and MPF are written this way.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock {

struct TiffEntry {
  unsigned tag = 0, type = 0;
  uint32_t count = 0;
  size_t at = 0;       // where the value is, in bytes from the TIFF header
  uint64_t bytes = 0;  // of the value; 0 for a type that Pillow skips
};

class TiffDirectory {
 public:
  static constexpr unsigned kShort = 3, kLong = 4, kRational = 5, kUndefined = 7;

  TiffDirectory(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  // Checks the header and the whole first directory. False for anything that makes Pillow warn or refuse: a
  // directory or a value beyond the end, no pointer to the next directory.
  bool open();
  size_t entries() const { return entries_; }
  TiffEntry entry(size_t index) const;
  unsigned u16(size_t at) const;
  uint32_t u32(size_t at) const;

 private:
  const uint8_t* data_;
  size_t size_;
  bool big_endian_ = false;
  size_t first_entry_ = 0, entries_ = 0;
};

}  // namespace penstock
