// The folder of a cache: whose it is, what is in it, how much may still be written, and how it goes.
#pragma once

#include <map>
#include <set>

#include "cache_index.h"

namespace penstock {

// Beside the segments of each recipe: what it is, as a small text for people.
constexpr const char* kAbout = ".recipe.json";
std::string about_name(const CacheKey& recipe);

// The lock under which segments are made and removed, held for as long as this lives.
class FolderLock {
 public:
  FolderLock() = default;
  explicit FolderLock(FileNumber file) : file_(std::move(file)) {}
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  FolderLock(FolderLock&& other) noexcept = default;
  FolderLock& operator=(FolderLock&& other) = delete;
  ~FolderLock() {
    if (file_) unlock_file(file_.get());
  }
  explicit operator bool() const { return static_cast<bool>(file_); }

 private:
  FileNumber file_;
};

class CacheFolder {
 public:
  // Makes or opens it. False: `refusal` is the tail of a sentence. `trouble` (also "expected ..., found ...") says why
  // nothing can be written; then there may be no folder at all, and number() is -1.
  bool open(const CacheOptions& options, std::string& refusal, std::string& trouble);
  // Only looks, for the command line.
  bool open_existing(const std::string& path, std::string& refusal);
  int number() const { return folder_.get(); }
  const std::string& path() const { return path_; }
  uint32_t owner() const { return owner_; }
  mode_t file_mode() const { return readable_by_others_ ? 0644 : 0600; }
  bool removed() const;                                       // the folder itself is gone
  FolderLock lock(int& error, int patience_ms = 2000) const;  // error 0: somebody else held it all the time
  // Of a volatile folder: removes it where nobody else uses it.
  void leave();
  void abandon();  // a forked child's copy: closes its files and nothing else

 private:
  bool make(const std::string& path, bool read_only, bool network, std::string& refusal, std::string& trouble);
  bool check_owner(const CacheOptions& options, std::string& refusal, std::string& trouble);
  bool check_format(bool read_only, std::string& refusal, std::string& trouble);
  bool use(bool read_only);  // false: it went away meanwhile

  std::string path_;
  FileNumber folder_, users_;
  uint32_t owner_ = 0;
  bool readable_by_others_ = false, volatile_ = false;
};

// What this process knows of the files in a folder. Not thread-safe.
class CacheSurvey {
 public:
  struct Known {
    SegmentHeader header;
    bool whole = false;    // the header could be read
    bool living = true;    // a process appends to it
    uint64_t bytes = 0;    // both files
    bool trimmed = false;  // what a killed writer may have left reserved on the disk was given back
  };
  // Looks again; false where the folder cannot be listed. `all`: also where nothing seems to have changed.
  bool look(const CacheFolder& folder, bool all);
  const std::map<std::string, Known>& segments() const { return segments_; }
  uint64_t bytes() const;     // of all files
  uint64_t promised() const;  // the most they may grow to
  uint64_t recipes() const;

  // These are for who holds the folder's lock. Removes what nobody can read: segments without a header, indexes without
  // a segment, texts about recipes without one, files half made; and gives back what killed writers left reserved.
  void remove_rubbish(const CacheFolder& folder);
  // Removes segments of other recipes, oldest first, until `bytes` more fit under `max_bytes`; not those being written.
  void evict(const CacheFolder& folder, const CacheKey& recipe, uint64_t bytes, uint64_t max_bytes);
  // Writes what the recipe is, where that is not there yet and `bytes` still fit beside it.
  void write_about(const CacheFolder& folder, const CacheOptions& options, uint64_t bytes);
  // Makes the next segment; false with an error, or with error 0 where `bytes` do not fit. `beside`: this process has
  // others open; the new one is small against what is left, or it is not made.
  bool begin_segment(const CacheFolder& folder, const CacheOptions& options, uint64_t bytes, bool beside,
                     SegmentWriter& writer, int& error);
  uint64_t remove(const CacheFolder& folder, const std::string& name);  // the bytes it had

 private:
  void unlink_beside(const CacheFolder& folder, const std::string& name);

  std::map<std::string, Known> segments_;
  std::vector<std::string> rubbish_;
  std::set<std::string> abouts_;
  uint64_t other_bytes_ = 0;
  int64_t changed_ns_ = -1, looked_ns_ = 0;
};

}  // namespace penstock
