// What lies in a cache's files; all numbers little endian. Twin: penstock/_reference/cache.py.
//
//   <name>.pixels   a segment: 64 bytes of header, then records, each beginning at a multiple of 64
//   <name>.index    64 bytes of header, then 64 bytes a record, written after the record itself
//
// A record is 192 bytes of header, the payload, two texts, zeros to the next multiple of 64. Every header and every
// index record ends in its own checksum (XXH3-64); those within a segment are seeded with the checksum of the segment's
// header, so that bytes of another segment, or a record that lies inside a payload, never pass for one.
#pragma once

#include <string>

#include "cache.h"

namespace penstock {

constexpr uint64_t kSegmentHeaderBytes = 64, kRecordHeaderBytes = 192, kIndexHeaderBytes = 64, kIndexRecordBytes = 64;
constexpr uint64_t kCacheAlignment = 64;

constexpr uint64_t aligned_up(uint64_t bytes) {
  return (bytes + kCacheAlignment - 1) / kCacheAlignment * kCacheAlignment;
}

struct SegmentHeader {
  uint64_t capacity = 0;  // what this file and its index may take together; also what is mapped
  CacheKey recipe;
  uint64_t created_ns = 0;
  uint64_t checksum = 0;  // the seed of everything in the segment and its index
};

struct RecordHeader {
  CacheKey key;
  uint64_t offset = 0;  // where in the segment it was written
  uint64_t payload_bytes = 0, payload_checksum = 0;
  uint32_t damage_bytes = 0, notes_bytes = 0;
  uint64_t texts_checksum = 0;
  CacheRecord record;  // all but texts and data

  uint64_t texts_offset() const { return offset + kRecordHeaderBytes + payload_bytes; }
  uint64_t whole_bytes() const {  // with the zeros that follow
    return aligned_up(kRecordHeaderBytes + payload_bytes + damage_bytes + notes_bytes);
  }
};

struct IndexRecord {
  CacheKey key;
  uint64_t offset = 0, payload_bytes = 0, payload_checksum = 0, decoder = 0;
};

uint64_t cache_checksum_seeded(const void* data, size_t bytes, uint64_t seed);
// cache_checksum with AVX2; nullptr where not built or not supported. The values are the same.
using Checksum = uint64_t (*)(const void* data, size_t bytes);
Checksum checksum_avx2();

// Encoding fills all of the bytes; decoding is false where the checksum, the magic or a number is not right.
void encode(SegmentHeader& header, uint8_t (&bytes)[kSegmentHeaderBytes]);  // fills in header.checksum
bool decode(const uint8_t* bytes, SegmentHeader& header);
void encode(const RecordHeader& header, uint64_t seed, uint8_t (&bytes)[kRecordHeaderBytes]);
bool decode(const uint8_t* bytes, uint64_t seed, uint64_t offset, RecordHeader& header);
void encode_index_header(uint64_t seed, uint8_t (&bytes)[kIndexHeaderBytes]);
bool index_header_ok(const uint8_t* bytes, uint64_t seed);
void encode(const IndexRecord& record, uint64_t seed, uint8_t (&bytes)[kIndexRecordBytes]);
bool decode(const uint8_t* bytes, uint64_t seed, IndexRecord& record);

// Whether four bytes may begin a record; quick, before decode().
bool begins_record(const uint8_t* bytes);

RecordHeader header_of(const CacheKey& key, const CacheRecord& record);  // checksums included; the offset is to come
IndexRecord index_record_of(const RecordHeader& header);

}  // namespace penstock
