// Single functions of the core: padding, one JPEG there and back, and what the bench measures.
#include "bare.h"
#include "jpeg_encode.h"
#include "pad_batch.h"
#include "python.h"

namespace penstock {
namespace {

using ImageBytes = nb::ndarray<const uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using BatchBytes = nb::ndarray<uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

void pad_images(const nb::list& images, BatchBytes out) {
  const Block slot{nullptr, out.shape(1), out.shape(2), out.shape(3)};
  if (images.size() != out.shape(0)) throw nb::value_error("as many images as rows are needed");
  std::vector<ImageBytes> held;
  std::vector<Block> blocks;
  for (nb::handle entry : images) {
    Block block;
    if (!entry.is_none()) {
      const ImageBytes image = nb::cast<ImageBytes>(entry, false);
      block = {image.data(), image.shape(0), image.shape(1), image.shape(2)};
      if (block.planes > slot.planes || block.rows > slot.rows || block.row_bytes > slot.row_bytes) {
        throw nb::value_error("an image is larger than its slot");
      }
      held.push_back(image);
    }
    blocks.push_back(block);
  }
  Released released;
  pad_blocks(blocks, slot, out.data());
}

Size size_of(const ImageBytes& rgb) { return {static_cast<int>(rgb.shape(0)), static_cast<int>(rgb.shape(1))}; }

auto measure_decode(const std::vector<std::string>& paths, int threads) {
  Released released;
  return bare_decode(paths, threads);
}

double measure_roundtrip(const std::vector<ImageBytes>& pictures, int quality, int threads) {
  Size size = {0, 0};
  std::vector<const uint8_t*> pixels;
  for (const ImageBytes& picture : pictures) {
    const Size own = size_of(picture);
    if (pixels.empty()) size = own;
    if (!(own == size) || picture.shape(2) != kChannels) {
      throw nb::value_error("bare_roundtrip: expected pictures [H, W, 3] of one size.");
    }
    pixels.push_back(picture.data());
  }
  Released released;
  return bare_roundtrip(pixels, size, quality, threads);
}

double measure_normalize(nb::ndarray<const uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu> pictures,
                         const std::vector<float>& mean, const std::vector<float>& std_, size_t batch, size_t buffers,
                         int threads) {
  if (pictures.shape(3) != kChannels || mean.size() != kChannels || std_.size() != kChannels || batch * buffers == 0) {
    throw nb::value_error("bare_normalize: expected pictures [N, H, W, 3], three means, a batch and buffers.");
  }
  const Normalizer normalizer(mean.data(), std_.data(), kChannels);
  const Size size = {static_cast<int>(pictures.shape(1)), static_cast<int>(pictures.shape(2))};
  const size_t count = pictures.shape(0);
  Released released;
  return bare_normalize(pictures.data(), count, size, normalizer, batch, buffers, threads);
}

auto roundtrip_in_place(nb::ndarray<uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> rgb, int quality) {
  const Size size = {static_cast<int>(rgb.shape(0)), static_cast<int>(rgb.shape(1))};
  const ptrdiff_t stride = static_cast<ptrdiff_t>(size.width) * kChannels;
  std::vector<uint8_t> encoded;
  Released released;
  return jpeg_roundtrip(rgb.data(), stride, size, quality, rgb.data(), stride, encoded);
}

}  // namespace

void bind_measurement(nb::module_& m) {
  m.def("pad_images", &pad_images, "images"_a, "out"_a);
  m.def("bare_decode", &measure_decode, "paths"_a, "threads"_a);
  m.def("bare_roundtrip", &measure_roundtrip, "pictures"_a, "quality"_a, "threads"_a);
  m.def("bare_normalize", &measure_normalize, "pictures"_a, "mean"_a, "std"_a, "batch"_a, "buffers"_a, "threads"_a);
  m.def("jpeg_roundtrip", &roundtrip_in_place, "rgb"_a, "quality"_a);
  m.def("simd_name", [] { return kernels().name; });
  m.def("jpeg_version", &jpeg_version);
}

}  // namespace penstock
