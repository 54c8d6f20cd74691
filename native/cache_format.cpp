#include "cache_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

namespace penstock {

namespace {

constexpr char kSegmentMagic[8] = {'P', 'S', 'T', 'K', 'P', 'I', 'X', '1'};
constexpr char kIndexMagic[8] = {'P', 'S', 'T', 'K', 'I', 'D', 'X', '1'};
constexpr char kRecordMagic[8] = {'P', 'S', 'T', 'K', 'R', 'E', 'C', '1'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kEncoded = 1, kDamaged = 2;

void put(uint8_t* at, uint64_t value, size_t bytes = 8) {
  for (size_t i = 0; i < bytes; ++i) at[i] = static_cast<uint8_t>(value >> 8 * i);
}

uint64_t get(const uint8_t* at, size_t bytes = 8) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(at[i]) << 8 * i;
  return value;
}

int get_int(const uint8_t* at) { return static_cast<int32_t>(static_cast<uint32_t>(get(at, 4))); }

void put_checksum(uint8_t* bytes, size_t count, uint64_t seed) {
  put(bytes + count - 8, cache_checksum_seeded(bytes, count - 8, seed));
}

bool checksum_ok(const uint8_t* bytes, size_t count, uint64_t seed) {
  return get(bytes + count - 8) == cache_checksum_seeded(bytes, count - 8, seed);
}

}  // namespace

uint64_t cache_checksum_seeded(const void* data, size_t bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(data, bytes, seed);
}

uint64_t cache_checksum(const void* data, size_t bytes) {
  static const Checksum avx2 = checksum_avx2();
  return avx2 != nullptr ? avx2(data, bytes) : XXH3_64bits(data, bytes);
}

CacheKey cache_key(const void* identity, size_t bytes, const CacheKey& recipe) {
  uint8_t first[16];
  put(first, recipe.high);
  put(first + 8, recipe.low);
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, first, sizeof(first));
  XXH3_128bits_update(&state, identity, bytes);
  const XXH128_hash_t hash = XXH3_128bits_digest(&state);
  return {hash.high64, hash.low64};
}

void encode(SegmentHeader& header, uint8_t (&bytes)[kSegmentHeaderBytes]) {
  std::memset(bytes, 0, sizeof(bytes));
  std::memcpy(bytes, kSegmentMagic, 8);
  put(bytes + 8, kVersion, 4);
  put(bytes + 16, header.capacity);
  put(bytes + 24, header.recipe.high);
  put(bytes + 32, header.recipe.low);
  put(bytes + 40, header.created_ns);
  put_checksum(bytes, sizeof(bytes), 0);
  header.checksum = get(bytes + kSegmentHeaderBytes - 8);
}

bool decode(const uint8_t* bytes, SegmentHeader& header) {
  if (std::memcmp(bytes, kSegmentMagic, 8) != 0 || get(bytes + 8, 4) != kVersion) return false;
  if (!checksum_ok(bytes, kSegmentHeaderBytes, 0)) return false;
  header.capacity = get(bytes + 16);
  header.recipe = {get(bytes + 24), get(bytes + 32)};
  header.created_ns = get(bytes + 40);
  header.checksum = get(bytes + kSegmentHeaderBytes - 8);
  return header.capacity >= kSegmentHeaderBytes && header.capacity < uint64_t{1} << 48;
}

void encode(const RecordHeader& header, uint64_t seed, uint8_t (&bytes)[kRecordHeaderBytes]) {
  const CacheRecord& record = header.record;
  std::memset(bytes, 0, sizeof(bytes));
  std::memcpy(bytes, kRecordMagic, 8);
  put(bytes + 8, header.key.high);
  put(bytes + 16, header.key.low);
  put(bytes + 24, header.offset);
  put(bytes + 32, header.payload_bytes);
  put(bytes + 40, header.payload_checksum);
  put(bytes + 48, header.texts_checksum);
  put(bytes + 56, record.decoder);
  put(bytes + 64, static_cast<uint32_t>(record.size.height), 4);
  put(bytes + 68, static_cast<uint32_t>(record.size.width), 4);
  put(bytes + 72, static_cast<uint32_t>(record.channels), 4);
  put(bytes + 76, static_cast<uint32_t>(record.orientation), 4);
  put(bytes + 80, static_cast<uint32_t>(record.stored.height), 4);
  put(bytes + 84, static_cast<uint32_t>(record.stored.width), 4);
  put(bytes + 88, record.notes, 4);
  put(bytes + 92, (record.encoded ? kEncoded : 0) | (record.damaged ? kDamaged : 0), 4);
  for (size_t i = 0; i < 6; ++i) {
    uint64_t bits;
    std::memcpy(&bits, &record.geometry.m[i], 8);
    put(bytes + 96 + 8 * i, bits);
  }
  put(bytes + 144, header.damage_bytes, 4);
  put(bytes + 148, header.notes_bytes, 4);
  put_checksum(bytes, sizeof(bytes), seed);
}

