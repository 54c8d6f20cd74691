// libwebp: encoded bytes in, rows of options.format() (grey as RGB) out to a sink.
#pragma once

#include "jpeg.h"

namespace penstock {

// Decodes a file for which inspect() said Backend::webp and decodes_natively() yes; outcomes as decode_jpeg's.
DecodeResult decode_webp(const uint8_t* data, size_t size, const Header& header, const DecodeOptions& options,
                         const Limits& limits, DecodeScratch& scratch, const std::atomic<bool>& cancel, RowSink& sink);

std::string webp_version();  // "libwebp 1.2.4"

}  // namespace penstock
