// A WebP's container, as libwebp's demuxer has it: Pillow asks the same library the same questions.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "header_parts.h"

namespace penstock {
namespace {

constexpr uint64_t kCodecBaseBytes = 256 << 10;  // rows in flight, tables

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

struct Found {
  int count = 0;
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// The first chunk of that name; Pillow reads no other.
Found find(const WebPDemuxer* demuxer, const char* name) {
  WebPChunkIterator chunk;
  Found found;
  if (WebPDemuxGetChunk(demuxer, name, 1, &chunk)) {
    found = {chunk.num_chunks, chunk.chunk.bytes, chunk.chunk.size};
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return found;
}

bool take_metadata(const WebPDemuxer* demuxer, Header& header) {
  header.has_icc = find(demuxer, "ICCP").size > 0;
  const Found exif = find(demuxer, "EXIF"), xmp = find(demuxer, "XMP ");
  if (exif.count > 1 || xmp.count > 1) return false;
  int orientation = exif.size > 0 ? tiff_orientation(exif.data, exif.size, 2) : 0;
  if (orientation < 0) return false;
  if (orientation == 0 && xmp.size > 0) orientation = xmp_orientation(xmp.data, xmp.size);
  header.orientation = orientation == 0 ? 1 : orientation;
  return true;
}

bool leave_to_pillow(Header& header, const char* reason) {
  header.backend = Backend::pillow;
  header.reason = reason;
  return true;
}

}  // namespace

bool inspect_webp(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data, size, &features) != VP8_STATUS_OK) return leave_to_pillow(header, "a broken WebP header");
  const WebPData bytes{data, size};
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemux(&bytes));
  if (!demuxer) return leave_to_pillow(header, "a broken WebP container");
  const uint32_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT),
                 width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH),
                 frames = WebPDemuxGetI(demuxer.get(), WEBP_FF_FRAME_COUNT);
  header.stored_height = static_cast<int>(height);
  header.stored_width = static_cast<int>(width);
  header.has_alpha = features.has_alpha != 0;
  header.components = header.has_alpha ? 4 : 3;
  header.animated = (WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS) & ANIMATION_FLAG) != 0;
  header.pictures = static_cast<int>(frames);
  // An animation: two canvases and a frame; lossless: the pixels as the codec has them, and out of it.
  const uint64_t pixel_bytes = header.animated ? 12 : features.format == 2 ? 8 : header.has_alpha ? 6 : 3;
  header.working_bytes = kCodecBaseBytes + uint64_t{height} * width * pixel_bytes;
  if (!within_limits(header, limits, problem)) return false;
  if (!take_metadata(demuxer.get(), header)) return leave_to_pillow(header, "unusual EXIF or XMP");
  header.backend = Backend::webp;
  return true;
}

}  // namespace penstock
