// The header reader of each format; inspect() picks one by the first bytes.
#pragma once

#include "header.h"

namespace penstock {

// All as inspect(), for a file of that format; `header` is fresh.
bool inspect_jpeg(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem);
bool inspect_png(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem);
bool inspect_webp(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem);

// False, with `problem`, where header's size or working_bytes are beyond the limits.
bool within_limits(const Header& header, const Limits& limits, Problem& problem);
bool within_scans(const Limits& limits, int scans, Problem& problem);

}  // namespace penstock
