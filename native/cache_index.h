// Which key lies where: the index beside each segment, and the table in memory that is made of them.
#pragma once

#include "cache_segment.h"

namespace penstock {

// Keys to places, by open addressing: 24 bytes a slot, two to four fifths of them taken. Not thread-safe.
class CacheTable {
 public:
  struct Place {
    uint32_t segment = 0;
    uint64_t offset = 0;
    bool checked = false;  // its bytes were found right by this process
  };
  bool find(const CacheKey& key, Place& place) const;
  void put(const CacheKey& key, const Place& place);   // replaces
  bool drop(const CacheKey& key, const Place& place);  // false where the key has another place by now
  void set_checked(const CacheKey& key, const Place& place);
  void drop_segment(uint32_t segment);
  uint64_t size() const { return size_; }

 private:
  static constexpr uint32_t kEmpty = ~uint32_t{0}, kChecked = uint32_t{1} << 31;
  struct Entry {
    CacheKey key;
    uint32_t segment = kEmpty;  // and kChecked
    uint32_t place = 0;         // offset / 64
  };
  size_t slot_of(const CacheKey& key) const;  // its own, or the empty one it would take
  bool at(size_t slot, const Place& place) const;
  void erase(size_t slot);
  void resize(size_t slots);
  std::vector<Entry> entries_;
  uint64_t size_ = 0;
};

// Reads a segment's index as it grows.
class IndexReader {
 public:
  enum class State : uint8_t { good, missing, damaged };
  // The records that came since the last time. Of a segment that is still written, whatever is not whole yet is left
  // for the next time; of another one it is damage. Records beyond the segment's end are damage.
  State read(int folder, const Segment& segment, bool living, std::vector<IndexRecord>& found);
  uint64_t bad_records() const { return bad_records_; }

 private:
  uint64_t read_bytes_ = 0;
  uint64_t bad_records_ = 0;
};

// What of a segment no longer written stands in it, by index and by walking where the index does not say.
struct SealedContent {
  std::vector<IndexRecord> records;
  IndexReader::State index = IndexReader::State::good;
  bool walked_all = false;  // the index was no use
  uint64_t unindexed = 0;   // found behind what the index names
  uint64_t corrupt = 0;     // found wrong while walking, and the index's own bad records
  bool index_is_whole() const { return index == IndexReader::State::good && unindexed == 0; }
};

SealedContent read_sealed(int folder, const Segment& segment);

// Puts a new index in the place of the old one, at once. The folder's lock is held by the caller.
bool write_index(int folder, const Segment& segment, const std::vector<IndexRecord>& records, mode_t mode, int& error);

}  // namespace penstock
