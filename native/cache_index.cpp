#include "cache_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace penstock {

namespace {

constexpr size_t kLeastSlots = 64;

}  // namespace

size_t CacheTable::slot_of(const CacheKey& key) const {
  size_t slot = key.low & (entries_.size() - 1);
  while (entries_[slot].segment != kEmpty && entries_[slot].key != key) slot = (slot + 1) & (entries_.size() - 1);
  return slot;
}

bool CacheTable::at(size_t slot, const Place& place) const {
  const Entry& entry = entries_[slot];
  return entry.segment != kEmpty && (entry.segment & ~kChecked) == place.segment &&
         entry.place == place.offset / kCacheAlignment;
}

bool CacheTable::find(const CacheKey& key, Place& place) const {
  if (size_ == 0) return false;
  const Entry& entry = entries_[slot_of(key)];
  if (entry.segment == kEmpty) return false;
  place = {entry.segment & ~kChecked, entry.place * kCacheAlignment, (entry.segment & kChecked) != 0};
  return true;
}

void CacheTable::put(const CacheKey& key, const Place& place) {
  if ((size_ + 1) * 5 > entries_.size() * 4) resize(entries_.empty() ? kLeastSlots : entries_.size() * 2);
  Entry& entry = entries_[slot_of(key)];
  if (entry.segment == kEmpty) ++size_;
  entry = {key, place.segment | (place.checked ? kChecked : 0), static_cast<uint32_t>(place.offset / kCacheAlignment)};
}

bool CacheTable::drop(const CacheKey& key, const Place& place) {
  if (size_ == 0) return false;
  const size_t slot = slot_of(key);
  if (!at(slot, place)) return false;
  erase(slot);
  return true;
}

void CacheTable::set_checked(const CacheKey& key, const Place& place) {
  if (size_ == 0) return;
  const size_t slot = slot_of(key);
  if (at(slot, place)) entries_[slot].segment |= kChecked;
}

void CacheTable::erase(size_t slot) {
  // What follows and could stand nearer to its own slot moves up, so that no search ends too soon.
  const size_t mask = entries_.size() - 1;
  size_t hole = slot;
  for (size_t next = (hole + 1) & mask; entries_[next].segment != kEmpty; next = (next + 1) & mask) {
    const size_t home = entries_[next].key.low & mask;
    if (((next - home) & mask) >= ((next - hole) & mask)) {
      entries_[hole] = entries_[next];
      hole = next;
    }
  }
  entries_[hole].segment = kEmpty;
  --size_;
}

void CacheTable::resize(size_t slots) {
  std::vector<Entry> old(slots);
  old.swap(entries_);
  for (const Entry& entry : old) {
    if (entry.segment != kEmpty) entries_[slot_of(entry.key)] = entry;
  }
}

void CacheTable::drop_segment(uint32_t segment) {
  std::vector<Entry> old(entries_.size());
  old.swap(entries_);
  size_ = 0;
  for (const Entry& entry : old) {
    if (entry.segment == kEmpty || (entry.segment & ~kChecked) == segment) continue;
    entries_[slot_of(entry.key)] = entry;
    ++size_;
  }
}

IndexReader::State IndexReader::read(int folder, const Segment& segment, bool living, std::vector<IndexRecord>& found) {
  int error = 0;
  const FileNumber file = open_beside(folder, segment.name() + kIndex, O_RDONLY, error);
  if (!file) return State::missing;
  const uint64_t seed = segment.header().checksum;
  if (read_bytes_ == 0) {
    uint8_t first[kIndexHeaderBytes];
    size_t count = 0;
    if (!read_some(file.get(), first, sizeof(first), 0, count, error)) return State::damaged;
    if (count < sizeof(first) || !index_header_ok(first, seed)) return living ? State::good : State::damaged;
    read_bytes_ = kIndexHeaderBytes;
  }
  State state = State::good;
  std::vector<uint8_t> bytes(size_t{1024} * kIndexRecordBytes);
  size_t count = 0;
  do {
    if (!read_some(file.get(), bytes.data(), bytes.size(), read_bytes_, count, error)) return State::damaged;
    for (size_t at = 0; at + kIndexRecordBytes <= count; at += kIndexRecordBytes) {
      IndexRecord record;
      const bool good = decode(bytes.data() + at, seed, record) &&
                        record.offset + kRecordHeaderBytes + record.payload_bytes <= segment.size();
      if (!good && living) return State::good;
      if (good) found.push_back(record);
      if (!good) ++bad_records_;
      if (!good) state = State::damaged;
      read_bytes_ += kIndexRecordBytes;
    }
    if (!living && count % kIndexRecordBytes != 0) {
      ++bad_records_;
      state = State::damaged;
    }
  } while (count == bytes.size());
  return state;
}

SealedContent read_sealed(int folder, const Segment& segment) {
  SealedContent content;
  IndexReader reader;
  content.index = reader.read(folder, segment, false, content.records);
  uint64_t from = kSegmentHeaderBytes;
  if (content.index == IndexReader::State::good) {
    for (const IndexRecord& record : content.records) {
      RecordHeader header;  // which alone knows how long the texts are
      uint64_t end = record.offset + aligned_up(kRecordHeaderBytes + record.payload_bytes);
      if (segment.record_at(record.offset, header)) end = record.offset + header.whole_bytes();
      from = std::max(from, end);
    }
  } else {
    content.walked_all = true;
    content.records.clear();
    content.corrupt += reader.bad_records();
  }
  const size_t before = content.records.size();
  const Segment::Walk walked =
      segment.walk(from, [&](const RecordHeader& header) { content.records.push_back(index_record_of(header)); });
  content.corrupt += walked.corrupt + walked.skipped;
  content.unindexed = content.walked_all ? 0 : content.records.size() - before;
  return content;
}

bool write_index(int folder, const Segment& segment, const std::vector<IndexRecord>& records, mode_t mode, int& error) {
  const std::string name = segment.name() + kIndex, temporary = name + ".new";
  ::unlinkat(folder, temporary.c_str(), 0);
  FileNumber file = open_beside(folder, temporary, O_WRONLY | O_CREAT | O_EXCL, error, mode);
  if (!file) return false;
  std::vector<uint8_t> bytes((records.size() + 1) * kIndexRecordBytes);
  uint8_t one[kIndexRecordBytes];
  encode_index_header(segment.header().checksum, one);
  std::copy(one, one + sizeof(one), bytes.begin());
  for (size_t i = 0; i < records.size(); ++i) {
    encode(records[i], segment.header().checksum, one);
    std::copy(one, one + sizeof(one), bytes.begin() + static_cast<ptrdiff_t>((i + 1) * kIndexRecordBytes));
  }
  const iovec part = {bytes.data(), bytes.size()};
  if (write_all(file.get(), {part}, 0, error) && ::renameat(folder, temporary.c_str(), folder, name.c_str()) == 0) {
    return true;
  }
  ::unlinkat(folder, temporary.c_str(), 0);
  return false;
}

}  // namespace penstock