bool begins_record(const uint8_t* bytes) { return std::memcmp(bytes, kRecordMagic, 4) == 0; }

bool decode(const uint8_t* bytes, uint64_t seed, uint64_t offset, RecordHeader& header) {
  if (std::memcmp(bytes, kRecordMagic, 8) != 0 || !checksum_ok(bytes, kRecordHeaderBytes, seed)) return false;
  CacheRecord& record = header.record;
  header.key = {get(bytes + 8), get(bytes + 16)};
  header.offset = get(bytes + 24);
  header.payload_bytes = get(bytes + 32);
  header.payload_checksum = get(bytes + 40);
  header.texts_checksum = get(bytes + 48);
  record.decoder = get(bytes + 56);
  record.size = {get_int(bytes + 64), get_int(bytes + 68)};
  record.channels = get_int(bytes + 72);
  record.orientation = get_int(bytes + 76);
  record.stored = {get_int(bytes + 80), get_int(bytes + 84)};
  record.notes = static_cast<uint32_t>(get(bytes + 88, 4));
  const uint64_t flags = get(bytes + 92, 4);
  record.encoded = (flags & kEncoded) != 0;
  record.damaged = (flags & kDamaged) != 0;
  for (size_t i = 0; i < 6; ++i) {
    const uint64_t bits = get(bytes + 96 + 8 * i);
    std::memcpy(&record.geometry.m[i], &bits, 8);
  }
  header.damage_bytes = static_cast<uint32_t>(get(bytes + 144, 4));
  header.notes_bytes = static_cast<uint32_t>(get(bytes + 148, 4));
  record.bytes = header.payload_bytes;
  return header.offset == offset && header.payload_bytes < uint64_t{1} << 48;
}

void encode_index_header(uint64_t seed, uint8_t (&bytes)[kIndexHeaderBytes]) {
  std::memset(bytes, 0, sizeof(bytes));
  std::memcpy(bytes, kIndexMagic, 8);
  put(bytes + 8, kVersion, 4);
  put_checksum(bytes, sizeof(bytes), seed);
}

bool index_header_ok(const uint8_t* bytes, uint64_t seed) {
  uint8_t expected[kIndexHeaderBytes];
  encode_index_header(seed, expected);
  return std::memcmp(bytes, expected, sizeof(expected)) == 0;
}

void encode(const IndexRecord& record, uint64_t seed, uint8_t (&bytes)[kIndexRecordBytes]) {
  std::memset(bytes, 0, sizeof(bytes));
  put(bytes, record.key.high);
  put(bytes + 8, record.key.low);
  put(bytes + 16, record.offset);
  put(bytes + 24, record.payload_bytes);
  put(bytes + 32, record.payload_checksum);
  put(bytes + 40, record.decoder);
  put_checksum(bytes, sizeof(bytes), seed);
}

bool decode(const uint8_t* bytes, uint64_t seed, IndexRecord& record) {
  if (!checksum_ok(bytes, kIndexRecordBytes, seed)) return false;
  record.key = {get(bytes), get(bytes + 8)};
  record.offset = get(bytes + 16);
  record.payload_bytes = get(bytes + 24);
  record.payload_checksum = get(bytes + 32);
  record.decoder = get(bytes + 40);
  return record.offset % kCacheAlignment == 0 && record.payload_bytes < uint64_t{1} << 48;
}

RecordHeader header_of(const CacheKey& key, const CacheRecord& record) {
  RecordHeader header;
  header.key = key;
  header.payload_bytes = record.bytes;
  header.payload_checksum = cache_checksum(record.data, record.bytes);
  header.damage_bytes = static_cast<uint32_t>(record.damage.size());
  header.notes_bytes = static_cast<uint32_t>(record.party_notes.size());
  const std::string texts = record.damage + record.party_notes;
  header.texts_checksum = cache_checksum(texts.data(), texts.size());
  header.record = record;
  return header;
}

IndexRecord index_record_of(const RecordHeader& header) {
  return {header.key, header.offset, header.payload_bytes, header.payload_checksum, header.record.decoder};
}

}  // namespace penstock
