// Its referee is libjpeg-turbo's own decoder: native/tests/test_jpeg_entropy.cpp holds the two equal. The readable twin
// is src/penstock/_reference/huffman.py.
#include "huffman.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace penstock::codec {
namespace {

// One code, found by the next kLookBits bits. It is followed by the bits of its value:
//   bits 0..7   how many both are
//   bits 8..15  how many the code has
//   bits 16..23 63 less those of the value
//   bits 24..30 coefficients to go on by
//   bit 31      not a coefficient: the end of the block, sixteen zeros, a longer code or none
constexpr int32_t kSpecial = INT32_MIN;
constexpr int kBlockSize = 64;
constexpr int kZeros = 16;  // that the code 0xF0 stands for

int32_t entry_of(int length, int symbol, bool dc) {
  const int size = symbol & 15, run = dc ? 0 : symbol >> 4;
  const int32_t plain = (length + size) | length << 8 | (63 - size) << 16 | (run + 1) << 24;
  return size == 0 && !dc ? plain | kSpecial : plain;
}

// All that is whole within the next kLookBits bits:
//   bits 0..7   how many it takes
//   bits 8..15  coefficients to go on by for the first
//   bits 16..31 the first, with its sign
//   bits 32..47 the last: the first once more where there is one alone, so that both are written without a look
//   bits 48..55 coefficients to go on by for the last, from where the first began
//   bit 62      then the block ends
//   bit 63      nothing is whole: bits 0..31 are the entry of the one code
constexpr uint64_t kPart = uint64_t{1} << 63, kEnd = uint64_t{1} << 62;
constexpr size_t kFarthest = 2 * 16;  // coefficients that one look goes on by
constexpr int kEndAlone = 96;         // where the block ends at once: past what is within reach, and written in vain

uint64_t several_of(int total, int first_step, int first, int last_step, int last) {
  return static_cast<uint64_t>(total) | static_cast<uint64_t>(first_step) << 8 |
         static_cast<uint64_t>(static_cast<uint16_t>(first)) << 16 |
         static_cast<uint64_t>(static_cast<uint16_t>(last)) << 32 | static_cast<uint64_t>(last_step) << 48;
}

// From the zigzag to rows of eight. What lies past the end is written to the last place, before it is seen or because
// nothing is there to be written: the last coefficient is zero still, or the block is not certain.
struct Order {
  uint8_t place[kBlockSize + kEndAlone];
};
constexpr uint8_t kZigzag[kBlockSize] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
                                         12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
                                         35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
                                         58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};
constexpr Order make_order() {
  Order order{};
  for (int k = 0; k < kBlockSize + kEndAlone; ++k) order.place[k] = k < kBlockSize ? kZigzag[k] : kBlockSize - 1;
  return order;
}
constexpr Order kOrder = make_order();

struct Bits {
  uint64_t bits;
  int count;
  const uint8_t* at;

  // At least 56 after it: enough for two codes of up to kLookBits bits with their values.
  void refill() {
    uint64_t next;
    std::memcpy(&next, at, sizeof next);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    next = __builtin_bswap64(next);
#endif
    bits |= next >> count;
    at += (63 - count) >> 3;
    count |= 56;
  }
  int32_t look(const int32_t* entries) const { return entries[bits >> (64 - kLookBits)]; }
  void drop(int32_t entry) {
    bits <<= entry & 63;
    count -= entry & 63;
  }
  // A value's bits say how far it is from its size's lowest, or for a first bit 0, highest negative number.
  int value(int32_t entry) const {
    const uint64_t from = bits << (entry >> 8 & 63);
    const uint64_t negative = ~static_cast<uint64_t>(static_cast<int64_t>(from) >> 63);
    const uint64_t distance = (from ^ negative) >> 1 >> (entry >> 16 & 63);
    return static_cast<int>((distance ^ negative) - negative);
  }
};

// A code longer than a look, from the next 16 bits; 0: there is none.
int32_t look_further(const HuffmanTable& table, uint32_t next, bool dc) {
  for (int length = kLookBits + 1; length <= 16; ++length) {
    if (next < table.ends[length]) {
      const int place = table.places[length] + static_cast<int>(next >> (16 - length));
      return entry_of(length, table.symbols[place & 255], dc);
    }
  }
  return 0;
}

// The rest of a block, code by code.
bool read_singly(Bits& reader, const HuffmanTable& table, size_t k, int16_t* to) {
  Bits bits = reader;
  while (k < kBlockSize - 1) {
    bits.refill();
    int32_t entry = bits.look(table.entries);
    if (entry == kSpecial) {
      entry = look_further(table, static_cast<uint32_t>(bits.bits >> 48), false);
      if (entry == 0) return false;
    }
    if (entry >= 0) {
      k += static_cast<uint32_t>(entry) >> 24;
      to[kOrder.place[k]] = static_cast<int16_t>(bits.value(entry));
    }
    bits.drop(entry);
    if (entry >= 0) continue;
    reader = bits;
    if ((entry >> 24 & 127) != kZeros) return true;
    k += kZeros;
  }
  reader = bits;
  return k == kBlockSize - 1;
}

