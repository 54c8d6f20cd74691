#include "cache_segment.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

namespace penstock {

namespace {

uint64_t size_of(int file) {
  struct stat status;
  return ::fstat(file, &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
}

std::string hexadecimal(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016" PRIx64, value);
  return text;
}

// Of a disk; little enough that what a killed writer leaves reserved is soon found again.
constexpr uint64_t kReservedAtOnce = uint64_t{16} << 20;

iovec part_of(const void* data, size_t bytes) { return {const_cast<void*>(data), bytes}; }

}  // namespace

bool segment_is_living(int file) {
  if (::flock(file, LOCK_SH | LOCK_NB) != 0) return true;
  unlock_file(file);
  return false;
}

bool read_segment_header(int file, SegmentHeader& header) {
  uint8_t bytes[kSegmentHeaderBytes];
  size_t count = 0;
  int error = 0;
  return read_some(file, bytes, sizeof(bytes), 0, count, error) && count == sizeof(bytes) && decode(bytes, header);
}

std::shared_ptr<Segment> Segment::open(int folder, const std::string& name, uint32_t owner) {
  std::shared_ptr<Segment> segment(new Segment);
  int error = 0;
  segment->file_ = open_beside(folder, name + kPixels, O_RDONLY, error);
  struct stat status;
  if (!segment->file_ || ::fstat(segment->file_.get(), &status) != 0 || status.st_uid != owner) return nullptr;
  if (!read_segment_header(segment->file_.get(), segment->header_)) return nullptr;
  segment->name_ = name;
  // A living segment is mapped once, as large as it may become; what lies beyond the file's end is never touched.
  const bool living = segment_is_living(segment->file_.get());
  segment->grow();
  segment->mapped_ = living ? segment->header_.capacity : segment->size();
  if (segment->size() > segment->mapped_) return nullptr;
  void* map = ::mmap(nullptr, segment->mapped_, PROT_READ, MAP_SHARED, segment->file_.get(), 0);
  if (map == MAP_FAILED) return nullptr;
  segment->data_ = static_cast<const uint8_t*>(map);
  if (!living) segment->file_.reset();
  return segment;
}

Segment::~Segment() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), mapped_);
}

void Segment::grow() {
  if (file_) size_.store(size_of(file_.get()), std::memory_order_release);
}

bool Segment::living() {
  if (!file_) return false;
  if (segment_is_living(file_.get())) return true;
  grow();
  file_.reset();
  return false;
}

bool Segment::record_at(uint64_t offset, RecordHeader& header) const {
  const uint64_t end = std::min<uint64_t>(size(), mapped_);
  if (offset % kCacheAlignment != 0 || offset + kRecordHeaderBytes > end) return false;
  if (!decode(data_ + offset, header_.checksum, offset, header)) return false;
  return header.whole_bytes() <= end - offset;
}

bool Segment::payload_ok(const RecordHeader& header) const {
  const uint8_t* payload = data_ + header.offset + kRecordHeaderBytes;
  return cache_checksum(payload, header.payload_bytes) == header.payload_checksum &&
         cache_checksum(data_ + header.texts_offset(), header.damage_bytes + header.notes_bytes) ==
             header.texts_checksum;
}

CacheRecord Segment::whole(const RecordHeader& header) const {
  CacheRecord record = header.record;
  record.data = data_ + header.offset + kRecordHeaderBytes;
  record.bytes = header.payload_bytes;
  if (header.damage_bytes + header.notes_bytes > 0) {
    const char* texts = reinterpret_cast<const char*>(data_ + header.texts_offset());
    record.damage.assign(texts, header.damage_bytes);
    record.party_notes.assign(texts + header.damage_bytes, header.notes_bytes);
  }
  return record;
}

Segment::Walk Segment::walk(uint64_t offset, const std::function<void(const RecordHeader&)>& found,
                            const std::function<void(const Wrong&)>& wrong) const {
  Walk result;
  const uint64_t end = std::min<uint64_t>(size(), mapped_);
  uint64_t lost_from = 0;  // where a stretch without records began
  bool lost = false;
  const auto say = [&](uint64_t from, uint64_t to, const CacheKey* key, const std::string& text) {
    if (wrong) wrong({from, to, key, name_ + kPixels + ": " + text});
  };
  while (offset < end) {
    RecordHeader header;
    if (!record_at(offset, header)) {
      if (!lost) lost_from = offset;
      lost = true;
      offset += kCacheAlignment;
      continue;
    }
    if (lost) {
      ++result.skipped;
      say(lost_from, offset, nullptr,
          "expected a record at byte " + std::to_string(lost_from) + ", found none before byte " +
              std::to_string(offset));
      lost = false;
    }
    const uint64_t next = offset + header.whole_bytes();
    if (payload_ok(header)) {
      found(header);
    } else {
      ++result.corrupt;
      const uint64_t sum = cache_checksum(data_ + offset + kRecordHeaderBytes, header.payload_bytes);
      say(offset, next, &header.key,
          "expected the checksum " + hexadecimal(header.payload_checksum) + " of the record at byte " +
              std::to_string(offset) + ", found " +
              (sum == header.payload_checksum ? "other texts beside it" : hexadecimal(sum)));
    }
    offset = next;
  }
  result.torn = lost;
  return result;
}

