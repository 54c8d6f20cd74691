// The limit that everything is measured against: read, fresh decoder of the codec's own library (JPEG, PNG, WebP),
// rows into one reused frame.
#pragma once

#include "transform.h"

namespace penstock {

// Decodes every path once on `threads` threads and returns the wall time in seconds; negative: a file could not be
// decoded. Nothing is resized, checked or kept: this is what the codec alone can do.
double bare_decode(const std::vector<std::string>& paths, int threads);

// Encodes each picture (height x width x 3, packed) once at 4:2:0 and decodes it again, on `threads` threads, with the
// library called directly; wall time in seconds, negative where the library refused.
double bare_roundtrip(const std::vector<const uint8_t*>& pictures, Size size, int quality, int threads);

// The limit of a pass over a cache: `count` pictures of `size`, 3 channels, that lie in memory one after the other are
// normalised into float32 [batch, 3, H, W], which go round in `buffers` blocks of memory, on `threads` threads. Wall
// time in seconds, negative where there is no memory.
double bare_normalize(const uint8_t* pictures, size_t count, Size size, const Normalizer& normalizer, size_t batch,
                      size_t buffers, int threads);

}  // namespace penstock
