#include "tar_samples.h"

namespace penstock {

int64_t TarSamples::add(const std::string& name, int64_t offset, int64_t size, TarState state) {
  const size_t slash = name.rfind('/');
  const size_t base = slash == std::string::npos ? 0 : slash + 1;
  const size_t point = name.find('.', base);
  if (point == base) {
    ++index_.counts.hidden;
    return -1;
  }
  if (point == std::string::npos || point + 1 == name.size()) {
    ++index_.counts.unnamed;
    return -1;
  }
  const std::string key = name.substr(0, point);
  std::string word = name.substr(point + 1);
  for (char& letter : word) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  const auto extension = extensions_.emplace(word, static_cast<int32_t>(extensions_.size()));
  if (extension.second) index_.extensions.push_back(word);
  const auto number = static_cast<uint64_t>(extension.first->second);

  auto sample = samples_.emplace(key, -1).first;
  if (sample->second < 0 || taken_.count(static_cast<uint64_t>(sample->second) << 32 | number) != 0) {
    sample->second = static_cast<int64_t>(index_.key_offsets.size()) - 1;
    index_.keys += key;
    index_.key_offsets.push_back(static_cast<int64_t>(index_.keys.size()));
  }
  taken_.insert(static_cast<uint64_t>(sample->second) << 32 | number);
  index_.sample.push_back(sample->second);
  index_.extension.push_back(extension.first->second);
  index_.offset.push_back(offset);
  index_.size.push_back(size);
  index_.state.push_back(static_cast<uint8_t>(state));
  return static_cast<int64_t>(index_.sample.size()) - 1;
}

}  // namespace penstock
