// Stand-ins until each has its own file; delete a line when the real one is there.
#include <cstring>

#include "frame.h"
#include "plan_builder.h"

namespace penstock {

bool plan_resize_patches(const Verb&, Builder& build) {
  return build.fail("not built", "resize_patches: not built yet");
}

}  // namespace penstock