// One block; false: not certain.
inline bool read_block(Bits& reader, const HuffmanScan::Block& from, int* predictors, int16_t* to) {
  Bits bits = reader;  // whose address nobody takes: it stays in registers
  bits.refill();
  int32_t dc = bits.look(from.dc->entries);
  if (dc < 0) {
    dc = look_further(*from.dc, static_cast<uint32_t>(bits.bits >> 48), true);
    if (dc == 0) return false;
  }
  const int predicted = predictors[from.component] + bits.value(dc);
  if (predicted != static_cast<int16_t>(predicted)) return false;
  predictors[from.component] = predicted;
  to[0] = static_cast<int16_t>(predicted);
  bits.drop(dc);

  const uint64_t* several = from.ac->several;
  constexpr int kLooks = 5;  // without a refill
  static_assert(kLooks * kLookBits <= 56, "a refill is enough for all looks");
  for (size_t k = 0;;) {
    bits.refill();
    for (int look = 0; look < kLooks; ++look) {
      const uint64_t found = several[bits.bits >> (64 - kLookBits)];
      const size_t first = k + (found >> 8 & 255), last = k + (found >> 48 & 255);
      if (last - (kBlockSize - 1) <= kFarthest) {  // what is behind the last coefficient is another block's
        reader = bits;
        return read_singly(reader, *from.ac, k, to);
      }
      if ((found & kPart) != 0) {
        const int32_t entry = static_cast<int32_t>(found);
        if (entry < 0) {
          reader = bits;
          return read_singly(reader, *from.ac, k, to);
        }
        bits.refill();
        k += static_cast<uint32_t>(entry) >> 24;
        to[kOrder.place[k]] = static_cast<int16_t>(bits.value(entry));
        bits.drop(entry);
        if (k < kBlockSize - 1) break;
        reader = bits;
        return k == kBlockSize - 1;
      }
      to[kOrder.place[first]] = static_cast<int16_t>(found >> 16);
      to[kOrder.place[last]] = static_cast<int16_t>(found >> 32);
      bits.drop(static_cast<int32_t>(found));
      if ((found & kEnd) != 0) {
        reader = bits;
        return true;
      }
      k = last;
    }
  }
}

// Makes the next bytes of the segment free of stuffing, behind those still to be read.
void fill(HuffmanScan& scan) {
  const size_t rest = static_cast<size_t>(scan.filled - scan.at);
  std::memmove(scan.bytes, scan.at, rest);
  scan.at = scan.bytes;
  uint8_t* to = scan.bytes + rest;
  const uint8_t* const to_end = scan.bytes + kStuffedBytes;
  while (to < to_end && !scan.ended) {
    const size_t span = std::min(static_cast<size_t>(to_end - to), static_cast<size_t>(scan.raw_end - scan.raw));
    const void* stuffed = span == 0 ? nullptr : std::memchr(scan.raw, 0xFF, span);
    const size_t plain =
        stuffed == nullptr ? span : static_cast<size_t>(static_cast<const uint8_t*>(stuffed) - scan.raw);
    std::memcpy(to, scan.raw, plain);
    to += plain;
    scan.raw += plain;
    if (stuffed == nullptr) {
      scan.ended = scan.raw == scan.raw_end;
    } else if (scan.raw_end - scan.raw >= 2 && scan.raw[1] == 0) {
      *to++ = 0xFF;
      scan.raw += 2;
    } else {
      scan.ended = true;
      while (scan.raw_end - scan.raw >= 2 && scan.raw[1] == 0xFF) ++scan.raw;  // a marker may have any number before it
    }
  }
  scan.filled = to;
}

void begin_segment(HuffmanScan& scan) {
  scan.bits = 0;
  scan.bit_count = 0;
  scan.at = scan.filled = scan.bytes;
  scan.ended = false;
  scan.mcus_to_restart = scan.restart_interval;
  std::fill(scan.predictors, scan.predictors + kMostComponents, 0);
}

// Whether all but padding is read, and the segment ends in a marker; 0: it does not.
int marker_behind(const HuffmanScan& scan) {
  const ptrdiff_t left = (scan.filled - scan.at) * 8 + scan.bit_count;
  if (!scan.ended || left < 0 || left > 7 || scan.raw_end - scan.raw < 2) return 0;
  return scan.raw[1];
}

