// Images of different sizes, copied into one batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace penstock {

// Bytes [planes][rows][row_bytes], C-contiguous: an image [H, W, C] (planes = H, rows = W, a pixel's bytes) or
// [C, H, W] (planes = C, rows = H, a row's bytes). data == nullptr: no image.
struct Block {
  const uint8_t* data = nullptr;
  size_t planes = 0, rows = 0, row_bytes = 0;
};

// Copies each image into the corner [0, 0, 0] of its slot, `slot` large, and sets the rest to zero.
void pad_blocks(const std::vector<Block>& images, const Block& slot, uint8_t* out);

}  // namespace penstock
