// One item's way through the fused loop: read -> decode -> transform -> batch, on the calling thread.
#pragma once

#include <atomic>
#include <deque>

#include "budget.h"
#include "buffer.h"
#include "header.h"
#include "io.h"
#include "jpeg.h"
#include "plan.h"

namespace penstock {

// Where an item comes from. Bytes and pixels are borrowed: their owner keeps them until the item has its outcome.
struct Input {
  enum class Kind : uint8_t { path, bytes, pixels, problem } kind = Kind::problem;
  std::string path;
  uint64_t offset = 0, length = kWholeFile;
  const uint8_t* data = nullptr;  // bytes, or upright RGB rows
  size_t size = 0;
  Size pixels;
  std::vector<Affine> affines;  // of the warp verbs, where they are known
  Problem problem = {Stage::read, "not located", "expected a place to read from, found none"};  // Kind::problem
};

// Where an item's image is made: the slot in the batch, or nullptr for memory of its own. Of a plan with views `slot`
// is the first copy's, and `copies` has one a copy, those of the first view first.
struct Target {
  Target(void* own) : slot(own) {}  // NOLINT(google-explicit-constructor): a slot is a target
  void* slot;
  std::vector<void*> copies;
};

enum class Outcome : uint8_t {
  clean,
  damaged,    // the codec recovered; the pixels are Pillow's; `damage` is its sentence
  failed,     // `problem` says why
  referee,    // not finished: Pillow has to decide, with the bytes in `encoded`
  cancelled,  // nobody wants it any more
};

struct Times {
  int64_t read_ns = 0, decode_ns = 0, transform_ns = 0, batch_ns = 0;
  int64_t blocked_ns = 0;  // waiting for memory
};

// What is known of an item after the loop; geometry and sizes of what was reached.
struct ItemResult {
  Outcome outcome = Outcome::failed;
  Problem problem;
  std::string damage;
  Size stored;
  int orientation = 1;
  Affine geometry;                 // stored pixels -> model pixels
  std::vector<Affine> geometries;  // the same of each copy, of a plan with views
  uint32_t notes = 0;
  Size size;                    // of the finished image
  int part = 0;                 // of a plan with maps: which of its parts the image is in
  bool mapping = false;         // outcome referee: the map after `part` is asked for the image of `size`
  Size asked;                   // outcome referee: not {0, 0} where only the warps' matrices are wanted, for this size
  std::shared_ptr<Buffer> own;  // the image where the plan is ragged, or a map is asked for it
  Times times;
};

// What a thread keeps from item to item.
struct Scratch {
  ByteBuffer encoded;
  DecodeScratch decode;
  TransformScratch transform;
  std::vector<Step> steps;
  struct Lane {
    TransformScratch transform;
    std::vector<Step> steps;
  };
  std::deque<Lane> lanes;      // of the second copy and those after it, of a plan with views
  CallWatch* watch = nullptr;  // of the thread's reads; where it has given an item up, the result was not touched
  void trim();                 // gives back what an unusually large image needed
};

// The part behind one whose image is kept, made in passing: its chain takes each row while it is near, so that the
// image need not be read again.
struct Onward {
  Onward(const Plan& next, void* place, BufferProvider& memory) : part(next), slot(place), provider(memory) {}
  const Plan& part;
  void* slot;  // nullptr: memory of its own, from `provider`
  BufferProvider& provider;
  // All of it was made; else nothing of it counts, and it has to be made of the image.
  bool made = false;
  Size size;
  Affine affine;  // from the image that is kept
  std::shared_ptr<Buffer> own;
};

// Reads and decodes natively into `target` (nullptr: the plan is ragged, result.own is taken from `provider`).
// `holding` is what the item holds of the memory budget: the encoded bytes from before they are read, then the working
// bytes too. After Outcome::referee the encoded bytes are in scratch.encoded (paths) or still at input.data (bytes),
// and result.damage holds the codec's sentence where it had one. Throws nothing.
void process_input(const Plan& plan, const Input& input, const DrawKey& key, const Target& target,
                   BufferProvider& provider, Holding& holding, Scratch& scratch, const std::atomic<bool>& cancel,
                   ItemResult& result) noexcept;

// Its two halves for an item that lies in a file. The first fills scratch.encoded; false: the result has its outcome,
// or scratch.watch has given the item up. The second decodes `size` bytes, `held` of which `holding` counts already.
bool read_input(const Plan& plan, const Input& input, Holding& holding, Scratch& scratch,
                const std::atomic<bool>& cancel, ItemResult& result, FileWitness* witness = nullptr) noexcept;
void process_bytes(const Plan& plan, const uint8_t* data, size_t size, const std::vector<Affine>& affines,
                   const DrawKey& key, const Target& target, BufferProvider& provider, Holding& holding, uint64_t held,
                   Scratch& scratch, const std::atomic<bool>& cancel, ItemResult& result,
                   Onward* onward = nullptr) noexcept;

// The second half alone, for pixels that somebody else decoded: upright rows of plan.decode.format(), `stride` bytes
// apart. `affines`: the matrices of the plan's warps; where they are wanted and not there, the outcome is referee.
// result.stored, .orientation, .damage and .notes are the caller's; outcome becomes clean, damaged, failed or
// cancelled.
void process_pixels(const Plan& plan, const uint8_t* rows, Size upright, ptrdiff_t stride,
                    const std::vector<Affine>& affines, const DrawKey& key, const Target& target,
                    BufferProvider& provider, Scratch& scratch, const std::atomic<bool>& cancel,
                    ItemResult& result) noexcept;

// The same for what a map answered: result.geometry holds what was done so far, the part's own affine comes on top.
void process_mapped(const Plan& part, const uint8_t* rows, Size size, const std::vector<Affine>& affines,
                    const DrawKey& key, const Target& target, BufferProvider& provider, Scratch& scratch,
                    const std::atomic<bool>& cancel, ItemResult& result) noexcept;

// A failure for want of memory, said without needing any.
void fail_for_memory(ItemResult& result, Stage stage) noexcept;

int64_t now_ns();

}  // namespace penstock
