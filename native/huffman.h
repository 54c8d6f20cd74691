// The Huffman-coded data of a sequential JPEG to coefficients: no libjpeg, no markers but those within the scan.
//
// It reads what is certain and nothing else. Where a code is unknown, a coefficient lies past the last, bytes run out,
// a marker is not the one due, or anything but padding is left before it, read_mcu() says so, and what such data means
// is for libjpeg-turbo's own decoder to say.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock::codec {

constexpr int kLookBits = 10;            // of a code found by one look into a table; longer ones are rare
constexpr int kMostBlocks = 10;          // of an MCU
constexpr int kMostComponents = 4;       // of a scan
constexpr size_t kStuffedBytes = 16384;  // of the scan, made free of stuffing at a time
constexpr size_t kMostMcuBytes = 2560;  // 10 blocks of 64 codes, each of up to 31 bits with its value, and a look ahead

// One table of a file, made for looking up. Kept from image to image: most files have the same few.
struct HuffmanTable {
  uint8_t counts[17];  // of codes, by length: what it was made of
  uint8_t symbols[256];
  bool made;
  int32_t entries[1 << kLookBits];   // by the next bits: one code; see huffman.cpp
  uint64_t several[1 << kLookBits];  // up to two coefficients and the end of the block (not of DC tables)
  uint32_t ends[18];                 // of the longer codes of a length: the first 16 bits that are past them
  int32_t places[17];                // symbol of a longer code: symbols[places[length] + code]
};

// `counts` [1..16] and `symbols` as in the file.
bool is_made_of(const HuffmanTable& table, const uint8_t* counts, const uint8_t* symbols);
// False: they are not a table. One for AC takes as long as a kilobyte and a half of data.
bool make_table(HuffmanTable& table, const uint8_t* counts, const uint8_t* symbols, bool dc);

struct HuffmanScan {
  struct Block {
    const HuffmanTable* dc;
    const HuffmanTable* ac;
    int component;
  };
  Block blocks[kMostBlocks];  // of an MCU, in order
  int blocks_in_mcu;
  uint64_t mcus_left;
  uint32_t restart_interval, mcus_to_restart;
  int restarts;
  int predictors[kMostComponents];

  uint64_t bits;      // the next ones, from the top; those past `bit_count` are read again
  int bit_count;      // that are certain to be there
  const uint8_t* at;  // the byte after them, in `bytes`
  const uint8_t* filled;
  const uint8_t* raw;  // the file from where it is still stuffed: a marker where `ended`
  const uint8_t* raw_end;
  bool ended;  // the segment's last byte is in `bytes`
  uint8_t bytes[kStuffedBytes + 2 * kMostMcuBytes];
};

// With blocks, blocks_in_mcu, mcus_left and restart_interval set.
void begin_scan(HuffmanScan& scan, const uint8_t* data, const uint8_t* end);
// The coefficients of the next MCU in natural order, into zeroed blocks of 64; nullptr: nowhere. After the last MCU,
// scan.raw is at the marker behind the scan. False: nothing is certain any more.
bool read_mcu(HuffmanScan& scan, int16_t* const* blocks);

}  // namespace penstock::codec
