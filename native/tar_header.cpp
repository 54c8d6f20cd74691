#include "tar_header.h"

#include <cstring>
#include <limits>

namespace penstock {
namespace {

constexpr size_t kName = 0, kNameBytes = 100, kSize = 124, kSizeBytes = 12, kSum = 148, kSumBytes = 8, kType = 156;
constexpr size_t kMagic = 257, kPrefix = 345, kPrefixBytes = 155;
constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();

// Octal digits between spaces, ended by a space, a zero or the field's end; or base 256 behind a set highest bit.
bool parse_number(const uint8_t* field, size_t bytes, int64_t& value) {
  value = 0;
  if (field[0] & 0x80) {
    if (field[0] & 0x40) return false;  // negative
    value = field[0] & 0x3F;
    for (size_t i = 1; i < bytes; ++i) {
      if (value > kHighest >> 8) return false;
      value = value << 8 | field[i];
    }
    return true;
  }
  size_t at = 0;
  while (at < bytes && field[at] == ' ') ++at;
  for (; at < bytes && field[at] >= '0' && field[at] <= '7'; ++at) value = value << 3 | (field[at] - '0');
  return at == bytes || field[at] == ' ' || field[at] == 0;
}

bool parse_decimal(const std::string& text, int64_t& value) {
  value = 0;
  if (text.empty()) return false;
  for (char digit : text) {
    if (digit < '0' || digit > '9' || value > (kHighest - 9) / 10) return false;
    value = value * 10 + (digit - '0');
  }
  return true;
}

std::string field_text(const uint8_t* field, size_t bytes) {
  const char* text = reinterpret_cast<const char*>(field);
  return std::string(text, strnlen(text, bytes));
}

}  // namespace

bool TarHeader::has_data() const { return type < '1' || type > '6'; }

bool TarHeader::is_regular() const { return type == '0' || type == 0 || type == '7' || type == 'S'; }

bool tar_is_zero(const uint8_t* block) { return block[0] == 0 && std::memcmp(block, block + 1, kTarBlock - 1) == 0; }

bool tar_has_magic(const uint8_t* block) {
  return std::memcmp(block + kMagic, "ustar", 5) == 0 && (block[kMagic + 5] == 0 || block[kMagic + 5] == ' ');
}

bool parse_tar_header(const uint8_t* block, TarHeader& header) {
  int64_t expected;
  if (!parse_number(block + kSum, kSumBytes, expected)) return false;
  // Some old writers summed signed bytes.
  int64_t plain = int64_t{' '} * kSumBytes, with_signs = plain;
  for (size_t i = 0; i < kTarBlock; ++i) {
    if (i >= kSum && i < kSum + kSumBytes) continue;
    plain += block[i];
    with_signs += static_cast<int8_t>(block[i]);
  }
  if (expected != plain && expected != with_signs) return false;
  header.type = static_cast<char>(block[kType]);
  return parse_number(block + kSize, kSizeBytes, header.size);
}

std::string tar_name(const uint8_t* block) {
  std::string name = field_text(block + kName, kNameBytes);
  // GNU's own header, which ends its magic with a space, keeps other things where ustar has the prefix.
  const bool ustar = std::memcmp(block + kMagic, "ustar", 6) == 0;
  if (ustar && block[kPrefix] != 0) return field_text(block + kPrefix, kPrefixBytes) + "/" + name;
  return name;
}

bool parse_pax(const std::string& records, TarExtension& extension) {
  size_t at = 0;
  bool sparse_named = false;
  // Zeros behind the last record are padding that some writers count.
  while (at < records.size() && records[at] != 0) {
    const size_t space = records.find(' ', at);
    int64_t length;
    if (space == std::string::npos || !parse_decimal(records.substr(at, space - at), length)) return false;
    if (length > static_cast<int64_t>(records.size() - at)) return false;
    const size_t end = at + static_cast<size_t>(length);
    if (end < space + 2 || records[end - 1] != '\n') return false;
    const size_t equals = records.find('=', space);
    if (equals == std::string::npos || equals >= end) return false;
    const std::string key = records.substr(space + 1, equals - space - 1);
    const std::string value = records.substr(equals + 1, end - 1 - equals - 1);
    if (key == "path" && !sparse_named) {  // of a sparse member it is a made-up one
      extension.has_name = true;
      extension.name = value;
    } else if (key == "size") {
      if (!parse_decimal(value, extension.size)) return false;
      extension.has_size = true;
    } else if (key.compare(0, 11, "GNU.sparse.") == 0) {
      extension.sparse = true;
      if (key == "GNU.sparse.name") {
        sparse_named = extension.has_name = true;
        extension.name = value;
      }
    }
    at = end;
  }
  return true;
}

}  // namespace penstock
