// The cache: finished pixels (or a file's bytes) in a folder of append-only segments, shared by threads and processes.
// What the files hold: cache_format.h. Twin: penstock/_reference/cache.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "types.h"

namespace penstock {

// What an entry is found by: XXH3-128 of the recipe's key and the bytes that say which item it is.
struct CacheKey {
  uint64_t high = 0, low = 0;
  bool operator==(const CacheKey& o) const { return high == o.high && low == o.low; }
  bool operator!=(const CacheKey& o) const { return !(*this == o); }
};

// The key of an item under a recipe; with the recipe {0, 0}, the key of a recipe's fingerprint.
CacheKey cache_key(const void* identity, size_t bytes, const CacheKey& recipe);

// XXH3-64, with seed 0: what payloads are checked by.
uint64_t cache_checksum(const void* data, size_t bytes);

// What is kept of an item. `data` is borrowed: the caller's in keep(), the map's after find().
struct CacheRecord {
  bool encoded = false;  // a file's bytes; else uint8 pixels [size.height, size.width, channels]
  Size size;             // of the pixels
  int channels = 0;
  Size stored;  // as ItemResult has them
  int orientation = 1;
  Affine geometry;
  uint32_t notes = 0;
  bool damaged = false;
  std::string damage;       // the codec's sentence
  std::string party_notes;  // Pillow's notes, joined by newlines
  uint64_t decoder = 0;     // a hash of Pillow's version where Pillow decoded; 0: native
  const uint8_t* data = nullptr;
  size_t bytes = 0;
};

struct CacheHit {
  CacheRecord record;
  std::shared_ptr<const void> held;  // keeps record.data readable
};

struct CacheOptions {
  std::string folder;
  uint64_t max_bytes = 0;  // of all files in the folder, by all processes together
  CacheKey recipe;         // only entries of this recipe are found
  std::string about;       // what the recipe is, for people: kept beside its segments, trusted for nothing
  bool evict = false;      // where it is full: whole segments of other recipes go, oldest first
  bool read_only = false;  // nothing is written; the folder may be another user's
  bool readable_by_others = false;
  bool network = false;    // also on a network file system
  bool volatile_ = false;  // the last user removes the folder; its name begins with kVolatilePrefix
};

// Folders that are to go with their last user. An open() of one removes those beside it that nobody uses any more.
constexpr const char* kVolatilePrefix = "penstock-ram-";

struct CacheCounts {
  uint64_t entries = 0;   // of this recipe, known to this process
  uint64_t bytes = 0;     // the sizes of all files of the cache, as of the last refresh
  uint64_t segments = 0;  // of all recipes
  uint64_t recipes = 0;
  uint64_t hits = 0, misses = 0, stored = 0, present = 0;  // of this process
  uint64_t left_out = 0;                                   // full or too large
  uint64_t corrupt = 0;                                    // entries whose bytes were wrong, and index records: dropped
  uint64_t rebuilt = 0;                                    // indexes read anew from their segment
};

// What one recipe has in a folder.
struct CachedRecipe {
  CacheKey recipe;
  uint64_t segments = 0, entries = 0, bytes = 0;
  int64_t written_ns = 0;  // when the last of its segments was written to
};

// What verify() found. Each problem is a sentence; a record that a killed writer left unfinished is none, and of one
// that is wrong, and has a later whole entry of its key, the sentence is in made_again: nobody looks at it any more.
struct CacheReport {
  uint64_t segments = 0, entries = 0, bytes = 0;
  uint64_t corrupt = 0;    // records whose bytes are wrong, and not made again since
  uint64_t torn = 0;       // segments that end in an unfinished record
  uint64_t unindexed = 0;  // whole records that their index does not name
  uint64_t damaged_indexes = 0;
  std::vector<CachedRecipe> recipes;
  std::vector<std::string> problems, made_again;
};

// A cache, open. Thread-safe. It belongs to the process that opened it: in a forked child find() finds nothing,
// keep() is off and trouble() says why; the child opens its own.
class CacheStore {
 public:
  // nullptr: `refusal` is the tail of a sentence, "expected ..., found ...". A folder that cannot be written
  // (read-only, full) is no refusal: the store then reads, and trouble() says so.
  static std::shared_ptr<CacheStore> open(const CacheOptions& options, std::string& refusal);
  ~CacheStore();
  CacheStore(const CacheStore&) = delete;
  CacheStore& operator=(const CacheStore&) = delete;

  // The bytes of an entry are checked the first time this process reads it; a wrong one is dropped and counted.
  bool find(const CacheKey& key, CacheHit& hit);

  enum class Kept : uint8_t {
    stored,
    present,    // somebody was first
    full,       // max_bytes is reached
    too_large,  // larger than max_bytes on its own
    off,        // read-only, closed, another process's, or writing failed once: nothing is kept any more
  };
  // An entry of the same key and another `decoder` is replaced.
  Kept keep(const CacheKey& key, const CacheRecord& record);

  void refresh();  // takes in what other processes added; find() and keep() do it at most every half second
  CacheCounts counts() const;
  std::string trouble();  // why nothing is kept any more: a sentence, once; else empty
  // Whether something was left out because max_bytes has no room for it: true once.
  bool became_full();
  // Whether the folder is gone. Then nothing is found any more, and memory is let go as soon as no hit holds it;
  // find(), at most every half second, refresh() and trouble() see to that as well.
  bool removed();
  // Seals this process's segments; of a volatile folder the last user removes it. What was found stays readable.
  void close();

  // Of a folder, by nobody's leave: for the command line. An empty `problem` says that it was done.
  static CacheReport summary(const std::string& folder, std::string& problem);  // by the indexes; quick
  static CacheReport verify(const std::string& folder, std::string& problem);   // reads every byte
  static uint64_t rebuild(const std::string& folder, std::string& problem);  // indexes made anew where they are damaged
  static uint64_t clear(const std::string& folder,
                        std::string& problem);  // bytes freed; a living writer's segment stays

 private:
  struct State;
  explicit CacheStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace penstock
