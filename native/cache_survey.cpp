// What is in a cache's folder, and how much more may be.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <random>
#include <utility>

#include "cache_folder.h"

namespace penstock {

namespace {

constexpr uint64_t kLargestSegment = uint64_t{64} << 20, kLeastShare = uint64_t{4} << 20;
constexpr int64_t kSettledNs = 1000000000;  // a folder's time of change is no finer than its clock's tick

int64_t change_of(int folder) {
  struct stat status;
  return ::fstat(folder, &status) == 0 ? written_ns(status) : -1;
}

bool strip(const std::string& name, const std::string& tail, std::string& stem) {
  if (name.size() <= tail.size() || name.compare(name.size() - tail.size(), tail.size(), tail) != 0) return false;
  stem = name.substr(0, name.size() - tail.size());
  return true;
}

std::string segment_name(uint64_t created_ns) {
  std::random_device random;
  char text[64];
  std::snprintf(text, sizeof(text), "%020llu-%ld-%08x", static_cast<unsigned long long>(created_ns),
                static_cast<long>(::getpid()), static_cast<unsigned>(random()));
  return text;
}

uint64_t both_sizes(int folder, const std::string& name) {
  return size_beside(folder, name + kPixels) + size_beside(folder, name + kIndex);
}

}  // namespace

std::string about_name(const CacheKey& recipe) {
  char text[64];
  std::snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64 "%s", recipe.high, recipe.low, kAbout);
  return text;
}

bool CacheSurvey::look(const CacheFolder& folder, bool all) {
  int error = 0;
  const int number = folder.number();
  const int64_t changed_ns = change_of(number), now_ns = cache_clock_ns();
  const bool settled = changed_ns == changed_ns_ && looked_ns_ > changed_ns_ + kSettledNs && now_ns >= looked_ns_;
  if (all || !settled) {
    const std::vector<std::string> names = names_in(number, error);
    if (error != 0) return false;
    std::set<std::string> stems;
    std::string stem;
    for (const std::string& name : names) {
      if (strip(name, kPixels, stem)) stems.insert(stem);
    }
    for (auto known = segments_.begin(); known != segments_.end();) {
      known = stems.count(known->first) != 0 ? std::next(known) : segments_.erase(known);
    }
    for (const std::string& each : stems) segments_.try_emplace(each);
    rubbish_.clear();
    abouts_.clear();
    other_bytes_ = 0;
    for (const std::string& name : names) {
      if (strip(name, kPixels, stem)) continue;
      const bool index = strip(name, kIndex, stem);
      if (index && stems.count(stem) != 0) continue;
      other_bytes_ += size_beside(number, name);
      const bool half_made =
          strip(name, std::string(kIndex) + ".new", stem) || strip(name, std::string(kAbout) + ".new", stem);
      if (index || half_made) rubbish_.push_back(name);
      if (strip(name, kAbout, stem)) abouts_.insert(name);
    }
    changed_ns_ = changed_ns;
    looked_ns_ = now_ns;
  }
  for (auto& [name, known] : segments_) {
    if (!known.living && !all) continue;
    if (known.living) {
      const FileNumber file = open_beside(number, name + kPixels, O_RDONLY, error);
      if (!file) continue;
      // Who has no header yet may just not be locked yet.
      if (!known.whole) known.whole = read_segment_header(file.get(), known.header);
      if (known.whole) known.living = segment_is_living(file.get());
    }
    known.bytes = both_sizes(number, name);
  }
  return true;
}

uint64_t CacheSurvey::bytes() const {
  uint64_t sum = other_bytes_;
  for (const auto& [name, known] : segments_) sum += known.bytes;
  return sum;
}

uint64_t CacheSurvey::promised() const {
  uint64_t sum = other_bytes_;
  for (const auto& [name, known] : segments_) {
    sum += known.living && known.whole ? std::max(known.bytes, known.header.capacity) : known.bytes;
  }
  return sum;
}

uint64_t CacheSurvey::recipes() const {
  std::set<std::pair<uint64_t, uint64_t>> different;
  for (const auto& [name, known] : segments_) {
    if (known.whole) different.emplace(known.header.recipe.high, known.header.recipe.low);
  }
  return different.size();
}

uint64_t CacheSurvey::remove(const CacheFolder& folder, const std::string& name) {
  const uint64_t bytes = both_sizes(folder.number(), name);
  ::unlinkat(folder.number(), (name + kPixels).c_str(), 0);
  ::unlinkat(folder.number(), (name + kIndex).c_str(), 0);
  segments_.erase(name);
  return bytes;
}

