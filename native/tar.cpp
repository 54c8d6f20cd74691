// Walks the headers of a tar from one to the next; where there is none, looks for the next one behind the damage.
#include "tar.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_map>

#include "io.h"
#include "tar_header.h"
#include "tar_samples.h"

namespace penstock {
namespace {

constexpr size_t kNearBytes = 4096;                   // a header, and what a small member has behind it
constexpr size_t kFarBytes = size_t{1} << 20;         // while looking for something
constexpr int64_t kLongestRecord = int64_t{4} << 20;  // names and sizes that stand before a header
constexpr std::string_view kMagic = "ustar";
constexpr int64_t kMagicAt = 257;

// A part of the bytes, kept until another is asked for.
class Window {
 public:
  Window(TarBytes& bytes, size_t room) : bytes_(bytes), room_(room) {}

  // At least `count` bytes from `at`, which must be there; nullptr: the system refused, and error() says why.
  const uint8_t* view(int64_t at, int64_t count) {
    if (at >= start_ && at + count <= start_ + have_) return held_.data() + (at - start_);
    const int64_t wanted = std::min(std::max(count, static_cast<int64_t>(room_)), bytes_.size() - at);
    if (held_.size() < static_cast<size_t>(wanted)) held_.resize(static_cast<size_t>(wanted));
    have_ = 0;
    if (!bytes_.read(at, static_cast<size_t>(wanted), held_.data(), error_)) return nullptr;
    start_ = at;
    have_ = wanted;
    return held_.data();
  }
  // How many bytes view() has from `at`.
  int64_t available(int64_t at) const { return start_ + have_ - at; }
  int error() const { return error_; }

 private:
  TarBytes& bytes_;
  size_t room_;
  std::vector<uint8_t> held_;
  int64_t start_ = 0, have_ = 0;
  int error_ = 0;
};

class Walk {
 public:
  Walk(TarBytes& bytes, TarIndex& index)
      : bytes_(bytes),
        index_(index),
        samples_(index),
        size_(bytes.size()),
        near_(bytes, kNearBytes),
        far_(bytes, kFarBytes) {}

  void run() {
    int64_t at = 0;
    while (at >= 0 && at < size_) at = size_ - at < kTarBlock ? after_rest(at) : next(at);
    if (at >= 0 && !ended_) report(TarFault::no_end, size_, zero_blocks_);
  }

 private:
  static constexpr int64_t kStop = -1;  // nothing more can be found

  // What stands at `at`; returns where to go on.
  int64_t next(int64_t at) {
    const uint8_t* block = near_.view(at, kTarBlock);
    if (block == nullptr) return refused(at, near_.error());
    if (tar_is_zero(block)) {
      const int64_t swallowed = find_swallowed(at);
      return swallowed >= 0 ? swallowed : after_zeros(at);
    }
    zero_blocks_ = 0;
    TarHeader header;
    if (!parse_tar_header(block, header)) return recover(at);
    if (header.type == 'x' || header.type == 'X' || header.type == 'L' || header.type == 'K' || header.type == 'g') {
      return after_extension(at, header);
    }
    return after_member(at, header, block);
  }

  int64_t after_member(int64_t at, TarHeader header, const uint8_t* block) {
    TarExtension extension;
    std::swap(extension, extension_);
    const std::string name = extension.has_name ? extension.name : tar_name(block);
    if (extension.has_size) header.size = extension.size;
    int64_t data = at + kTarBlock;
    bool more_map = header.type == 'S' && block[482] != 0;
    while (more_map && size_ - data >= kTarBlock) {  // a sparse member's map may need blocks of its own
      const uint8_t* map = near_.view(data, kTarBlock);
      if (map == nullptr) return refused(data, near_.error());
      more_map = map[504] != 0;
      data += kTarBlock;
    }
    last_member_ = -1;
    last_data_ = data;
    if (!header.has_data()) {
      count_other(header.type, name);
      return data;
    }
    const bool cut = header.size > size_ - data;
    const bool sparse = extension.sparse || header.type == 'S';
    if (header.is_regular() && !name.empty() && name.back() != '/') {
      const TarState state = cut ? TarState::cut : sparse ? TarState::sparse : TarState::whole;
      last_member_ = samples_.add(name, data, header.size, state);
      if (last_member_ >= 0 && !read_class(last_member_)) return refused(data, near_.error());
    } else {
      count_other(header.type, name);
    }
    if (!cut) return data + std::min(tar_padded(header.size), size_ - data);
    report(TarFault::cut_member, data, header.size, size_ - data);
    extension_ = TarExtension();
    return find_header(data, size_);
  }

