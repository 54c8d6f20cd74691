// JPEG to rows: strips of the whole image, or of the part that the sink wants.
#include <algorithm>
#include <cstdlib>

#include "jpeg_entropy.h"
#include "repeatable_sink.h"

namespace penstock {
namespace {

using codec::Codec;
using codec::Stop;

constexpr size_t kStripBytes = size_t{24} << 10;  // so that the horizontal pass finds the rows in the first-level cache
constexpr size_t kHeapBlock = size_t{100} << 10;  // below the size from which malloc maps each block by itself
constexpr size_t kHeapBlocks = 160;               // 16 MB a thread may keep from image to image
constexpr int kRowsPerStrip = 8;                  // strips are a multiple: the codec hands out 8 or 16 rows at a time

int strip_rows(size_t stride, int height) {
  const size_t fitting = kStripBytes / stride / kRowsPerStrip * kRowsPerStrip;
  const size_t rows = std::max<size_t>(fitting, kRowsPerStrip);
  return static_cast<int>(std::min<size_t>(rows, static_cast<size_t>(height)));
}

// One go at the file: with our Huffman decoder, or the library alone (entropy is nullptr). False: the first has to be
// followed by the second.
bool decode_once(const uint8_t* data, size_t size, const Header& header, const DecodeOptions& options,
                 const Limits& limits, codec::EntropyScratch* entropy, DecodeScratch& scratch,
                 const std::atomic<bool>& cancel, RowSink& sink, DecodeResult& result) {
  const bool alpha = options.mode == DecodeOptions::Mode::rgba;
  Codec codec;
  codec::CodecOwner owner(codec);
  codec.entropy = entropy;
  int64_t mark = codec::now_ns();
  bool running = codec::open(codec, data, size, header, limits, cancel);
  const uint8_t* scan = codec.source.next_input_byte;
  if (running) {
    codec.info.out_color_space = alpha ? JCS_EXT_RGBA : JCS_RGB;
    running = codec::start(codec);
  }
  Region part;
  if (running) {
    part = codec::part_of(codec.info, sink.wanted());
    if (part.width < header.stored_width) running = codec::crop_columns(codec, part.left, part.width);
  }
  if (running && !(part == Region{0, 0, header.stored_height, header.stored_width})) sink.expect(part);
  const size_t stride = static_cast<size_t>(part.width) * (alpha ? 4 : kChannels);
  const int rows = strip_rows(std::max<size_t>(stride, 1), std::max(part.height, 1));
  if (scratch.strip.size() < stride * static_cast<size_t>(rows)) {
    scratch.strip.resize(stride * static_cast<size_t>(rows));
  }
  if (running && part.top > 0) running = codec::skip_rows(codec, part.top);
  for (int done = 0; running && done < part.height; done += codec.rows_read) {
    if (cancel.load(std::memory_order_relaxed)) {
      codec.stop = Stop::cancelled;
      running = false;
      break;
    }
    running = codec::read_rows(codec, scratch.strip.data(), stride, std::min(rows, part.height - done));
    if (!running) break;
    const int64_t decoded = codec::now_ns();
    sink.push(scratch.strip.data(), static_cast<ptrdiff_t>(stride), codec.rows_read);
    const int64_t pushed = codec::now_ns();
    result.decode_ns += decoded - mark;
    result.transform_ns += pushed - decoded;
    mark = pushed;
  }
  if (running) codec::read_rest(codec, scan, scratch.strip.data(), stride, rows);
  result.decode_ns += codec::now_ns() - mark;
  if (codec::needs_library(codec)) return false;
  codec::conclude(codec, limits, result);
  return true;
}

}  // namespace

void DecodeScratch::keep_heap() {
  std::vector<void*> room;
  room.reserve(kHeapBlocks);
  for (size_t i = 0; i < kHeapBlocks; ++i) room.push_back(std::malloc(kHeapBlock));
  anchor = std::vector<uint8_t>(kHeapBlock);
  for (void* block : room) std::free(block);
}

DecodeResult decode_jpeg(const uint8_t* data, size_t size, const Header& header, const DecodeOptions& options,
                         const Limits& limits, DecodeScratch& scratch, const std::atomic<bool>& cancel, RowSink& sink) {
  DecodeResult result;
  RepeatableSink rows(sink);
  codec::EntropyScratch* const entropy = codec::entropy_scratch(scratch);
  if (!decode_once(data, size, header, options, limits, entropy, scratch, cancel, rows, result)) {
    rows.begin_again();
    decode_once(data, size, header, options, limits, nullptr, scratch, cancel, rows, result);
  }
  return result;
}

std::string jpeg_version() {
#define PENSTOCK_TEXT_OF(x) #x
#define PENSTOCK_TEXT(x) PENSTOCK_TEXT_OF(x)
#ifdef LIBJPEG_TURBO_VERSION
  return "libjpeg-turbo " PENSTOCK_TEXT(LIBJPEG_TURBO_VERSION);
#else
  return "libjpeg " PENSTOCK_TEXT(JPEG_LIB_VERSION);
#endif
#undef PENSTOCK_TEXT
#undef PENSTOCK_TEXT_OF
}

}  // namespace penstock
