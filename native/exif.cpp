// Which way up: the orientation inside EXIF and XMP, where the block is ordinary enough to be certain of Pillow's view.
#include <cstring>

#include "header.h"
#include "tiff.h"

namespace penstock {
namespace {

constexpr int kAbsent = 0, kUnusual = -1;
constexpr unsigned kOrientation = 0x0112, kXResolution = 0x011A, kResolutionUnit = 0x0128;

constexpr uint8_t kSignature[6] = {'E', 'x', 'i', 'f', 0, 0};

bool has_signature(const uint8_t* data, size_t size) {
  return size >= sizeof kSignature && std::memcmp(data, kSignature, sizeof kSignature) == 0;
}

}  // namespace

int exif_orientation(const uint8_t* data, size_t size) {
  if (!has_signature(data, size)) return kUnusual;
  return tiff_orientation(data + sizeof kSignature, size - sizeof kSignature, 0);
}

int tiff_orientation(const uint8_t* data, size_t size, int signatures) {
  for (int i = 0; i < signatures && has_signature(data, size); ++i) {
    data += sizeof kSignature;
    size -= sizeof kSignature;
  }
  if (size == 0) return kAbsent;
  TiffDirectory directory(data, size);
  if (!directory.open()) return kUnusual;
  int orientation = kAbsent;
  for (size_t i = 0; i < directory.entries(); ++i) {
    const TiffEntry entry = directory.entry(i);
    const bool one_short = entry.type == TiffDirectory::kShort && entry.count == 1;
    if (entry.tag == kOrientation) {
      if (!one_short || orientation != kAbsent) return kUnusual;
      const unsigned value = directory.u16(entry.at);
      orientation = value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    // Pillow reads the resolution while it opens the file, and a strange one can make it refuse.
    if (entry.tag == kXResolution && (entry.type != TiffDirectory::kRational || entry.count != 1)) return kUnusual;
    if (entry.tag == kResolutionUnit && !one_short) return kUnusual;
  }
  return orientation;
}

int xmp_orientation(const uint8_t* data, size_t size) {
  static const char kName[] = "tiff:Orientation";
  constexpr size_t kNameBytes = sizeof kName - 1;
  const uint8_t* const end = data + size;
  for (const uint8_t* at = data; static_cast<size_t>(end - at) > kNameBytes + 1; ++at) {
    at = static_cast<const uint8_t*>(std::memchr(at, 't', static_cast<size_t>(end - at) - kNameBytes - 1));
    if (at == nullptr) break;
    if (std::memcmp(at, kName, kNameBytes) != 0) continue;
    const uint8_t* value = at + kNameBytes;
    if (*value == '>') {
      value += 1;
    } else if (end - value > 2 && value[0] == '=' && value[1] == '"') {
      value += 2;
    } else {
      continue;
    }
    if (*value < '0' || *value > '9') continue;
    return *value >= '1' && *value <= '8' ? *value - '0' : 1;
  }
  return kAbsent;
}

}  // namespace penstock