  // A record that says something of the header behind it.
  int64_t after_extension(int64_t at, const TarHeader& header) {
    const int64_t data = at + kTarBlock;
    last_member_ = -1;
    last_data_ = data;
    if (header.size > size_ - data) {
      report(TarFault::bad_extension, at);
      extension_ = TarExtension();
      return find_header(data, size_);
    }
    const int64_t end = data + std::min(tar_padded(header.size), size_ - data);
    if (header.type == 'K' || header.type == 'g') return end;
    bool good = header.size <= kLongestRecord;
    if (good && header.size > 0) {
      const uint8_t* text = near_.view(data, header.size);
      if (text == nullptr) return refused(data, near_.error());
      const std::string records(reinterpret_cast<const char*>(text), static_cast<size_t>(header.size));
      if (header.type == 'L') {
        extension_.has_name = true;
        extension_.name = records.substr(0, records.find('\0'));
      } else {
        good = parse_pax(records, extension_);
      }
    }
    if (!good) report(TarFault::bad_extension, at);
    return end;
  }

  // Zero blocks end a tar; where something follows them, tars were joined or a part was overwritten.
  int64_t after_zeros(int64_t at) {
    int64_t end = at + kTarBlock;  // on from there in any case, even where the file is being written to
    while (size_ - end >= kTarBlock) {
      end = behind_hole(end);
      if (size_ - end < kTarBlock) break;
      const uint8_t* blocks = far_.view(end, kTarBlock);
      if (blocks == nullptr) return refused(end, far_.error());
      const int64_t whole = far_.available(end) / kTarBlock;
      int64_t zeros = 0;
      while (zeros < whole && tar_is_zero(blocks + zeros * kTarBlock)) ++zeros;
      end += zeros * kTarBlock;
      if (zeros < whole) break;
    }
    last_member_ = -1;
    last_data_ = end;
    extension_ = TarExtension();
    zero_blocks_ = (end - at) / kTarBlock;
    ended_ = size_ - end < kTarBlock && zero_blocks_ >= 2;
    if (size_ - end >= kTarBlock) report(TarFault::more, at, zero_blocks_, end);
    return end;
  }

  // The file ends with less than a block.
  int64_t after_rest(int64_t at) {
    const uint8_t* rest = near_.view(at, size_ - at);
    if (rest == nullptr) return refused(at, near_.error());
    if (std::all_of(rest, rest + (size_ - at), [](uint8_t byte) { return byte == 0; })) return size_;
    return recover(at);
  }

  // Where a header was expected and is none. The last member may have swallowed headers: bytes were lost in it.
  int64_t recover(int64_t at) {
    extension_ = TarExtension();
    const int64_t found = find_header(last_data_, at);
    if (found >= 0 && found < at && last_member_ >= 0) {
      report_overrun(found);
    } else {
      report(TarFault::no_header, at, found);
    }
    return found;
  }

  void report_overrun(int64_t found) {
    const auto member = static_cast<size_t>(last_member_);
    if (index_.state[member] == static_cast<uint8_t>(TarState::whole)) {
      index_.state[member] = static_cast<uint8_t>(TarState::overrun);
    }
    report(TarFault::overrun, last_data_, index_.size[member], found - last_data_);
  }

  // Before the zeros at `at`: a member that lost bytes may have swallowed all headers up to there. One that begins with
  // a header is a tar itself, and has them by right.
  int64_t find_swallowed(int64_t at) {
    if (last_member_ < 0 || at - last_data_ < kTarBlock) return kStop;
    const uint8_t* block = near_.view(last_data_, kTarBlock);
    if (block == nullptr) return kStop;
    TarHeader header;
    if (parse_tar_header(block, header)) return kStop;
    const int64_t found = find_header(last_data_, at, true);
    if (found >= 0) report_overrun(found);
    return found;
  }

  // The first header from `from` on, at any alignment, or kStop. Before `trusted`, which a member's size reaches over,
  // one counts only where the headers behind it lead beyond `trusted`: a tar inside the tar ends before that. From
  // `trusted` on any counts; where a size reaches over the end of the file, nothing is trusted. `before`: only one
  // before `trusted` is looked for, and zeros may lie between it and that.
  int64_t find_header(int64_t from, int64_t trusted, bool before = false) {
    const bool any = trusted >= size_ && !before;
    int64_t at = from + kMagicAt;
    while (size_ - at >= kTarBlock - kMagicAt && (!before || at < trusted + kMagicAt)) {
      at = std::max(at, bytes_.next_data(at) - static_cast<int64_t>(kMagic.size()));
      if (size_ - at < kTarBlock - kMagicAt) break;
      const uint8_t* bytes = far_.view(at, static_cast<int64_t>(kMagic.size()));
      if (bytes == nullptr) return refused(at, far_.error());
      const std::string_view text(reinterpret_cast<const char*>(bytes), static_cast<size_t>(far_.available(at)));
      const size_t place = text.find(kMagic);
      if (place == std::string_view::npos) {
        at += static_cast<int64_t>(text.size() - kMagic.size() + 1);
        continue;
      }
      const int64_t found = at + static_cast<int64_t>(place) - kMagicAt;
      if (size_ - found < kTarBlock || (before && found >= trusted)) break;
      const uint8_t* block = near_.view(found, kTarBlock);
      if (block == nullptr) return refused(found, near_.error());
      TarHeader header;
      if (tar_has_magic(block) && parse_tar_header(block, header) &&
          (any || found >= trusted || leads_beyond(found, trusted, before))) {
        return found;
      }
      at = found + kMagicAt + 1;
    }
    return kStop;
  }