bool SegmentWriter::create(int folder, const std::string& name, SegmentHeader header, mode_t mode, int& error) {
  FileNumber pixels = open_beside(folder, name + kPixels, O_RDWR | O_CREAT | O_EXCL, error, mode);
  if (!pixels) return false;
  // Who asks whether it is being written may hold the lock for an instant.
  while (::flock(pixels.get(), LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    error = errno;
    return false;
  }
  FileNumber index = open_beside(folder, name + kIndex, O_RDWR | O_CREAT | O_EXCL, error, mode);
  if (!index) return false;
  uint8_t first[kSegmentHeaderBytes], first_of_index[kIndexHeaderBytes];
  encode(header, first);
  encode_index_header(header.checksum, first_of_index);
  // A segment whose header is whole has an index, whenever its writer was killed.
  if (!write_all(index.get(), {part_of(first_of_index, sizeof(first_of_index))}, 0, error)) return false;
  if (!write_all(pixels.get(), {part_of(first, sizeof(first))}, 0, error)) return false;
  pixels_ = std::move(pixels);
  index_ = std::move(index);
  name_ = name;
  header_ = header;
  end_ = kSegmentHeaderBytes;
  index_end_ = kIndexHeaderBytes;
  reserved_end_ = 0;
  reserves_ = true;
  return true;
}

uint64_t SegmentWriter::needed(const RecordHeader& header) {
  return kSegmentHeaderBytes + kIndexHeaderBytes + header.whole_bytes() + kIndexRecordBytes;
}

bool SegmentWriter::fits(const RecordHeader& header) const {
  return pixels_ && end_ + index_end_ + header.whole_bytes() + kIndexRecordBytes <= header_.capacity;
}

// A full disk is left to the write, which may still find room.
void SegmentWriter::reserve_for(uint64_t bytes) {
  if (!reserves_ || end_ + bytes <= reserved_end_) return;
  const uint64_t from = std::max(end_, reserved_end_);
  const uint64_t to = std::min(header_.capacity, std::max(end_ + bytes, from + kReservedAtOnce));
  reserves_ = reserve(pixels_.get(), from, to - from);
  reserved_end_ = to;
}

bool SegmentWriter::append(RecordHeader& header, const CacheRecord& record, int& error) {
  static const uint8_t zeros[kCacheAlignment] = {};
  header.offset = end_;
  reserve_for(header.whole_bytes());
  uint8_t first[kRecordHeaderBytes], entry[kIndexRecordBytes];
  encode(header, header_.checksum, first);
  const uint64_t used = kRecordHeaderBytes + header.payload_bytes + header.damage_bytes + header.notes_bytes;
  if (!write_all(
          pixels_.get(),
          {part_of(first, sizeof(first)), part_of(record.data, record.bytes),
           part_of(record.damage.data(), record.damage.size()),
           part_of(record.party_notes.data(), record.party_notes.size()), part_of(zeros, header.whole_bytes() - used)},
          end_, error)) {
    return false;
  }
  encode(index_record_of(header), header_.checksum, entry);
  if (!write_all(index_.get(), {part_of(entry, sizeof(entry))}, index_end_, error)) return false;
  end_ += header.whole_bytes();
  index_end_ += kIndexRecordBytes;
  return true;
}

bool SegmentWriter::removed() const {
  struct stat status;
  return pixels_ && (::fstat(pixels_.get(), &status) != 0 || status.st_nlink == 0);
}

void SegmentWriter::seal() {
  // A forked child may hold a copy of the file: closing alone would leave the lock with it.
  if (pixels_) {
    if (reserved_end_ > 0) give_back_reserved(pixels_.get());
    unlock_file(pixels_.get());
  }
  reset();
}

void SegmentWriter::reset() {
  pixels_.reset();
  index_.reset();
}

}  // namespace penstock