bool pass_restart(HuffmanScan& scan) {
  // The end of the segment may be just behind what was filled in.
  if (!scan.ended) fill(scan);
  if (marker_behind(scan) != 0xD0 + scan.restarts) return false;
  scan.restarts = (scan.restarts + 1) & 7;
  scan.raw += 2;
  begin_segment(scan);
  return true;
}

int total_of(const uint8_t* counts) { return std::accumulate(counts + 1, counts + 17, 0); }

// What several codes within the next kLookBits bits say.
uint64_t look_at(const int32_t* entries, uint32_t next) {
  Bits bits = {uint64_t{next} << (64 - kLookBits), kLookBits, nullptr};
  const int32_t one = bits.look(entries);
  const auto whole = [&](int32_t entry) { return entry >= 0 && (entry & 63) <= bits.count; };
  const auto ends = [&](int32_t entry) {
    return entry < 0 && entry != kSpecial && (entry & 63) <= bits.count && (entry >> 24 & 127) != kZeros;
  };
  const auto taken = [&] { return kLookBits - bits.count; };
  if (ends(one)) return several_of(one & 63, kEndAlone, 0, kEndAlone, 0) | kEnd;
  if (!whole(one)) return static_cast<uint32_t>(one) | kPart;
  const int first_step = one >> 24, first = bits.value(one);
  bits.drop(one);
  int last_step = first_step, last = first;
  const int32_t two = bits.look(entries);
  if (whole(two)) {
    last_step += two >> 24;
    last = bits.value(two);
    bits.drop(two);
  }
  const int32_t three = bits.look(entries);
  if (!ends(three)) return several_of(taken(), first_step, first, last_step, last);
  bits.drop(three);
  return several_of(taken(), first_step, first, last_step, last) | kEnd;
}

}  // namespace

bool is_made_of(const HuffmanTable& table, const uint8_t* counts, const uint8_t* symbols) {
  return table.made && std::memcmp(table.counts + 1, counts + 1, 16) == 0 &&
         std::memcmp(table.symbols, symbols, static_cast<size_t>(total_of(counts))) == 0;
}

bool make_table(HuffmanTable& table, const uint8_t* counts, const uint8_t* symbols, bool dc) {
  const int total = total_of(counts);
  if (total > 256) return false;
  table.made = false;
  std::memcpy(table.counts, counts, sizeof table.counts);
  std::fill(table.symbols, table.symbols + 256, uint8_t{0});
  std::memcpy(table.symbols, symbols, static_cast<size_t>(total));
  std::fill(table.entries, table.entries + (1 << kLookBits), kSpecial);
  int code = 0, place = 0;
  for (int length = 1; length <= 16; ++length, code <<= 1) {
    table.places[length] = place - code;
    for (int i = 0; i < counts[length]; ++i, ++code, ++place) {
      if (code >= 1 << length || (dc && symbols[place] > 15)) return false;
      if (length > kLookBits) continue;
      const int spread = kLookBits - length;
      std::fill_n(table.entries + (static_cast<size_t>(code) << spread), size_t{1} << spread,
                  entry_of(length, symbols[place], dc));
    }
    table.ends[length] = static_cast<uint32_t>(code) << (16 - length);
  }
  for (uint32_t next = 0; !dc && next < 1 << kLookBits; ++next) table.several[next] = look_at(table.entries, next);
  table.made = true;
  return true;
}

void begin_scan(HuffmanScan& scan, const uint8_t* data, const uint8_t* end) {
  scan.raw = data;
  scan.raw_end = end;
  scan.restarts = 0;
  begin_segment(scan);
}

bool read_mcu(HuffmanScan& scan, int16_t* const* blocks) {
  if (scan.mcus_left == 0) return false;
  if (scan.restart_interval != 0) {
    if (scan.mcus_to_restart == 0 && !pass_restart(scan)) return false;
    --scan.mcus_to_restart;
  }
  if (!scan.ended && static_cast<size_t>(scan.filled - scan.at) < kMostMcuBytes) fill(scan);
  Bits bits = {scan.bits, scan.bit_count, scan.at};
  int16_t unwanted[kBlockSize];
  for (int block = 0; block < scan.blocks_in_mcu; ++block) {
    if (!read_block(bits, scan.blocks[block], scan.predictors, blocks == nullptr ? unwanted : blocks[block])) {
      return false;
    }
  }
  if (scan.ended && (scan.filled - bits.at) * 8 + bits.count < 0) return false;  // bits that are not there
  scan.bits = bits.bits;
  scan.bit_count = bits.count;
  scan.at = bits.at;
  if (--scan.mcus_left > 0) return true;
  if (!scan.ended) fill(scan);
  return marker_behind(scan) != 0;
}

}  // namespace penstock::codec
