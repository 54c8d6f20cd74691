// Stand-ins until each has its own file; delete a line when the real one is there.
#include <cstring>

#include "frame.h"
#include "jpeg_fast.h"
#include "plan_builder.h"

namespace penstock {

bool plan_resize_patches(const Verb&, Builder& build) {
  return build.fail("not built", "resize_patches: not built yet");
}
void apply_float_resize(const Step&, const Frame&, const Frame&, TransformScratch&) {}

FastPlan plan_fast(const Header&, const std::vector<Step>&) { return {}; }
DecodeResult decode_jpeg_fast(const uint8_t*, size_t, const Header&, const FastPlan&, const Limits&, DecodeScratch&,
                              TransformScratch&, const std::atomic<bool>&, RowSink&) {
  return {};
}

}  // namespace penstock
