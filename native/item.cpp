#include "item.h"

#include <algorithm>
#include <chrono>

#include "jpeg_fast.h"

namespace penstock {
namespace {

constexpr size_t kKeepBytes = size_t{8} << 20;  // of scratch memory from item to item
constexpr int kRowsPerPoll = 64;                // of pixels handed in, between two looks at the cancel flag

// Swallows rows: used where only the codec's verdict is wanted.
class NullSink final : public RowSink {
 public:
  void push(const uint8_t*, ptrdiff_t, int) override {}
};

// The verbs as steps for one image, in the pass order of the Pillow that the plan follows.
bool resolve_steps(const Plan& plan, Size upright, const DrawKey& key, std::vector<Step>& steps, Affine& affine,
                   Problem& problem) {
  if (!resolve(plan.verbs, upright, key, {}, steps, affine, problem)) return false;
  for (Step& step : steps) step.adaptive_order = plan.adaptive_order;
  return true;
}

void fail(ItemResult& result, Stage stage, const char* cause, std::string message) {
  result.outcome = Outcome::failed;
  result.problem.stage = stage;
  result.problem.cause = cause;
  result.problem.message = std::move(message);
}

// The slot of this image: the given row of the batch, or memory of its own where each image has its own size.
void* place(const Plan& plan, Size size, void* slot, BufferProvider& provider, ItemResult& result) {
  result.size = size;
  if (slot != nullptr) {
    if (size == plan.size) return slot;
    fail(result, Stage::batch, "size",
         "expected H=" + std::to_string(plan.size.height) + " W=" + std::to_string(plan.size.width) +
             ", found H=" + std::to_string(size.height) + " W=" + std::to_string(size.width));
    return nullptr;
  }
  result.own = provider.take(image_bytes(size, plan.output.dtype));
  if (!result.own) {
    fail(result, Stage::batch, "out of memory",
         "expected " + std::to_string(image_bytes(size, plan.output.dtype)) + " bytes for the image, found none free");
    return nullptr;
  }
  return result.own->data;
}

void process_encoded(const Plan& plan, const uint8_t* data, size_t size, const DrawKey& key, void* slot,
                     BufferProvider& provider, Holding& holding, uint64_t held, Scratch& scratch,
                     const std::atomic<bool>& cancel, ItemResult& result) {
  int64_t start = now_ns();
  Header header;
  bool allowed = inspect(data, size, plan.limits, header, result.problem);
  result.stored = {header.stored_height, header.stored_width};
  if (!allowed) {
    result.outcome = Outcome::failed;
    return;
  }
  if (header.backend != Backend::jpeg) {
    result.outcome = Outcome::referee;
    result.times.decode_ns += now_ns() - start;
    return;
  }
  result.orientation = header.orientation;
  if (header.has_icc) result.notes |= kNoteIcc;
  if (header.pictures > 1) result.notes |= kNoteFirstFrame;
  Size upright = upright_size(result.stored, header.orientation);
  Affine affine;
  bool resolved = resolve_steps(plan, upright, key, scratch.steps, affine, result.problem);
  uint64_t working = held + header.working_bytes;
  if (resolved) working += chain_bytes(result.stored, header.orientation, scratch.steps);
  result.times.decode_ns += now_ns() - start;
  if (!holding.take(working, cancel)) {
    result.outcome = Outcome::cancelled;
    return;
  }

  DecodeResult decoded;
  if (resolved) {
    void* target = place(plan, final_size(upright, scratch.steps), slot, provider, result);
    if (target == nullptr) return;
    start = now_ns();
    FastPlan fast;
    if (plan.decode.fast) fast = plan_fast(header, scratch.steps);
    if (fast.possible) {
      scratch.steps.erase(scratch.steps.begin(), scratch.steps.begin() + static_cast<ptrdiff_t>(fast.consumed));
    }
    Chain chain(fast.possible ? fast.size : result.stored, header.orientation, scratch.steps, plan.output, target,
                scratch.transform);
    result.times.transform_ns += now_ns() - start;
    decoded = fast.possible
                  ? decode_jpeg_fast(data, size, header, fast, plan.limits, scratch.decode, scratch.transform, cancel,
                                     chain)
                  : decode_jpeg(data, size, header, plan.decode, plan.limits, scratch.decode, cancel, chain);
    start = now_ns();
    if (decoded.outcome == DecodeOutcome::clean) chain.finish();
    int64_t packed = chain.batch_ns();
    result.times.transform_ns += now_ns() - start + decoded.transform_ns - packed;
    result.times.batch_ns += packed;
  } else {  // a broken file is a broken file first: the codec speaks before the verb that cannot be applied
    NullSink sink;
    decoded = decode_jpeg(data, size, header, plan.decode, plan.limits, scratch.decode, cancel, sink);
  }
  result.times.decode_ns += decoded.decode_ns;
  switch (decoded.outcome) {
    case DecodeOutcome::clean:
      result.outcome = resolved ? Outcome::clean : Outcome::failed;
      result.geometry = compose(orientation_affine(result.stored, header.orientation), affine);
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
}

}  // namespace

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

size_t element_bytes(Dtype dtype) { return dtype == Dtype::float32 ? 4 : 1; }

size_t image_bytes(Size size, Dtype dtype) {
  return static_cast<size_t>(size.height) * static_cast<size_t>(size.width) * kChannels * element_bytes(dtype);
}

void fail_for_memory(ItemResult& result, Stage stage) noexcept {
  result.outcome = Outcome::failed;
  result.problem.stage = stage;
  result.problem.cause = "out of memory";  // short enough to need none itself; the binding says the rest
  result.problem.message.clear();
}

void Scratch::trim() {
  encoded.trim(kKeepBytes);
  if (decode.strip.size() > kKeepBytes) decode.strip = {};
  if (decode.planes.size() > kKeepBytes) decode.planes = {};
  if (transform.encoded.size() > kKeepBytes) transform.encoded = {};
  size_t kept = 0;
  for (const std::vector<uint8_t>& buffer : transform.buffers) kept += buffer.size();
  if (kept > kKeepBytes) transform.buffers.clear();
}

void process_pixels(const Plan& plan, const uint8_t* rows, Size upright, ptrdiff_t stride, const DrawKey& key,
                    void* slot, BufferProvider& provider, Scratch& scratch, const std::atomic<bool>& cancel,
                    ItemResult& result) noexcept try {
  int64_t start = now_ns();
  Affine affine;
  if (!resolve_steps(plan, upright, key, scratch.steps, affine, result.problem)) {
    result.outcome = Outcome::failed;
    return;
  }
  void* target = place(plan, final_size(upright, scratch.steps), slot, provider, result);
  if (target == nullptr) return;
  Chain chain(upright, 1, scratch.steps, plan.output, target, scratch.transform);
  for (int row = 0; row < upright.height; row += kRowsPerPoll) {
    if (cancel.load(std::memory_order_relaxed)) {
      result.outcome = Outcome::cancelled;
      return;
    }
    chain.push(rows + row * stride, stride, std::min(kRowsPerPoll, upright.height - row));
  }
  chain.finish();
  int64_t packed = chain.batch_ns();
  result.times.batch_ns += packed;
  result.times.transform_ns += now_ns() - start - packed;
  result.geometry = compose(orientation_affine(result.stored, result.orientation), affine);
  result.outcome = result.damage.empty() ? Outcome::clean : Outcome::damaged;
} catch (...) {
  fail_for_memory(result, Stage::transform);
}

void process_input(const Plan& plan, const Input& input, const DrawKey& key, void* slot, BufferProvider& provider,
                   Holding& holding, Scratch& scratch, const std::atomic<bool>& cancel, ItemResult& result) noexcept
    try {
  scratch.trim();
  switch (input.kind) {
    case Input::Kind::path: {
      int64_t start = now_ns();
      bool read = read_file(input.path.c_str(), input.offset, input.length, plan.limits, scratch.encoded,
                            result.problem, holding, cancel);
      result.times.read_ns += now_ns() - start - holding.waited_ns();
      if (cancel.load(std::memory_order_relaxed)) {
        result.outcome = Outcome::cancelled;
        return;
      }
      if (!read) {
        result.outcome = Outcome::failed;
        return;
      }
      process_encoded(plan, scratch.encoded.data(), scratch.encoded.size(), key, slot, provider, holding,
                      scratch.encoded.size(), scratch, cancel, result);
      break;
    }
    case Input::Kind::bytes:
      process_encoded(plan, input.data, input.size, key, slot, provider, holding, 0, scratch, cancel, result);
      break;
    case Input::Kind::pixels:
      result.stored = input.pixels;
      process_pixels(plan, input.data, input.pixels, static_cast<ptrdiff_t>(input.pixels.width) * kChannels, key, slot,
                     provider, scratch, cancel, result);
      break;
  }
  result.times.blocked_ns = holding.waited_ns();
} catch (...) {
  fail_for_memory(result, Stage::decode);
}

}  // namespace penstock