  // Whether the headers from `at` on, and zeros where they may, lead to `goal` or beyond. Where they do not, it is kept
  // how far they lead: no header is followed twice, however many sizes reach it.
  bool leads_beyond(int64_t at, int64_t goal, bool zeros) {
    std::unordered_map<int64_t, int64_t>& ends = ends_[zeros ? 1 : 0];
    std::vector<int64_t> passed;
    int64_t end = kStop;
    while (end == kStop) {
      if (at >= goal) return true;
      const auto known = ends.find(at);
      if (known != ends.end()) {
        end = known->second;
        break;
      }
      passed.push_back(at);
      const uint8_t* block = size_ - at < kTarBlock ? nullptr : near_.view(at, kTarBlock);
      TarHeader header;
      if (block != nullptr && zeros && tar_is_zero(block)) {
        at = behind_hole(at + kTarBlock);
      } else if (block == nullptr || tar_is_zero(block) || !parse_tar_header(block, header)) {
        end = at;
      } else {
        const int64_t data = at + kTarBlock;
        if (header.has_data() && header.size > size_ - data) return true;
        at = data + (header.has_data() ? tar_padded(header.size) : 0);
      }
    }
    for (const int64_t each : passed) ends[each] = end;
    return end >= goal;
  }

  // `at`, or as many blocks after it as nothing but a hole lies between.
  int64_t behind_hole(int64_t at) {
    if (at >= size_) return at;
    return at + std::max<int64_t>(std::min(bytes_.next_data(at), size_) - at, 0) / kTarBlock * kTarBlock;
  }

  // Keeps the text of a .cls; false: the system refused to read it.
  bool read_class(int64_t member) {
    const auto row = static_cast<size_t>(member);
    if (index_.extensions[static_cast<size_t>(index_.extension[row])] != "cls") return true;
    const int64_t size = index_.size[row];
    if (index_.state[row] == static_cast<uint8_t>(TarState::whole) && size > 0 && size <= kLongestClass) {
      const uint8_t* text = near_.view(index_.offset[row], size);
      if (text == nullptr) return false;
      index_.classes.append(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
    }
    index_.class_offsets.push_back(static_cast<int64_t>(index_.classes.size()));
    return true;
  }

  void count_other(char type, const std::string& name) {
    TarCounts& counts = index_.counts;
    if (type == '1' || type == '2') {
      ++counts.links;
    } else if (type == '5' || (!name.empty() && name.back() == '/')) {
      ++counts.folders;
    } else if (type == '3' || type == '4' || type == '6') {
      ++counts.devices;
    } else {
      ++counts.others;
    }
  }

  int64_t refused(int64_t at, int error) {
    report(TarFault::unreadable, at, error);
    return kStop;
  }

  void report(TarFault fault, int64_t at, int64_t first = 0, int64_t second = 0) {
    index_.damage.push_back({fault, at, first, second});
  }

  TarBytes& bytes_;
  TarIndex& index_;
  TarSamples samples_;
  const int64_t size_;
  Window near_, far_;
  TarExtension extension_;    // what is said of the header to come
  int64_t last_data_ = 0;     // where the bytes of the last header begin
  int64_t last_member_ = -1;  // the member that they are, -1 where they are none's
  int64_t zero_blocks_ = 0;   // right before where the walk is
  bool ended_ = false;
  std::unordered_map<int64_t, int64_t> ends_[2];  // see leads_beyond: without zeros, and with
};

class TarFile final : public TarBytes {
 public:
  bool open(const char* path, TarIndex& index) {
    if (!file_.open(path, index.problem)) return false;
    index.file_bytes = file_.size();
    index.mtime_ns = file_.mtime_ns();
    index.ctime_ns = file_.ctime_ns();
    return true;
  }
  int64_t size() const override { return file_.size(); }
  bool read(int64_t offset, size_t count, uint8_t* into, int& error) override {
    return file_.read(offset, count, into, error);
  }
  int64_t next_data(int64_t from) override { return file_.next_data(from); }

 private:
  OpenFile file_;
};

}  // namespace

void index_tar(TarBytes& bytes, TarIndex& index) { Walk(bytes, index).run(); }

std::vector<TarIndex> index_tars(const std::vector<std::string>& paths, int threads) {
  std::vector<TarIndex> indices(paths.size());
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < paths.size();) {
      try {
        TarFile file;
        if (file.open(paths[i].c_str(), indices[i])) index_tar(file, indices[i]);
      } catch (const std::bad_alloc&) {  // a thread that throws would end the process
        indices[i] = TarIndex();
        indices[i].problem = {Stage::read, "out of memory", "expected memory for the index, found none"};
      }
    }
  };
  const size_t wanted = std::min(paths.size(), static_cast<size_t>(std::max(threads, 1)));
  std::vector<std::thread> workers;
  workers.reserve(wanted);
  try {
    while (workers.size() + 1 < wanted) workers.emplace_back(work);
  } catch (const std::system_error&) {
    // The system has no thread left to give: those that run do the work.
  }
  work();
  for (std::thread& worker : workers) worker.join();
  return indices;
}

}  // namespace penstock
