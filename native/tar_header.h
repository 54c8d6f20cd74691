// One header block of a tar.
#pragma once

#include <string>

#include "types.h"

namespace penstock {

constexpr int64_t kTarBlock = 512;

struct TarHeader {
  char type = '0';
  int64_t size = 0;
  bool has_data() const;    // whether `size` bytes follow; links, folders and devices have none
  bool is_regular() const;  // a file's own bytes, sparse ones included
};

// Bytes up to a multiple of a block.
constexpr int64_t tar_padded(int64_t size) { return (size + kTarBlock - 1) / kTarBlock * kTarBlock; }

bool tar_is_zero(const uint8_t* block);
bool tar_has_magic(const uint8_t* block);
// False: the checksum or the size says that this is no header.
bool parse_tar_header(const uint8_t* block, TarHeader& header);
// The name that the header itself holds.
std::string tar_name(const uint8_t* block);

// What the records before a header say of its member.
struct TarExtension {
  bool has_name = false, has_size = false, sparse = false;
  std::string name;
  int64_t size = 0;
};

// Reads the records of a pax header ("length key=value\n"); false where they are not of that form.
bool parse_pax(const std::string& records, TarExtension& extension);

}  // namespace penstock
