// XXH3-64 for x86-64 with AVX2: the same values, about twice as fast. Built with -mavx2; without it there is none.
#include "cache_format.h"

#ifndef __AVX2__

namespace penstock {
Checksum checksum_avx2() { return nullptr; }
}  // namespace penstock

#else

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace penstock {
namespace {

uint64_t checksum(const void* data, size_t bytes) { return XXH3_64bits(data, bytes); }

}  // namespace

Checksum checksum_avx2() {
  static const bool supported = __builtin_cpu_supports("avx2");
  return supported ? &checksum : nullptr;
}

}  // namespace penstock

#endif
