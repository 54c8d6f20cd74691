// Walks the markers of a JPEG up to its first scan, as strictly as Pillow's own parser does.
#include <algorithm>
#include <cstring>

#include "header_parts.h"

namespace penstock {
namespace {

enum Marker : uint8_t {
  kSof0 = 0xC0,
  kSof2 = 0xC2,
  kDht = 0xC4,
  kSof15 = 0xCF,
  kRst0 = 0xD0,
  kRst7 = 0xD7,
  kEoi = 0xD9,
  kSos = 0xDA,
  kDqt = 0xDB,
  kDri = 0xDD,
  kApp0 = 0xE0,
  kApp1 = 0xE1,
  kApp2 = 0xE2,
  kApp13 = 0xED,
  kApp14 = 0xEE,
  kApp15 = 0xEF,
  kCom = 0xFE,
};

constexpr uint64_t kCoefficientBlockBytes = 128;  // 64 coefficients of 16 bits
constexpr uint64_t kCodecBaseBytes = 64 << 10;    // the decompressor's tables and pools
constexpr int kMaxComponents = 4;

unsigned u16(const uint8_t* p) { return unsigned{p[0]} << 8 | p[1]; }
uint32_t u32(const uint8_t* p) { return uint32_t{u16(p)} << 16 | u16(p + 2); }

// The bytes of one marker segment, its length field left out.
struct Segment {
  const uint8_t* data = nullptr;
  size_t size = 0;

  template <size_t n>
  bool starts_with(const char (&text)[n]) const {
    return size >= n - 1 && std::memcmp(data, text, n - 1) == 0;
  }
};

struct Frame {
  int count = 0;  // frames seen
  int components = 0;
  int horizontal[kMaxComponents] = {1, 1, 1, 1};
  int vertical[kMaxComponents] = {1, 1, 1, 1};
};

struct Walk {
  Frame frame;
  Segment exif, xmp, icc_first, mpf;
  int exif_blocks = 0;
  int mpf_blocks = 0;
  int icc_blocks = 0;
  bool icc_has_bytes = false;
  const char* reason = nullptr;  // the first thing only Pillow can judge

