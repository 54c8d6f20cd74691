#include "item.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "jpeg_fast.h"
#include "png.h"
#include "tee.h"
#include "webp.h"

namespace penstock {
namespace {

constexpr size_t kKeepBytes = size_t{8} << 20;  // of scratch memory from item to item
constexpr int kRowsPerPoll = 64;                // of pixels handed in, between two looks at the cancel flag

// Swallows rows: used where only the codec's verdict is wanted.
class NullSink final : public RowSink {
 public:
  void push(const uint8_t*, ptrdiff_t, int) override {}
};

// One image that is made of what is decoded: the only one, or one copy of a view.
struct Copy {
  const Plan& plan;
  DrawKey key;
  void* slot;
  std::vector<Step>& steps;
  TransformScratch& transform;
  Affine affine;
};

std::vector<Copy> copies_of(const Plan& plan, const DrawKey& key, const Target& target, Scratch& scratch) {
  std::vector<Copy> copies;
  if (plan.views.empty()) {
    copies.push_back({plan, key, target.slot, scratch.steps, scratch.transform, {}});
    return copies;
  }
  copies.reserve(target.copies.size());
  if (scratch.lanes.size() + 1 < target.copies.size()) scratch.lanes.resize(target.copies.size() - 1);
  for (const View& view : plan.views) {
    for (int copy = 0; copy < view.copies; ++copy) {
      const size_t number = copies.size();
      std::vector<Step>& steps = number == 0 ? scratch.steps : scratch.lanes[number - 1].steps;
      TransformScratch& transform = number == 0 ? scratch.transform : scratch.lanes[number - 1].transform;
      copies.push_back({*view.plan, key.of_copy(number), target.copies[number], steps, transform, {}});
    }
  }
  return copies;
}

// The verbs as steps for each copy, in the pass order of the Pillow that the plan follows.
bool resolve_steps(std::vector<Copy>& copies, Size upright, const std::vector<Affine>& affines, Problem& problem) {
  for (Copy& copy : copies) {
    if (!resolve(copy.plan.verbs, upright, copy.key, affines, copy.steps, copy.affine, problem)) return false;
    for (Step& step : copy.steps) step.adaptive_order = copy.plan.adaptive_order;
  }
  return true;
}

// `before` takes stored pixels to those that the copies were made of.
void set_geometry(const Plan& plan, const std::vector<Copy>& copies, const Affine& before, ItemResult& result) {
  result.geometry = compose(before, copies.front().affine);
  if (plan.views.empty()) return;
  result.geometries.clear();
  for (const Copy& copy : copies) result.geometries.push_back(compose(before, copy.affine));
}

void fail(ItemResult& result, Stage stage, const char* cause, std::string message) {
  result.outcome = Outcome::failed;
  result.problem.stage = stage;
  result.problem.cause = cause;
  result.problem.message = std::move(message);
}

// Whether Python has to be asked for the matrices of the plan's warps.
bool asks_for_matrices(const Plan& plan, const std::vector<Affine>& affines, Size upright, ItemResult& result) {
  if (affines.size() >= plan.warps()) return false;
  result.asked = upright;
  result.outcome = Outcome::referee;
  return true;
}

bool fits_patches(const Output& output, Size size) {
  const int64_t side = output.patch;
  return size.height % side == 0 && size.width % side == 0 &&
         (size.height / side) * (size.width / side) <= output.max_patches;
}

// The slot of this image: the given row of the batch, or memory of its own where each image has its own size.
void* place(const Plan& plan, Size size, void* slot, BufferProvider& provider, ItemResult& result) {
  result.size = size;
  const bool patches = plan.output.layout == Layout::patches;
  if (patches && !fits_patches(plan.output, size)) {
    fail(result, Stage::transform, "patches",
         "patchify: expected at most " + std::to_string(plan.output.max_patches) + " whole patches of " +
             std::to_string(plan.output.patch) + " x " + std::to_string(plan.output.patch) +
             " pixels, found an image of H=" + std::to_string(size.height) + " W=" + std::to_string(size.width));
    return nullptr;
  }
  if (slot != nullptr && !patches && !(size == plan.size)) {
    fail(result, Stage::batch, "size",
         "expected H=" + std::to_string(plan.size.height) + " W=" + std::to_string(plan.size.width) +
             ", found H=" + std::to_string(size.height) + " W=" + std::to_string(size.width));
    return nullptr;
  }
  const size_t bytes = plan.image_bytes(size);
  if (slot == nullptr) {
    result.own = provider.take(bytes);
    if (!result.own) {
      fail(result, Stage::batch, "out of memory",
           "expected " + std::to_string(bytes) + " bytes for the image, found none free");
      return nullptr;
    }
    slot = result.own->data;
  }
  if (patches) {  // what lies behind the image's own patches; a recycled slot holds another image's
    const size_t side = static_cast<size_t>(plan.output.patch);
    const size_t own = static_cast<size_t>(size.height) / side * (static_cast<size_t>(size.width) / side) *
                       (bytes / static_cast<size_t>(plan.output.max_patches));
    std::memset(static_cast<uint8_t*>(slot) + own, 0, bytes - own);
  }
  return slot;
}

// A chain for each copy; false, with the result's problem, where one has no place.
bool build_chains(const std::vector<Copy>& copies, const Incoming& incoming, const std::vector<Step>* rest,
                  Size upright, BufferProvider& provider, ItemResult& result, std::deque<Chain>& chains) {
  Size first;
  for (const Copy& copy : copies) {
    void* slot = place(copy.plan, final_size(upright, copy.steps), copy.slot, provider, result);
    if (slot == nullptr) return false;
    if (chains.empty()) first = result.size;
    chains.emplace_back(incoming, rest != nullptr ? *rest : copy.steps, copy.plan.output, slot, copy.transform);
  }
  result.size = first;
  return true;
}

void trim_buffers(TransformScratch& transform) {
  if (transform.encoded.size() > kKeepBytes) transform.encoded = {};
  size_t kept = 0;
  for (const std::vector<uint8_t>& buffer : transform.buffers) kept += buffer.size();
  if (kept > kKeepBytes) transform.buffers.clear();
}

int64_t batch_ns(const std::deque<Chain>& chains) {
  int64_t sum = 0;
  for (const Chain& chain : chains) sum += chain.batch_ns();
  return sum;
}

DecodeResult decode(const Plan& plan, const uint8_t* data, size_t size, const Header& header, Scratch& scratch,
                    const std::atomic<bool>& cancel, RowSink& sink) {
  const auto codec = header.backend == Backend::png    ? decode_png
                     : header.backend == Backend::webp ? decode_webp
                                                       : decode_jpeg;
  return codec(data, size, header, plan.decode, plan.limits, scratch.decode, cancel, sink);
}

// How one image goes through the chain: as its codec gives it, or with its first resize done while decoding.
struct Way {
  Incoming incoming;
  FastPlan fast;
  std::vector<Step> rest;  // the steps after the fast part
};

Way way_of(const Plan& plan, const Header& header, const std::vector<Step>& steps) {
  Way way;
  way.incoming.stored = {header.stored_height, header.stored_width};
  way.incoming.orientation = header.orientation;
  way.incoming.to_grey = plan.decode.mode == DecodeOptions::Mode::grey;
  way.incoming.pushed = plan.decode.format();
  if (way.incoming.to_grey) way.incoming.pushed.channels = kChannels;
  const bool rgb = plan.decode.mode == DecodeOptions::Mode::rgb && plan.decode.depth != DecodeOptions::Depth::sixteen;
  if (plan.decode.fast && header.backend == Backend::jpeg && rgb) {
    way.fast = plan_fast(header, steps);
    if (way.fast.possible) {
      way.incoming.stored = way.fast.size;
      way.rest.assign(steps.begin() + static_cast<ptrdiff_t>(way.fast.consumed), steps.end());
    }
  }
  return way;
}

// The chain of the part behind, where there is one. Whatever speaks against making it now is left to whoever makes it
// of the whole image, and finds the same.
class Behind {
 public:
  Behind(Onward* onward, Scratch& scratch) : onward_(onward) {
    if (onward == nullptr) return;
    if (scratch.lanes.empty()) scratch.lanes.resize(1);
    lane_ = &scratch.lanes.front();
  }

