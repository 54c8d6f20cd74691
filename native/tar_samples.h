// Members that share a name up to the first point of its last part are one sample.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>

#include "tar.h"

namespace penstock {

class TarSamples {
 public:
  explicit TarSamples(TarIndex& index) : index_(index) {}

  // Adds a member to the last sample of its key, or to a new one where that has such a member already. Returns its row
  // in the index; -1 where the name says nothing of what it is, which is counted.
  int64_t add(const std::string& name, int64_t offset, int64_t size, TarState state);

 private:
  TarIndex& index_;
  std::unordered_map<std::string, int64_t> samples_;     // the last one of each key
  std::unordered_map<std::string, int32_t> extensions_;  // their numbers
  std::unordered_set<uint64_t> taken_;                   // sample << 32 | extension
};

}  // namespace penstock
