// Segments: appended to by one writer process, read by all through a map.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "cache_files.h"
#include "cache_format.h"

namespace penstock {

constexpr const char* kPixels = ".pixels";
constexpr const char* kIndex = ".index";

// Whether a living process appends to the segment. Only where its header is whole: the writer locks before it writes
// one.
bool segment_is_living(int file);

// A segment's header from its file; false where it is not whole.
bool read_segment_header(int file, SegmentHeader& header);

// One segment, mapped. Thread-safe but for grow() and living().
class Segment {
 public:
  // nullptr where there is none, its header is not whole, it is not `owner`'s, or it cannot be mapped.
  static std::shared_ptr<Segment> open(int folder, const std::string& name, uint32_t owner);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  const SegmentHeader& header() const { return header_; }
  const std::string& name() const { return name_; }
  // The bytes that the file is known to have, which are those that may be touched.
  uint64_t size() const { return size_.load(std::memory_order_acquire); }
  void reach(uint64_t size) { size_.store(size, std::memory_order_release); }  // by its own writer
  void grow();                                                                 // asks the file
  bool living();  // false from the first time on that nobody writes it; then size() is final

  // The header of the record at `offset`; false where it is not whole and within the file.
  bool record_at(uint64_t offset, RecordHeader& header) const;
  // Whether payload and texts are what the header says.
  bool payload_ok(const RecordHeader& header) const;
  // The record with its texts; data points into the map.
  CacheRecord whole(const RecordHeader& header) const;

  struct Walk {
    uint64_t corrupt = 0;  // whole headers with wrong bytes behind them
    uint64_t skipped = 0;  // stretches in which no record begins, before another record
    bool torn = false;     // ends in something unfinished
  };
  // A record with wrong bytes, or a stretch in which none begins, which has no key.
  struct Wrong {
    uint64_t from = 0, to = 0;
    const CacheKey* key = nullptr;
    std::string text;
  };
  // Every whole record from `offset` on, in order; looks for the next one behind what is none.
  Walk walk(uint64_t offset, const std::function<void(const RecordHeader&)>& found,
            const std::function<void(const Wrong&)>& wrong = nullptr) const;

 private:
  Segment() = default;
  FileNumber file_;  // as long as it is being written
  std::string name_;
  SegmentHeader header_;
  const uint8_t* data_ = nullptr;
  size_t mapped_ = 0;
  std::atomic<uint64_t> size_{0};
};

// The one writer of a segment and its index. Not thread-safe.
class SegmentWriter {
 public:
  ~SegmentWriter() { reset(); }
  // Makes both files. `mode` is theirs.
  bool create(int folder, const std::string& name, SegmentHeader header, mode_t mode, int& error);
  explicit operator bool() const { return static_cast<bool>(pixels_); }
  const std::string& name() const { return name_; }
  uint64_t created_ns() const { return header_.created_ns; }
  bool fits(const RecordHeader& header) const;
  static uint64_t needed(const RecordHeader& header);  // by a segment of this record alone
  // Bytes first, then the index. Sets header.offset.
  bool append(RecordHeader& header, const CacheRecord& record, int& error);
  uint64_t end() const { return end_; }
  bool removed() const;  // somebody unlinked the file
  void seal();           // gives back what it reserved; from now on others know that it grows no more
  void reset();          // closes without unlocking: a forked child's way

 private:
  void reserve_for(uint64_t bytes);

  FileNumber pixels_, index_;
  std::string name_;
  SegmentHeader header_;
  uint64_t end_ = 0, index_end_ = 0;
  uint64_t reserved_end_ = 0;  // the disk has room for the segment up to here
  bool reserves_ = true;
};

}  // namespace penstock