  bool resolve(Size size, const DrawKey& key) {
    const Plan& part = onward_->part;
    Problem problem;
    incoming_.stored = size;
    incoming_.pushed = part.arriving();
    resolved_ =
        part.warps() == 0 && penstock::resolve(part.verbs, size, key, {}, lane_->steps, onward_->affine, problem);
    for (Step& step : lane_->steps) step.adaptive_order = part.adaptive_order;
    return resolved_;
  }

  uint64_t bytes() const { return chain_bytes(incoming_, lane_->steps); }

  void follow(Chain& chain) {
    if (!resolved_) return;
    ItemResult place_of;
    const Plan& part = onward_->part;
    void* slot = place(part, final_size(incoming_.stored, lane_->steps), onward_->slot, onward_->provider, place_of);
    if (slot == nullptr) return;
    onward_->size = place_of.size;
    onward_->own = std::move(place_of.own);
    chain_.emplace(incoming_, lane_->steps, part.output, slot, lane_->transform);
    chain.hand_on(*chain_);
  }

  void finish() {
    if (!chain_) return;
    chain_->finish();
    onward_->made = true;
  }

  int64_t batch_ns() const { return chain_ ? chain_->batch_ns() : 0; }

 private:
  Onward* onward_;
  Scratch::Lane* lane_ = nullptr;
  bool resolved_ = false;
  Incoming incoming_;
  std::optional<Chain> chain_;
};

void process_encoded(const Plan& plan, const uint8_t* data, size_t size, const std::vector<Affine>& affines,
                     const DrawKey& key, const Target& target, BufferProvider& provider, Holding& holding,
                     uint64_t held, Scratch& scratch, const std::atomic<bool>& cancel, ItemResult& result,
                     Onward* onward) {
  int64_t start = now_ns();
  Header header;
  bool allowed = inspect(data, size, plan.limits, header, result.problem);
  result.stored = {header.stored_height, header.stored_width};
  if (!allowed) {
    result.outcome = Outcome::failed;
    return;
  }
  if (!decodes_natively(header, plan.decode)) {
    result.outcome = Outcome::referee;
    result.damage = std::move(header.damage);
    result.times.decode_ns += now_ns() - start;
    return;
  }
  result.orientation = header.orientation;
  result.notes = notes_of(header, plan.decode);
  Size upright = upright_size(result.stored, header.orientation);
  if (asks_for_matrices(plan, affines, upright, result)) return;
  std::vector<Copy> copies = copies_of(plan, key, target, scratch);
  bool resolved = resolve_steps(copies, upright, affines, result.problem);
  uint64_t working = held + header.working_bytes;
  Way way;
  Behind behind(onward, scratch);
  if (resolved) {
    way = way_of(plan, header, scratch.steps);
    if (plan.goes_on && !plan.in_slot) working += plan.image_bytes(final_size(upright, scratch.steps));
    working += way.fast.working_bytes;
    for (const Copy& copy : copies) working += chain_bytes(way.incoming, way.fast.possible ? way.rest : copy.steps);
    if (onward != nullptr && behind.resolve(final_size(upright, scratch.steps), key)) working += behind.bytes();
  }
  result.times.decode_ns += now_ns() - start;
  if (!holding.take(working, cancel)) {
    result.outcome = Outcome::cancelled;
    return;
  }

  DecodeResult decoded;
  if (resolved) {
    std::deque<Chain> chains;
    start = now_ns();
    const std::vector<Step>* rest = way.fast.possible ? &way.rest : nullptr;
    if (!build_chains(copies, way.incoming, rest, upright, provider, result, chains)) return;
    behind.follow(chains.front());
    result.times.transform_ns += now_ns() - start;
    Tee tee(chains);
    RowSink& sink = chains.size() == 1 ? static_cast<RowSink&>(chains.front()) : tee;
    decoded = way.fast.possible ? decode_jpeg_fast(data, size, header, way.fast, plan.limits, scratch.decode,
                                                   scratch.transform, cancel, sink)
                                : decode(plan, data, size, header, scratch, cancel, sink);
    start = now_ns();
    if (decoded.outcome == DecodeOutcome::clean) {
      for (Chain& chain : chains) chain.finish();
      behind.finish();
    }
    int64_t packed = batch_ns(chains) + behind.batch_ns();
    result.times.transform_ns += now_ns() - start + decoded.transform_ns - packed;
    result.times.batch_ns += packed;
  } else {  // a broken file is a broken file first: the codec speaks before the verb that cannot be applied
    NullSink sink;
    decoded = decode(plan, data, size, header, scratch, cancel, sink);
  }
  result.times.decode_ns += decoded.decode_ns;
  switch (decoded.outcome) {
    case DecodeOutcome::clean:
      result.outcome = resolved ? Outcome::clean : Outcome::failed;
      set_geometry(plan, copies, orientation_affine(result.stored, header.orientation), result);
      break;
    case DecodeOutcome::referee:
      result.outcome = Outcome::referee;
      result.damage = std::move(decoded.sentence);
      result.problem = Problem{};
      break;
    case DecodeOutcome::refused:
      result.outcome = Outcome::failed;
      result.problem = std::move(decoded.problem);
      break;
    case DecodeOutcome::cancelled:
      result.outcome = Outcome::cancelled;
      break;
  }
  if (result.outcome != Outcome::clean) result.own.reset();  // nobody may see what was half written
}

// Rows that are in memory, through the plan's verbs into their place; `before`: stored pixels -> these rows.
void process_rows(const Plan& plan, const uint8_t* rows, Size upright, ptrdiff_t stride,
                  const std::vector<Affine>& affines, const DrawKey& key, const Target& target,
                  BufferProvider& provider, Scratch& scratch, const std::atomic<bool>& cancel, const Affine& before,
                  ItemResult& result) {
  int64_t start = now_ns();
  if (asks_for_matrices(plan, affines, upright, result)) return;
  std::vector<Copy> copies = copies_of(plan, key, target, scratch);
  if (!resolve_steps(copies, upright, affines, result.problem)) {
    result.outcome = Outcome::failed;
    return;
  }
  Incoming incoming;
  incoming.stored = upright;
  incoming.pushed = plan.arriving();
  std::deque<Chain> chains;
  if (!build_chains(copies, incoming, nullptr, upright, provider, result, chains)) return;
  for (int row = 0; row < upright.height; row += kRowsPerPoll) {
    if (cancel.load(std::memory_order_relaxed)) {
      result.outcome = Outcome::cancelled;
      return;
    }
    const int count = std::min(kRowsPerPoll, upright.height - row);
    for (Chain& chain : chains) chain.push(rows + row * stride, stride, count);
  }
  for (Chain& chain : chains) chain.finish();
  int64_t packed = batch_ns(chains);
  result.times.batch_ns += packed;
  result.times.transform_ns += now_ns() - start - packed;
  set_geometry(plan, copies, before, result);
  result.outcome = result.damage.empty() ? Outcome::clean : Outcome::damaged;
}

}  // namespace

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void fail_for_memory(ItemResult& result, Stage stage) noexcept {
  result.outcome = Outcome::failed;
  result.problem.stage = stage;
  result.problem.cause = "out of memory";  // short enough to need none itself; the binding says the rest
  result.problem.message.clear();
  result.own.reset();
}

void Scratch::trim() {
  encoded.trim(kKeepBytes);
  if (decode.strip.size() > kKeepBytes) decode.strip = {};
  trim_buffers(transform);
  for (Lane& lane : lanes) trim_buffers(lane.transform);
}

void process_pixels(const Plan& plan, const uint8_t* rows, Size upright, ptrdiff_t stride,
                    const std::vector<Affine>& affines, const DrawKey& key, const Target& target,
                    BufferProvider& provider, Scratch& scratch, const std::atomic<bool>& cancel,
                    ItemResult& result) noexcept try {
  const Affine before = orientation_affine(result.stored, result.orientation);
  process_rows(plan, rows, upright, stride, affines, key, target, provider, scratch, cancel, before, result);
} catch (...) {
  fail_for_memory(result, Stage::transform);
}

void process_mapped(const Plan& part, const uint8_t* rows, Size size, const std::vector<Affine>& affines,
                    const DrawKey& key, const Target& target, BufferProvider& provider, Scratch& scratch,
                    const std::atomic<bool>& cancel, ItemResult& result) noexcept try {
  const Affine before = result.geometry;
  const auto stride = static_cast<ptrdiff_t>(static_cast<size_t>(size.width) * part.arriving().pixel_bytes());
  process_rows(part, rows, size, stride, affines, key, target, provider, scratch, cancel, before, result);
} catch (...) {
  fail_for_memory(result, Stage::transform);
}

bool read_input(const Plan& plan, const Input& input, Holding& holding, Scratch& scratch,
                const std::atomic<bool>& cancel, ItemResult& result, FileWitness* witness) noexcept try {
  const int64_t start = now_ns(), waited = holding.waited_ns();
  Problem problem;  // the result's own only once it is certain that the item is still this thread's
  const bool read = read_file(input.path.c_str(), input.offset, input.length, plan.limits, scratch.encoded, problem,
                              holding, cancel, scratch.watch, witness);
  if (scratch.watch != nullptr && scratch.watch->given_up()) return false;
  result.times.read_ns += now_ns() - start - (holding.waited_ns() - waited);
  if (cancel.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
    return false;
  }
  if (!read) {
    result.outcome = Outcome::failed;
    result.problem = std::move(problem);
  }
  return read;
} catch (...) {
  if (scratch.watch == nullptr || !scratch.watch->given_up()) fail_for_memory(result, Stage::read);
  return false;
}

void process_bytes(const Plan& plan, const uint8_t* data, size_t size, const std::vector<Affine>& affines,
                   const DrawKey& key, const Target& target, BufferProvider& provider, Holding& holding, uint64_t held,
                   Scratch& scratch, const std::atomic<bool>& cancel, ItemResult& result, Onward* onward) noexcept try {
  process_encoded(plan, data, size, affines, key, target, provider, holding, held, scratch, cancel, result, onward);
} catch (...) {
  fail_for_memory(result, Stage::decode);
}

void process_input(const Plan& plan, const Input& input, const DrawKey& key, const Target& target,
                   BufferProvider& provider, Holding& holding, Scratch& scratch, const std::atomic<bool>& cancel,
                   ItemResult& result) noexcept try {
  scratch.trim();
  switch (input.kind) {
    case Input::Kind::path:
      if (!read_input(plan, input, holding, scratch, cancel, result)) return;
      process_encoded(plan, scratch.encoded.data(), scratch.encoded.size(), input.affines, key, target, provider,
                      holding, scratch.encoded.size(), scratch, cancel, result, nullptr);
      break;
    case Input::Kind::bytes:
      process_encoded(plan, input.data, input.size, input.affines, key, target, provider, holding, 0, scratch, cancel,
                      result, nullptr);
      break;
    case Input::Kind::pixels:
      result.stored = input.pixels;
      process_pixels(plan, input.data, input.pixels, static_cast<ptrdiff_t>(input.pixels.width) * kChannels,
                     input.affines, key, target, provider, scratch, cancel, result);
      break;
    case Input::Kind::problem:
      result.outcome = Outcome::failed;
      result.problem = input.problem;
      break;
  }
  result.times.blocked_ns = holding.waited_ns();
} catch (...) {
  if (scratch.watch != nullptr && scratch.watch->given_up()) return;
  fail_for_memory(result, Stage::decode);
}

}  // namespace penstock