  void doubt(const char* why) {
    if (reason == nullptr) reason = why;
  }
};

// Where the segment at `at` (its length field) ends. False where the length is impossible or the file ends first.
bool read_segment(const uint8_t* data, size_t size, size_t at, Segment& segment) {
  if (size - at < 2) return false;
  const size_t length = u16(data + at);
  if (length < 2 || length > size - at) return false;
  segment.data = data + at + 2;
  segment.size = length - 2;
  return true;
}

bool is_frame(uint8_t marker) {
  return marker >= kSof0 && marker <= kSof15 && marker != kDht && marker != 0xC8 && marker != 0xCC;
}

bool quantization_ok(const Segment& s) {
  size_t at = 0;
  while (at < s.size) {
    const size_t bytes = 1 + (s.data[at] >> 4 == 0 ? 64 : 128);
    if (s.size - at < bytes) return false;
    at += bytes;
  }
  return true;
}

// Pillow walks Photoshop's resources; a block that ends inside a resource's name makes it refuse the file.
bool photoshop_ok(const Segment& s) {
  uint64_t at = 14;
  while (at + 4 <= s.size && std::memcmp(s.data + at, "8BIM", 4) == 0) {
    at += 4;
    if (at + 2 > s.size) return true;
    at += 2;
    if (at >= s.size) return false;
    at += 1 + uint64_t{s.data[at]};
    at += at & 1;
    if (at + 4 > s.size) return true;
    const uint64_t bytes = u32(s.data + at);
    at += 4 + bytes;
    at += at & 1;
  }
  return true;
}

// True where `a` sorts before `b` as Python's bytes do.
bool sorts_before(const Segment& a, const Segment& b) {
  const int order = std::memcmp(a.data, b.data, std::min(a.size, b.size));
  return order != 0 ? order < 0 : a.size < b.size;
}

void take_icc(Walk& walk, const Segment& s) {
  if (s.size < 14) return walk.doubt("broken ICC profile");
  // Pillow puts the profile together when it meets the frame; what follows the frame is dropped.
  if (walk.frame.count > 0) return;
  if (walk.icc_blocks == 0 || sorts_before(s, walk.icc_first)) walk.icc_first = s;
  walk.icc_blocks += 1;
  walk.icc_has_bytes = walk.icc_has_bytes || s.size > 14;
}

void take_application(Walk& walk, uint8_t marker, const Segment& s) {
  static const char kXmpName[] = "http://ns.adobe.com/xap/1.0/";  // ends with a NUL, which counts
  switch (marker) {
    case kApp0:
      if (s.starts_with("JFIF") && s.size < 7) walk.doubt("broken JFIF block");
      break;
    case kApp1:
      if (s.starts_with("Exif\0\0")) {
        walk.exif = s;
        walk.exif_blocks += 1;
      } else if (s.size >= sizeof kXmpName && std::memcmp(s.data, kXmpName, sizeof kXmpName) == 0) {
        walk.xmp = {s.data + sizeof kXmpName, s.size - sizeof kXmpName};  // the last packet counts
      }
      break;
    case kApp2:
      if (s.starts_with("ICC_PROFILE\0")) take_icc(walk, s);
      if (s.starts_with("MPF\0")) {
        walk.mpf = {s.data + 4, s.size - 4};
        walk.mpf_blocks += 1;
      }
      break;
    case kApp13:
      if (s.starts_with("Photoshop 3.0\0") && !photoshop_ok(s)) walk.doubt("broken Photoshop block");
      break;
    case kApp14:
      if (s.starts_with("Adobe") && s.size < 7) walk.doubt("broken Adobe block");
      break;
    default:
      break;
  }
}

void take_frame(Walk& walk, uint8_t marker, const Segment& s, Header& header) {
  Frame& frame = walk.frame;
  frame.count += 1;
  if (frame.count > 1) return walk.doubt("two frames");
  if (s.size < 6 || s.size != 6 + size_t{s.data[5]} * 3) return walk.doubt("broken frame header");
  if (marker > kSof2) walk.doubt("neither baseline nor progressive");
  if (s.data[0] != 8) walk.doubt("not 8 bits");
  header.progressive = marker == kSof2 || marker == 0xC6 || marker == 0xCA || marker == 0xCE;
  header.stored_height = static_cast<int>(u16(s.data + 1));
  header.stored_width = static_cast<int>(u16(s.data + 3));
  if (header.stored_height == 0 || header.stored_width == 0) walk.doubt("no size");
  frame.components = s.data[5];
  if (frame.components == 4) {
    walk.doubt("4 components");
  } else if (frame.components != 1 && frame.components != 3) {
    return walk.doubt("unusual number of components");
  }
  for (int i = 0; i < frame.components; ++i) {
    frame.horizontal[i] = s.data[7 + i * 3] >> 4;
    frame.vertical[i] = s.data[7 + i * 3] & 15;
    if (frame.horizontal[i] < 1 || frame.horizontal[i] > 4 || frame.vertical[i] < 1 || frame.vertical[i] > 4) {
      walk.doubt("unusual sampling factors");
      frame.horizontal[i] = frame.vertical[i] = 1;
    }
  }
}

uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// The coefficient arrays of a file with several scans (padded to whole MCUs), or else the rows in flight.
uint64_t decoder_bytes(const Frame& frame, const Header& header, bool several_scans) {
  const uint64_t width = static_cast<uint64_t>(header.stored_width),
                 height = static_cast<uint64_t>(header.stored_height);
  uint64_t max_h = 1, max_v = 1;
  for (int i = 0; i < frame.components; ++i) {
    max_h = std::max<uint64_t>(max_h, static_cast<uint64_t>(frame.horizontal[i]));
    max_v = std::max<uint64_t>(max_v, static_cast<uint64_t>(frame.vertical[i]));
  }
  // The codec keeps about two MCU rows a component, and our strip at least one.
  const uint64_t row_bytes =
      ceil_div(width, 8 * max_h) * 8 * max_h * static_cast<uint64_t>(std::max(3, frame.components));
  uint64_t bytes = kCodecBaseBytes + row_bytes * max_v * 8 * 3;
  if (!several_scans) return bytes;
  for (int i = 0; i < frame.components; ++i) {
    const uint64_t h = static_cast<uint64_t>(frame.horizontal[i]), v = static_cast<uint64_t>(frame.vertical[i]);
    const uint64_t across = ceil_div(ceil_div(width * h, max_h * 8), h) * h;
    const uint64_t down = ceil_div(ceil_div(height * v, max_v * 8), v) * v;
    bytes += across * down * kCoefficientBlockBytes;
  }
  return bytes;
}

// The scans from the first SOS (whose segment starts at `at`) to the end marker or the end of the file.
int count_scans(const uint8_t* data, size_t size, size_t at) {
  int scans = 1;
  while (at < size) {
    const void* found = std::memchr(data + at, 0xFF, size - at);
    if (found == nullptr) break;
    at = static_cast<size_t>(static_cast<const uint8_t*>(found) - data) + 1;
    while (at < size && data[at] == 0xFF) ++at;
    if (at >= size) break;
    const uint8_t marker = data[at++];
    if (marker <= 0x01 || (marker >= kRst0 && marker <= kRst7)) continue;
    if (marker == kEoi) break;
    scans += marker == kSos;
    Segment segment;
    if (read_segment(data, size, at, segment)) at += segment.size + 2;
  }
  return scans;
}

// Pillow's rule: EXIF first; without an orientation there, the last XMP packet.
void take_orientation(Walk& walk, Header& header) {
  if (walk.exif_blocks > 1) return walk.doubt("several EXIF blocks");
  int orientation = walk.exif_blocks == 1 ? exif_orientation(walk.exif.data, walk.exif.size) : 0;
  if (orientation < 0) return walk.doubt("unusual EXIF");
  if (orientation == 0 && walk.xmp.data != nullptr) orientation = xmp_orientation(walk.xmp.data, walk.xmp.size);
  header.orientation = orientation == 0 ? 1 : orientation;
}

// An Ultra HDR picture names its gain map in XMP; Pillow then takes the file for a single picture.
bool has_gain_map(const uint8_t* data, size_t size) {
  static const char kName[] = " hdrgm:Version=\"";
  size_t at = 2;
  while (at < size) {
    while (at < size && data[at] == 0xFF) ++at;
    if (at >= size) return false;
    const uint8_t marker = data[at++];
    Segment segment;
    if (!read_segment(data, size, at, segment)) return false;
    at += segment.size + 2;
    const uint8_t* const end = segment.data + segment.size;
    if (marker == kApp1 && std::search(segment.data, end, kName, kName + sizeof kName - 1) != end) return true;
  }
  return false;
}

// `before_scan`: the bytes up to the first scan's segment, in which every marker is known to be sound.
void take_pictures(Walk& walk, const uint8_t* data, size_t before_scan, Header& header) {
  if (walk.mpf_blocks == 0) return;
  const int pictures = walk.mpf_blocks == 1 ? mpf_pictures(walk.mpf.data, walk.mpf.size) : -1;
  if (pictures < 0) return walk.doubt("unusual MPF");
  header.pictures = pictures > 1 && has_gain_map(data, before_scan) ? 1 : pictures;
}

bool finish(Walk& walk, const uint8_t* data, size_t size, const Segment& scan, const Limits& limits, Header& header,
            Problem& problem) {
  if (walk.frame.count == 0) walk.doubt("no frame before the scan");
  take_orientation(walk, header);
  take_pictures(walk, data, static_cast<size_t>(scan.data - data), header);
  header.components = walk.frame.components;
  header.has_icc = walk.icc_blocks > 0 && walk.icc_has_bytes && walk.icc_first.data[13] == walk.icc_blocks;
  header.backend = walk.reason == nullptr ? Backend::jpeg : Backend::pillow;
  header.reason = walk.reason == nullptr ? "" : walk.reason;
  if (walk.frame.count != 1) return true;  // whose size counts is Pillow's to say
  const bool several = header.progressive || (scan.size > 0 && scan.data[0] < walk.frame.components);
  header.working_bytes = decoder_bytes(walk.frame, header, several);
  const int scans = several ? count_scans(data, size, static_cast<size_t>(scan.data + scan.size - data)) : 1;
  return within_limits(header, limits, problem) && within_scans(limits, scans, problem);
}

bool leave_to_pillow(Header& header, const Walk& walk, const char* reason) {
  header.backend = Backend::pillow;
  header.reason = walk.reason == nullptr ? reason : walk.reason;
  return true;
}

}  // namespace

bool inspect_jpeg(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem) {
  Walk walk;
  if (size < 4 || data[0] != 0xFF || data[1] != 0xD8 || data[2] != 0xFF)
    return leave_to_pillow(header, walk, "not a JPEG, PNG or WebP");
  size_t at = 2;
  while (true) {
    if (at >= size) return leave_to_pillow(header, walk, "ends before the first scan");
    if (data[at] != 0xFF) return leave_to_pillow(header, walk, "bytes between the markers");
    while (at < size && data[at] == 0xFF) ++at;  // fill bytes are legal
    if (at >= size) return leave_to_pillow(header, walk, "ends before the first scan");
    const uint8_t marker = data[at++];
    const bool known = is_frame(marker) || marker == kDht || marker == kDqt || marker == kDri || marker == kSos ||
                       marker == kCom || (marker >= kApp0 && marker <= kApp15);
    if (!known) return leave_to_pillow(header, walk, "unusual marker");
    Segment segment;
    if (!read_segment(data, size, at, segment)) return leave_to_pillow(header, walk, "broken segment");
    at += segment.size + 2;
    if (marker == kSos) return finish(walk, data, size, segment, limits, header, problem);
    if (is_frame(marker)) {
      take_frame(walk, marker, segment, header);
    } else if (marker == kDqt) {
      if (!quantization_ok(segment)) walk.doubt("broken quantization table");
    } else if (marker >= kApp0 && marker <= kApp15) {
      take_application(walk, marker, segment);
    }
  }
}

}  // namespace penstock
