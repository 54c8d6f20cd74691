// How many pictures a multi-picture JPEG announces: phones append depth maps, gain maps and previews this way.
#include "header.h"
#include "tiff.h"

namespace penstock {
namespace {

constexpr unsigned kPictures = 0xB001, kDirectory = 0xB002;
constexpr uint32_t kRecordBytes = 16, kMostPictures = 1000;

}  // namespace

int mpf_pictures(const uint8_t* data, size_t size) {
  TiffDirectory directory(data, size);
  if (!directory.open()) return -1;
  TiffEntry records;
  uint32_t pictures = 0;
  for (size_t i = 0; i < directory.entries(); ++i) {
    const TiffEntry entry = directory.entry(i);
    if (entry.tag == kPictures) {
      if (pictures != 0 || entry.type != TiffDirectory::kLong || entry.count != 1) return -1;
      pictures = directory.u32(entry.at);
    } else if (entry.tag == kDirectory) {
      if (records.tag != 0 || entry.type != TiffDirectory::kUndefined) return -1;
      records = entry;
    } else if (entry.tag < 0xB000 || entry.tag > 0xB004) {
      return -1;
    }
  }
  if (pictures < 1 || pictures > kMostPictures || records.bytes != uint64_t{pictures} * kRecordBytes) return -1;
  for (uint32_t i = 0; i < pictures; ++i) {
    const uint32_t attribute = directory.u32(records.at + i * kRecordBytes);
    if ((attribute >> 24 & 7) != 0) return -1;  // not a JPEG
  }
  return static_cast<int>(pictures);
}

}  // namespace penstock
