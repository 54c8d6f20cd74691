// The frame step jpeg: RGB through an encoder and back, in memory.
#pragma once

#include "frame.h"

namespace penstock {

// Encodes RGB rows as Pillow's save(quality=) does with its defaults (4:2:0, slow integer DCT, standard Huffman tables)
// and decodes the result into `out`, which may be `in`. False where the library refused, which leaves `out` as it was
// (a side above 65,500 pixels). `encoded` is reused memory.
bool jpeg_roundtrip(const uint8_t* in, ptrdiff_t in_stride, Size size, int quality, uint8_t* out, ptrdiff_t out_stride,
                    std::vector<uint8_t>& encoded);

}  // namespace penstock
