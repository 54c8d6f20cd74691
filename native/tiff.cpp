// One TIFF directory, bounds checked once when it is opened.
#include "tiff.h"

#include <cstring>

namespace penstock {
namespace {

constexpr size_t kEntryBytes = 12, kPointerBytes = 4;

// Bytes of one value of a field type; 0: a type that Pillow skips.
unsigned unit_bytes(unsigned type) {
  switch (type) {
    case 1:  // byte
    case 2:  // ascii
    case 6:  // signed byte
    case 7:  // undefined
      return 1;
    case 3:  // short
    case 8:  // signed short
      return 2;
    case 4:   // long
    case 9:   // signed long
    case 11:  // float
    case 13:  // directory
      return 4;
    case 5:   // rational
    case 10:  // signed rational
    case 12:  // double
    case 16:  // long of 8 bytes
      return 8;
    default:
      return 0;
  }
}

}  // namespace

unsigned TiffDirectory::u16(size_t at) const {
  const unsigned a = data_[at], b = data_[at + 1];
  return big_endian_ ? a << 8 | b : b << 8 | a;
}

uint32_t TiffDirectory::u32(size_t at) const {
  const uint32_t a = u16(at), b = u16(at + 2);
  return big_endian_ ? a << 16 | b : b << 16 | a;
}

TiffEntry TiffDirectory::entry(size_t index) const {
  const size_t start = first_entry_ + index * kEntryBytes;
  TiffEntry entry;
  entry.tag = u16(start);
  entry.type = u16(start + 2);
  entry.count = u32(start + 4);
  entry.bytes = uint64_t{entry.count} * unit_bytes(entry.type);
  entry.at = entry.bytes > 4 ? u32(start + 8) : start + 8;
  return entry;
}

bool TiffDirectory::open() {
  if (size_ < 8) return false;
  if (std::memcmp(data_, "MM\0*", 4) == 0) {
    big_endian_ = true;
  } else if (std::memcmp(data_, "II*\0", 4) != 0) {
    return false;
  }
  const size_t directory = u32(4);
  if (directory < 8 || directory > size_ - 2) return false;
  first_entry_ = directory + 2;
  const size_t count = u16(directory), room = size_ - first_entry_;
  if (count * kEntryBytes + kPointerBytes > room) return false;
  uint64_t outside = 0;
  for (size_t i = 0; i < count; ++i) {
    const TiffEntry value = entry(i);
    if (value.bytes <= 4) continue;
    // One value outside the block and Pillow drops every tag that follows; more than the block holds, that tag.
    outside += value.bytes;
    if (outside > size_ || value.at > size_ || value.bytes > size_ - value.at) return false;
  }
  entries_ = count;
  return true;
}

}  // namespace penstock
