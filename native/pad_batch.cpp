#include "pad_batch.h"

#include <cstring>

namespace penstock {
namespace {

// One plane: rows of `row_bytes` each, into rows of `out_row_bytes`.
void pad_plane(const uint8_t* from, size_t rows, size_t row_bytes, uint8_t* out, size_t out_rows,
               size_t out_row_bytes) {
  if (row_bytes == out_row_bytes) {  // the rows lie as they shall: all of them at once
    std::memcpy(out, from, rows * row_bytes);
    std::memset(out + rows * row_bytes, 0, (out_rows - rows) * out_row_bytes);
    return;
  }
  for (size_t row = 0; row < rows; ++row) {
    std::memcpy(out, from + row * row_bytes, row_bytes);
    std::memset(out + row_bytes, 0, out_row_bytes - row_bytes);
    out += out_row_bytes;
  }
  std::memset(out, 0, (out_rows - rows) * out_row_bytes);
}

}  // namespace

void pad_blocks(const std::vector<Block>& images, const Block& slot, uint8_t* out) {
  const size_t plane_bytes = slot.rows * slot.row_bytes;
  for (const Block& image : images) {
    const size_t planes = image.data == nullptr ? 0 : image.planes;
    for (size_t plane = 0; plane < planes; ++plane) {
      pad_plane(image.data + plane * image.rows * image.row_bytes, image.rows, image.row_bytes,
                out + plane * plane_bytes, slot.rows, slot.row_bytes);
    }
    std::memset(out + planes * plane_bytes, 0, (slot.planes - planes) * plane_bytes);
    out += slot.planes * plane_bytes;
  }
}

}  // namespace penstock
