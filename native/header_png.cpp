// Walks the chunks of a PNG as strictly as Pillow's own parser does, and checks every checksum, which Pillow does not.
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "header_parts.h"

namespace penstock {
namespace {

constexpr uint32_t name_of(const char (&text)[5]) {
  return uint32_t{static_cast<uint8_t>(text[0])} << 24 | uint32_t{static_cast<uint8_t>(text[1])} << 16 |
         uint32_t{static_cast<uint8_t>(text[2])} << 8 | uint32_t{static_cast<uint8_t>(text[3])};
}

constexpr uint32_t kIhdr = name_of("IHDR"), kPlte = name_of("PLTE"), kIdat = name_of("IDAT"), kIend = name_of("IEND"),
                   kTrns = name_of("tRNS"), kIccp = name_of("iCCP"), kGama = name_of("gAMA"), kChrm = name_of("cHRM"),
                   kSrgb = name_of("sRGB"), kPhys = name_of("pHYs"), kExif = name_of("eXIf"), kText = name_of("tEXt"),
                   kZtxt = name_of("zTXt"), kItxt = name_of("iTXt"), kActl = name_of("acTL"), kFctl = name_of("fcTL"),
                   kFdat = name_of("fdAT");

constexpr size_t kSignatureBytes = 8, kChunkBytes = 12;  // length, name and checksum of a chunk
constexpr uint64_t kMostInflated = uint64_t{1} << 20;    // Pillow refuses a compressed text or profile beyond
constexpr uint64_t kMostTextBytes = 64 * kMostInflated;  // and all texts together beyond
constexpr uint64_t kMostGrowth = 1032;                   // of deflate
constexpr uint64_t kCodecBaseBytes = 128 << 10;          // zlib's window and state, libpng's own
constexpr uint64_t kPixelBytes = 16;                     // of our rows on their way: RGBA of 16 bits, and out

uint32_t u32(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

struct Chunk {
  uint32_t name = 0;
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// A piece of a chunk.
struct Bytes {
  const uint8_t* data = nullptr;
  size_t size = 0;

  bool is(const char* text) const { return size == std::strlen(text) && std::memcmp(data, text, size) == 0; }
  Bytes from(size_t at) const { return {data + at, size - at}; }
};

enum class Place : uint8_t { before, data, after };  // where in the file: relative to the image data

struct Walk {
  Place place = Place::before;
  uint64_t text_bytes = 0;
  size_t palette_entries = 0;
  bool transparency = false, profile = false, exif = false, ended = false;
  Bytes xmp;
  int colour_type = 0;
  const char* reason = nullptr;  // the first thing only Pillow can judge

  void doubt(const char* why) {
    if (reason == nullptr) reason = why;
  }
};

// What zlib data inflate to; -1 where they are broken, end early, or grow beyond what Pillow takes.
int64_t inflated_bytes(Bytes compressed) {
  z_stream stream;
  std::memset(&stream, 0, sizeof stream);
  if (inflateInit(&stream) != Z_OK) return -1;
  uint8_t room[4096];
  stream.next_in = const_cast<uint8_t*>(compressed.data);
  stream.avail_in = static_cast<unsigned>(std::min<size_t>(compressed.size, 1u << 30));
  int status = Z_OK;
  while (status == Z_OK && stream.total_out < kMostInflated) {
    stream.next_out = room;
    stream.avail_out = sizeof room;
    status = inflate(&stream, Z_NO_FLUSH);
  }
  const uint64_t total = stream.total_out;
  inflateEnd(&stream);
  return status == Z_STREAM_END && total < kMostInflated ? static_cast<int64_t>(total) : -1;
}

// Splits at the first zero byte. False where there is none.
bool split(Bytes whole, Bytes& head, Bytes& tail) {
  const void* zero = whole.size == 0 ? nullptr : std::memchr(whole.data, 0, whole.size);
  if (zero == nullptr) return false;
  const size_t at = static_cast<size_t>(static_cast<const uint8_t*>(zero) - whole.data);
  head = {whole.data, at};
  tail = whole.from(at + 1);
  return true;
}

constexpr char kXmpKey[] = "XML:com.adobe.xmp";

// Pillow files texts under their keys beside what it knows of the image itself: these would change that.
bool is_special(Bytes key) {
  static const char* const kSpecial[] = {
      kXmpKey, "Raw profile type exif", "exif", "xmp",      "transparency", "interlace", "icc_profile", "duration",
      "blend", "default_image",         "bbox", "disposal", "loop"};
  return std::any_of(std::begin(kSpecial), std::end(kSpecial), [&](const char* name) { return key.is(name); });
}

void count_text(Walk& walk, uint64_t bytes) {
  walk.text_bytes += bytes;
  if (walk.text_bytes > kMostTextBytes) walk.doubt("too much text");
}

// Compressed text: certain to be small where it cannot grow beyond the limit, else inflated to see.
void count_compressed(Walk& walk, Bytes compressed) {
  if (compressed.size * kMostGrowth < kMostInflated) return count_text(walk, compressed.size * kMostGrowth);
  const int64_t bytes = inflated_bytes(compressed);
  if (bytes < 0) return walk.doubt("unusual compressed text");
  count_text(walk, static_cast<uint64_t>(bytes));
}

void take_text(Walk& walk, const Chunk& chunk) {
  Bytes key{chunk.data, chunk.size}, value;
  const bool valued = split(key, key, value);
  if (chunk.name == kItxt && !valued) return;
  if (is_special(key) && !(chunk.name == kItxt && key.is(kXmpKey))) return walk.doubt("metadata kept as text");
  if (chunk.name == kText) return count_text(walk, value.size);
  if (chunk.name == kZtxt) {
    if (value.size == 0) return;
    if (value.data[0] != 0) return walk.doubt("unknown compression");
    return count_compressed(walk, value.from(1));
  }
  if (value.size < 2) return;
  const bool compressed = value.data[0] != 0;
  Bytes language, translated;
  if (compressed && value.data[1] != 0) return;
  if (!split(value.from(2), language, value) || !split(value, translated, value)) return;
  if (key.is(kXmpKey)) {
    if (compressed || walk.xmp.data != nullptr) return walk.doubt("unusual XMP");
    walk.xmp = value;
  }
  if (compressed) return count_compressed(walk, value);
  count_text(walk, value.size);
}

void take_profile(Walk& walk, const Chunk& chunk, Header& header) {
  Bytes name, rest;
  if (walk.profile || !split({chunk.data, chunk.size}, name, rest) || rest.size == 0 || rest.data[0] != 0) {
    return walk.doubt("unusual ICC profile");
  }
  walk.profile = true;
  const int64_t bytes = inflated_bytes(rest.from(1));
  if (bytes < 0) return walk.doubt("unusual ICC profile");
  header.has_icc = bytes > 0;
}

void take_exif(Walk& walk, const Chunk& chunk, Header& header) {
  if (walk.exif) return walk.doubt("several EXIF blocks");
  walk.exif = true;
  const int orientation = tiff_orientation(chunk.data, chunk.size, 1);
  if (orientation < 0) return walk.doubt("unusual EXIF");
  header.orientation = orientation;  // 0: an XMP packet may still say
}

void take_palette(Walk& walk, const Chunk& chunk, const Header& header) {
  if (walk.palette_entries > 0 || walk.transparency) return walk.doubt("unusual palette");
  const size_t most = walk.colour_type == 3 ? size_t{1} << header.depth : 256;
  if (chunk.size == 0 || chunk.size % 3 != 0 || chunk.size / 3 > most) return walk.doubt("unusual palette");
  if (walk.colour_type == 0 || walk.colour_type == 4) return walk.doubt("a palette for grey");
  walk.palette_entries = chunk.size / 3;
}

void take_transparency(Walk& walk, const Chunk& chunk, Header& header) {
  if (walk.transparency) return walk.doubt("unusual transparency");
  walk.transparency = true;
  header.has_alpha = true;
  bool usual = false;
  if (walk.colour_type == 3) {
    usual = chunk.size > 0 && chunk.size <= walk.palette_entries;
  } else if (walk.colour_type == 0 || walk.colour_type == 2) {
    usual = chunk.size == (walk.colour_type == 0 ? 2 : 6);
    for (size_t i = 0; usual && header.depth < 16 && i < chunk.size; i += 2) {
      usual = (unsigned{chunk.data[i]} << 8 | chunk.data[i + 1]) >> header.depth == 0;
    }
  }
  if (!usual) walk.doubt("unusual transparency");
}

// IHDR: 13 bytes. False where not even the size is certain.
bool take_header(Walk& walk, const Chunk& chunk, Header& header) {
  if (chunk.name != kIhdr || chunk.size != 13) return false;
  const uint32_t width = u32(chunk.data), height = u32(chunk.data + 4);
  const int depth = chunk.data[8], type = chunk.data[9];
  constexpr uint32_t kMostPixels = 0x7FFFFFFF;
  if (width == 0 || height == 0 || width > kMostPixels || height > kMostPixels) return false;
  static const int kChannels[7] = {1, 0, 3, 1, 2, 0, 4};
  const bool known = type <= 6 && kChannels[type] > 0 &&
                     (type == 0   ? depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16
                      : type == 3 ? depth == 1 || depth == 2 || depth == 4 || depth == 8
                                  : depth == 8 || depth == 16);
  if (!known || chunk.data[10] != 0 || chunk.data[11] != 0 || chunk.data[12] > 1) return false;
  walk.colour_type = type;
  header.stored_height = static_cast<int>(height);
  header.stored_width = static_cast<int>(width);
  header.depth = depth;
  header.components = type == 3 ? 3 : kChannels[type];
  header.has_alpha = type >= 4;
  header.interlaced = chunk.data[12] == 1;
  const uint64_t row = (uint64_t{width} * static_cast<uint64_t>(depth * kChannels[type]) + 7) / 8;
  header.working_bytes = kCodecBaseBytes + 3 * row + kPixelBytes * width + (header.interlaced ? row * height : 0);
  return true;
}

size_t least_bytes(uint32_t name) {
  switch (name) {
    case kGama:
      return 4;
    case kChrm:
      return 32;
    case kSrgb:
      return 1;
    case kPhys:
      return 9;
    default:
      return 0;
  }
}

void take_chunk(Walk& walk, const Chunk& chunk, Header& header) {
  const bool before = walk.place == Place::before;
  if (chunk.size < least_bytes(chunk.name)) walk.doubt("a chunk that is too short");
  switch (chunk.name) {
    case kText:
    case kZtxt:
    case kItxt:
      return take_text(walk, chunk);
    case kExif:
      return take_exif(walk, chunk, header);
    case kIccp:
      return before ? take_profile(walk, chunk, header) : walk.doubt("a chunk out of place");
    case kPlte:
      return before ? take_palette(walk, chunk, header) : walk.doubt("a chunk out of place");
    case kTrns:
      return before ? take_transparency(walk, chunk, header) : walk.doubt("a chunk out of place");
    case kActl:
    case kFctl:
    case kFdat:
      return walk.doubt("animated");
    default:
      if ((chunk.name >> 24 & 0x20) == 0) walk.doubt("an unknown critical chunk");
  }
}

std::string name_text(uint32_t name) {
  return {static_cast<char>(name >> 24), static_cast<char>(name >> 16 & 255), static_cast<char>(name >> 8 & 255),
          static_cast<char>(name & 255)};
}

bool is_name(uint32_t name) {
  for (int shift = 0; shift < 32; shift += 8) {
    const uint32_t letter = name >> shift & 0xDF;  // upper case
    if (letter < 'A' || letter > 'Z') return false;
  }
  return true;
}

// Sets header.damage where the chunk's checksum is wrong.
void check_sum(const Chunk& chunk, Header& header) {
  const uint32_t expected = u32(chunk.data + chunk.size);
  const uint32_t found = static_cast<uint32_t>(crc32_z(0, chunk.data - 4, chunk.size + 4));
  if (expected == found || !header.damage.empty()) return;
  char text[80];
  std::snprintf(text, sizeof text, "expected a checksum of %08x in chunk %s, found %08x", expected,
                name_text(chunk.name).c_str(), found);
  header.damage = text;
}

// Reads the chunk at `at`. False, with a doubt, where there is none; an image that ends early is damage.
bool read_chunk(Walk& walk, const uint8_t* data, size_t size, size_t at, Chunk& chunk, Header& header) {
  if (size - at < kChunkBytes) {
    walk.doubt("ends early");
    if (walk.place == Place::data) header.damage = "expected the end of the image data, found the end of the file";
    return false;
  }
  const uint32_t length = u32(data + at);
  chunk.name = u32(data + at + 4);
  chunk.data = data + at + 8;
  chunk.size = length;
  if (!is_name(chunk.name)) {
    walk.doubt("a broken chunk");
    if (walk.place == Place::data) header.damage = "expected a chunk after the image data, found other bytes";
    return false;
  }
  if (length <= size - at - kChunkBytes) return true;
  walk.doubt("ends early");
  if (chunk.name == kIdat && header.damage.empty()) {
    header.damage = "expected " + std::to_string(length) + " bytes in chunk IDAT, found the end of the file after " +
                    std::to_string(size - at - 8);
  }
  return false;
}

// At the first image data: what Pillow knows when it has opened the file. False: a limit refuses it.
bool open_image(Walk& walk, const Limits& limits, const Header& header, Problem& problem) {
  if (walk.colour_type == 3 && walk.palette_entries == 0) walk.doubt("no palette");
  // Pillow says no to a broken beginning before it looks at the size, and holds the limits itself.
  return walk.reason != nullptr || !header.damage.empty() || within_limits(header, limits, problem);
}

}  // namespace

bool inspect_png(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem) {
  Walk walk;
  Chunk chunk;
  size_t at = kSignatureBytes;
  header.orientation = 0;
  if (!read_chunk(walk, data, size, at, chunk, header) || !take_header(walk, chunk, header)) {
    header = Header();
    header.reason = "an unusual PNG header";
    return true;
  }
  check_sum(chunk, header);
  if (!header.damage.empty()) walk.doubt("a wrong checksum");
  for (at += kChunkBytes + chunk.size; !walk.ended; at += kChunkBytes + chunk.size) {
    if (!read_chunk(walk, data, size, at, chunk, header)) break;
    if (chunk.name == kIdat) {
      if (walk.place == Place::before && !open_image(walk, limits, header, problem)) return false;
      if (walk.place == Place::after) walk.doubt("image data in several places");
      if (chunk.size == 0) walk.doubt("empty image data");
      walk.place = Place::data;
    } else {
      if (walk.place == Place::data) walk.place = Place::after;
      if (chunk.name == kIend) {
        walk.ended = true;
        if (walk.place == Place::before) walk.doubt("no image data");
      } else {
        take_chunk(walk, chunk, header);
      }
    }
    check_sum(chunk, header);
    if (!header.damage.empty()) walk.doubt("a wrong checksum");
  }
  if (header.orientation == 0 && walk.xmp.data != nullptr) {
    header.orientation = xmp_orientation(walk.xmp.data, walk.xmp.size);
  }
  if (header.orientation == 0) header.orientation = 1;
  header.backend = walk.reason == nullptr ? Backend::png : Backend::pillow;
  header.reason = walk.reason == nullptr ? "" : walk.reason;
  return true;
}

}  // namespace penstock
