// Stand-ins until each has its own file; delete a line when the real one is there.
#include <cstring>

#include "frame.h"
#include "jpeg_fast.h"
#include "plan_builder.h"
#include "png.h"
#include "webp.h"

namespace penstock {

bool plan_random_color_jitter(const Verb&, Draws, Builder& build) {
  return build.fail("not built", "random_color_jitter: not built yet");
}
bool plan_rand_augment(const Verb&, Draws, Builder& build) {
  return build.fail("not built", "rand_augment: not built yet");
}
bool plan_trivial_augment(const Verb&, Draws, Builder& build) {
  return build.fail("not built", "trivial_augment: not built yet");
}
bool plan_random_affine(const Verb&, Draws, Builder& build) {
  return build.fail("not built", "random_affine: not built yet");
}
void apply_color(const Step&, const Frame&, const Frame&, TransformScratch&) {}
void apply_warp(const Step&, const Frame&, const Frame&) {}
void apply_jpeg(const Step&, const Frame&, const Frame&, TransformScratch&) {}
void apply_float_resize(const Step&, const Frame&, const Frame&, TransformScratch&) {}

DecodeResult decode_png(const uint8_t*, size_t, const Header&, const DecodeOptions&, const Limits&, DecodeScratch&,
                        const std::atomic<bool>&, RowSink&) {
  return {};
}
DecodeResult decode_webp(const uint8_t*, size_t, const Header&, const DecodeOptions&, const Limits&, DecodeScratch&,
                         const std::atomic<bool>&, RowSink&) {
  return {};
}
bool decodes_natively(const Header& header, const DecodeOptions& options) {
  return header.backend == Backend::jpeg && !(options.srgb && header.has_icc) &&
         options.depth != DecodeOptions::Depth::sixteen && options.mode != DecodeOptions::Mode::rgba;
}
FastPlan plan_fast(const Header&, const std::vector<Step>&) { return {}; }
DecodeResult decode_jpeg_fast(const uint8_t*, size_t, const Header&, const FastPlan&, const Limits&, DecodeScratch&,
                              TransformScratch&, const std::atomic<bool>&, RowSink&) {
  return {};
}

}  // namespace penstock