void CacheSurvey::unlink_beside(const CacheFolder& folder, const std::string& name) {
  other_bytes_ -= std::min(other_bytes_, size_beside(folder.number(), name));
  ::unlinkat(folder.number(), name.c_str(), 0);
}

void CacheSurvey::write_about(const CacheFolder& folder, const CacheOptions& options, uint64_t bytes) {
  const std::string name = about_name(options.recipe), temporary = name + ".new";
  const uint64_t size = options.about.size();
  if (size == 0 || abouts_.count(name) != 0 || promised() + bytes + size > options.max_bytes) return;
  int error = 0;
  const FileNumber file =
      open_beside(folder.number(), temporary, O_WRONLY | O_CREAT | O_EXCL, error, folder.file_mode());
  const iovec part = {const_cast<char*>(options.about.data()), options.about.size()};
  if (file && write_all(file.get(), {part}, 0, error) &&
      ::renameat(folder.number(), temporary.c_str(), folder.number(), name.c_str()) == 0) {
    abouts_.insert(name);
    other_bytes_ += size;
  } else {
    ::unlinkat(folder.number(), temporary.c_str(), 0);
  }
}

void CacheSurvey::remove_rubbish(const CacheFolder& folder) {
  for (const std::string& name : rubbish_) unlink_beside(folder, name);
  rubbish_.clear();
  std::vector<std::string> useless;
  for (const auto& [name, known] : segments_) {
    if (known.whole) continue;
    int error = 0;
    // Nobody makes a segment while the folder is locked, so what has no lock and no header never gets one.
    const FileNumber file = open_beside(folder.number(), name + kPixels, O_RDONLY, error);
    if (file && !segment_is_living(file.get())) useless.push_back(name);
  }
  for (const std::string& name : useless) remove(folder, name);
  std::set<std::string> used;
  for (const auto& [name, known] : segments_) {
    if (known.whole) used.insert(about_name(known.header.recipe));
  }
  for (auto each = abouts_.begin(); each != abouts_.end();) {
    const bool stays = used.count(*each) != 0;
    if (!stays) unlink_beside(folder, *each);
    each = stays ? std::next(each) : abouts_.erase(each);
  }
  for (auto& [name, known] : segments_) {
    if (!known.whole || known.living || std::exchange(known.trimmed, true)) continue;
    int error = 0;
    const FileNumber file = open_beside(folder.number(), name + kPixels, O_RDWR, error);
    if (file) give_back_reserved(file.get());
  }
}

void CacheSurvey::evict(const CacheFolder& folder, const CacheKey& recipe, uint64_t bytes, uint64_t max_bytes) {
  while (promised() + bytes > max_bytes) {
    const std::string* oldest = nullptr;
    for (const auto& [name, known] : segments_) {  // in the order of their names, which is that of their times
      if (!known.whole || known.living || known.header.recipe == recipe) continue;
      oldest = &name;
      break;
    }
    if (oldest == nullptr) return;
    remove(folder, std::string(*oldest));
  }
}

bool CacheSurvey::begin_segment(const CacheFolder& folder, const CacheOptions& options, uint64_t bytes, bool beside,
                                SegmentWriter& writer, int& error) {
  error = 0;
  const uint64_t taken = promised();
  if (taken + bytes > options.max_bytes) return false;
  SegmentHeader header;
  header.recipe = options.recipe;
  // Towards the end each writer is promised less, so that little lies promised and unused when nothing more is given.
  const uint64_t left = options.max_bytes - taken, share = std::max(left / 8, kLeastShare);
  header.capacity = std::max(bytes, std::min({kLargestSegment, options.max_bytes / 16, share, left}));
  if (beside) {
    // All that one process has open stays a small part of the cache, and of what is left of it.
    header.capacity = std::min({kLargestSegment, options.max_bytes / 64, left / 32});
    if (header.capacity < std::max(kLeastShare, 4 * bytes)) return false;
  }
  // Later than all there are, whatever the clock says: of two entries of a key the later one counts.
  header.created_ns = static_cast<uint64_t>(cache_clock_ns());
  for (const auto& [name, known] : segments_) {
    if (known.whole) header.created_ns = std::max(header.created_ns, known.header.created_ns + 1);
  }
  const std::string name = segment_name(header.created_ns);
  if (writer.create(folder.number(), name, header, folder.file_mode(), error)) {
    Known& known = segments_[name];
    known.header = header;
    known.whole = true;
    known.bytes = kSegmentHeaderBytes + kIndexHeaderBytes;
    return true;
  }
  ::unlinkat(folder.number(), (name + kPixels).c_str(), 0);
  ::unlinkat(folder.number(), (name + kIndex).c_str(), 0);
  return false;
}

}  // namespace penstock
