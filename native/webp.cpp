// libwebp behind one call: stills by the plain decoder, the first frame of an animation by the animation decoder.
#include "webp.h"

#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>

#include "decoding.h"
#include "pixels.h"

namespace penstock {
namespace {

constexpr size_t kStripBytes = size_t{24} << 10;  // so that the horizontal pass finds the rows in the first-level cache

struct Delete {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

const char* status_text(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "out of memory";
    case VP8_STATUS_BITSTREAM_ERROR:
      return "broken image data";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "an unsupported feature";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the end of the image data";
    default:
      return "an invalid parameter";
  }
}

// A whole decoded image: rows of `channels` bytes a pixel.
struct Picture {
  const uint8_t* pixels = nullptr;
  size_t stride = 0;
  int channels = 4;
};

bool fail(DecodeResult& result, const char* found) {
  result.outcome = DecodeOutcome::referee;
  result.sentence = std::string("expected a whole image, found ") + found;
  return false;
}

// A still: alpha is decoded where there is one, also to drop it, so that what is broken in it is seen.
bool decode_still(const WebPData& bytes, const Header& header, std::vector<uint8_t>& memory, Picture& picture,
                  DecodeResult& result) {
  const std::unique_ptr<WebPDemuxer, Delete> demuxer(WebPDemux(&bytes));
  if (!demuxer) return fail(result, "a broken container");
  WebPIterator frame;
  WebPDecoderConfig config;
  if (!WebPDemuxGetFrame(demuxer.get(), 1, &frame)) return fail(result, "no frame");
  picture.channels = header.has_alpha ? 4 : 3;
  picture.stride = static_cast<size_t>(header.stored_width) * static_cast<size_t>(picture.channels);
  const size_t size = picture.stride * static_cast<size_t>(header.stored_height);
  if (memory.size() < size) memory.resize(size);
  VP8StatusCode status = VP8_STATUS_INVALID_PARAM;
  if (WebPInitDecoderConfig(&config) && frame.width == header.stored_width && frame.height == header.stored_height) {
    config.output.colorspace = header.has_alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = memory.data();
    config.output.u.RGBA.stride = static_cast<int>(picture.stride);
    config.output.u.RGBA.size = size;
    status = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config);
    WebPFreeDecBuffer(&config.output);
  }
  WebPDemuxReleaseIterator(&frame);
  picture.pixels = memory.data();
  return status == VP8_STATUS_OK || fail(result, status_text(status));
}

// The first frame on its canvas; the decoder owns the pixels.
bool decode_animation(const WebPData& bytes, const Header& header, std::unique_ptr<WebPAnimDecoder, Delete>& decoder,
                      Picture& picture, DecodeResult& result) {
  WebPAnimDecoderOptions options;
  WebPAnimInfo info;
  if (!WebPAnimDecoderOptionsInit(&options)) return fail(result, "another version of the library");
  decoder.reset(WebPAnimDecoderNew(&bytes, &options));
  uint8_t* pixels = nullptr;
  int timestamp = 0;
  if (!decoder || !WebPAnimDecoderGetInfo(decoder.get(), &info) ||
      info.canvas_width != static_cast<uint32_t>(header.stored_width) ||
      info.canvas_height != static_cast<uint32_t>(header.stored_height) ||
      !WebPAnimDecoderGetNext(decoder.get(), &pixels, &timestamp)) {
    return fail(result, "a first frame that cannot be decoded");
  }
  picture.pixels = pixels;
  picture.channels = 4;
  picture.stride = static_cast<size_t>(header.stored_width) * 4;
  return true;
}

// Pixels of RGB, or of RGBA whose alpha means nothing, as opaque RGBA.
void make_opaque(const uint8_t* pixels, int channels, int count, uint8_t* rgba) {
  for (int x = 0; x < count; ++x, pixels += channels, rgba += 4) {
    rgba[0] = pixels[0];
    rgba[1] = pixels[1];
    rgba[2] = pixels[2];
    rgba[3] = 255;
  }
}

}  // namespace

DecodeResult decode_webp(const uint8_t* data, size_t size, const Header& header, const DecodeOptions& options,
                         const Limits&, DecodeScratch& scratch, const std::atomic<bool>& cancel, RowSink& sink) {
  DecodeResult result;
  if (cancel.load(std::memory_order_relaxed)) {
    result.outcome = DecodeOutcome::cancelled;
    return result;
  }
  const int64_t start = decode_clock_ns();
  const WebPData bytes{data, size};
  std::unique_ptr<WebPAnimDecoder, Delete> decoder;
  Picture picture;
  const bool decoded = header.animated ? decode_animation(bytes, header, decoder, picture, result)
                                       : decode_still(bytes, header, scratch.strip, picture, result);
  int64_t mark = decode_clock_ns();
  result.decode_ns = mark - start;
  if (!decoded) return result;

  const Region part = arriving_region(header, sink);
  const size_t pixel_bytes = pushed_pixel_bytes(options);
  const size_t stride = static_cast<size_t>(part.width) * pixel_bytes;
  const int rows =
      static_cast<int>(std::min<size_t>(std::max<size_t>(kStripBytes / stride, 1), static_cast<size_t>(part.height)));
  // What the sink wants is what the codec wrote: no alpha to drop, to add or to lay over, no samples to widen.
  const bool as_is = options.depth != DecodeOptions::Depth::sixteen &&
                     static_cast<size_t>(picture.channels) == pixel_bytes &&
                     (picture.channels == 3 || header.has_alpha);
  const size_t opaque_bytes = header.has_alpha ? 0 : static_cast<size_t>(part.width) * 4;
  std::vector<uint8_t> room(as_is ? 0 : stride * static_cast<size_t>(rows) + opaque_bytes);
  uint8_t* const opaque = room.data() + stride * static_cast<size_t>(rows);
  for (int done = 0; done < part.height; done += rows) {
    if (cancel.load(std::memory_order_relaxed)) {
      result.outcome = DecodeOutcome::cancelled;
      return result;
    }
    const int count = std::min(rows, part.height - done);
    const uint8_t* from = picture.pixels + static_cast<size_t>(part.top + done) * picture.stride +
                          static_cast<size_t>(part.left) * static_cast<size_t>(picture.channels);
    if (as_is) {
      sink.push(from, static_cast<ptrdiff_t>(picture.stride), count);
    } else {
      for (int y = 0; y < count; ++y, from += picture.stride) {
        const uint8_t* rgba = from;
        if (!header.has_alpha) {
          make_opaque(from, picture.channels, part.width, opaque);
          rgba = opaque;
        }
        finish_pixels(rgba, part.width, options, room.data() + static_cast<size_t>(y) * stride);
      }
      const int64_t converted = decode_clock_ns();
      result.decode_ns += converted - mark;
      mark = converted;
      sink.push(room.data(), static_cast<ptrdiff_t>(stride), count);
    }
    const int64_t pushed = decode_clock_ns();
    result.transform_ns += pushed - mark;
    mark = pushed;
  }
  return result;
}

std::string webp_version() {
  const int version = WebPGetDecoderVersion();
  return "libwebp " + std::to_string(version >> 16 & 255) + "." + std::to_string(version >> 8 & 255) + "." +
         std::to_string(version & 255);
}

}  // namespace penstock
