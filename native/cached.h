// The cache in a ticket's way: what an earlier pass kept is found by what the item is and by the recipe so far; what
// is not there is made, kept in passing, and goes on.
#pragma once

#include "cache.h"
#include "item.h"

namespace penstock {

class Job;

// A line's cache as its jobs see it; they share the store with every other line of the process that has it open.
// shared_from_this: as Plan, which see.
struct Caching : std::enable_shared_from_this<Caching> {
  std::shared_ptr<CacheStore> store;
  CacheKey recipe;          // of what is kept: the verbs so far, the resampler, the codecs
  bool encoded = false;     // the bytes of files, before decode; else the image of part `part` of the plan
  bool by_content = false;  // identity="content": a file is known by its bytes, which are read every time
  uint64_t decoder = 0;     // Pillow's version, hashed: what another one decoded is not looked at
  size_t part = 0;
  bool fill = false;  // a pass whose pixels nobody takes: it ends here, and what comes behind is not made
};

// What the cache knows of one ticket; written by whoever holds the ticket.
struct CachedTicket {
  enum class Asked : uint8_t { never, hit, miss } asked = Asked::never;
  bool keep = false;                     // its image or its bytes are to be kept, under `key`
  bool stored = false, present = false;  // now they are; or were already
  CacheKey key;
  uint64_t decoder = 0;     // not 0: Pillow decoded it
  std::string party_notes;  // what Pillow noted, a line each
  // What was found and is still looked at: bytes that are decoded, or rows whose next part waits for its matrices.
  std::shared_ptr<const void> held;
  const uint8_t* rows = nullptr;
  Size size;
  // The part behind the cache, where it was made in passing.
  bool made_next = false;
  Affine moved;
  std::shared_ptr<Buffer> next;
};

// Memory to make a ticket's images in.
struct Workplace {
  BufferProvider& batches;
  BufferProvider& pictures;  // of parts that others follow
  Scratch& scratch;
};

// The codecs' names and versions: what pixels depend on beside the recipe.
std::string codec_versions();

// process_input for a ticket: of what the cache has, only what comes behind it.
void process_ticket(Job& job, size_t row, Holding& holding, const Workplace& at) noexcept;

// After a part was made: where the cache follows it, keeps the image and makes the next part.
void pass_cache(Job& job, size_t row, const Workplace& at) noexcept;

// The matrices of the part behind the cache have come. False: that part has not asked for any.
bool go_on_with_matrices(Job& job, size_t row, const std::vector<Affine>& affines, const Workplace& at) noexcept;

}  // namespace penstock
