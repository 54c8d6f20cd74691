// libjpeg-turbo behind one call: a fresh decompressor an image, rows in strips, errors as values.
#include "jpeg.h"

#include <csetjmp>
#include <cstdio>
// jpeglib.h needs <cstdio> before it.
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace penstock {
namespace {

constexpr size_t kStripBytes = size_t{24} << 10;  // so that the horizontal pass finds the rows in the first-level cache
constexpr size_t kHeapBlock = size_t{100} << 10;  // below the size from which malloc maps each block by itself
constexpr size_t kHeapBlocks = 160;               // 16 MB a thread may keep from image to image
constexpr int kRowsPerStrip = 8;                  // strips are a multiple: the codec hands out 8 or 16 rows at a time

enum class Stop : uint8_t { none, warned, failed, scans, cancelled };

// All state of one decode. Trivially destructible: longjmp may leave any of the functions that use it.
struct Codec {
  jpeg_decompress_struct info;
  jpeg_error_mgr error;
  jpeg_source_mgr source;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  const std::atomic<bool>* cancel;
  int max_scans;
  int rows_read;
  Stop stop;
  char sentence[JMSG_LENGTH_MAX];
};

Codec& codec_of(j_common_ptr info) { return *static_cast<Codec*>(info->client_data); }

[[noreturn]] void leave(Codec& codec, Stop stop) {
  codec.stop = stop;
  std::longjmp(codec.escape, 1);
}

void on_error(j_common_ptr info) {
  Codec& codec = codec_of(info);
  info->err->format_message(info, codec.sentence);
  leave(codec, Stop::failed);
}

// Warnings about labels: every version of the library, Pillow's included, goes on with the same pixels.
bool harmless(int code) { return code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM; }

// The first warning about data ends the decode: the referee decodes these bytes in any case.
void on_message(j_common_ptr info, int level) {
  if (level >= 0 || harmless(info->err->msg_code)) return;
  Codec& codec = codec_of(info);
  info->err->format_message(info, codec.sentence);
  leave(codec, Stop::warned);
}

void on_output(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  Codec& codec = codec_of(info);
  if (codec.cancel->load(std::memory_order_relaxed)) leave(codec, Stop::cancelled);
  if (codec.info.input_scan_number > codec.max_scans) leave(codec, Stop::scans);
}

void ignore(j_decompress_ptr) {}

// All bytes are there from the start. Inventing an end marker here would turn files that Pillow refuses into pixels.
boolean no_more_input(j_decompress_ptr) { return FALSE; }

void skip_input(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  const size_t skipped = std::min(static_cast<size_t>(count), info->src->bytes_in_buffer);
  info->src->next_input_byte += skipped;
  info->src->bytes_in_buffer -= skipped;
}

void stop_truncated(Codec& codec) {
  codec.stop = Stop::failed;
  std::snprintf(codec.sentence, sizeof codec.sentence, "expected %u rows, found the end of the file after %u",
                static_cast<unsigned>(codec.info.output_height), static_cast<unsigned>(codec.info.output_scanline));
}

void stop_differs(Codec& codec, const char* what) {
  codec.stop = Stop::failed;
  std::snprintf(codec.sentence, sizeof codec.sentence, "%s", what);
}

// A progressive file that never sent all bits: what libraries show in place of them differs by version.
bool coefficients_complete(const jpeg_decompress_struct& info) {
  if (info.coef_bits == nullptr) return true;
  for (int component = 0; component < info.num_components; ++component) {
    const int* bits = info.coef_bits[component];
    if (std::any_of(bits, bits + DCTSIZE2, [](int left) { return left != 0; })) return false;
  }
  return true;
}

// Creates the decompressor and brings it to its first row (progressive: through all scans). False: codec.stop says why.
bool begin(Codec& codec, const uint8_t* data, size_t size, const Header& header) {
  std::memset(&codec.info, 0, sizeof codec.info);  // destroying is safe however early this fails
  codec.info.err = jpeg_std_error(&codec.error);
  codec.error.error_exit = on_error;
  codec.error.emit_message = on_message;
  codec.error.output_message = on_output;
  codec.info.client_data = &codec;
  if (setjmp(codec.escape)) return false;
  jpeg_create_decompress(&codec.info);
  codec.source.next_input_byte = data;
  codec.source.bytes_in_buffer = size;
  codec.source.init_source = ignore;
  codec.source.fill_input_buffer = no_more_input;
  codec.source.skip_input_data = skip_input;
  codec.source.resync_to_restart = jpeg_resync_to_restart;
  codec.source.term_source = ignore;
  codec.info.src = &codec.source;
  codec.progress.progress_monitor = on_progress;
  codec.info.progress = &codec.progress;
  if (jpeg_read_header(&codec.info, TRUE) != JPEG_HEADER_OK) {
    stop_differs(codec, "expected a header, found the end of the file");
    return false;
  }
  if (codec.info.image_height != static_cast<JDIMENSION>(header.stored_height) ||
      codec.info.image_width != static_cast<JDIMENSION>(header.stored_width) ||
      codec.info.num_components != header.components) {
    stop_differs(codec, "expected one frame header, found two that differ");
    return false;
  }
  codec.info.out_color_space = JCS_RGB;
  codec.info.dct_method = JDCT_ISLOW;
  if (!jpeg_start_decompress(&codec.info)) {
    stop_truncated(codec);
    return false;
  }
  if (codec.info.output_components != kChannels) {
    stop_differs(codec, "expected 3 components out of the codec, found another number");
    return false;
  }
  if (!coefficients_complete(codec.info)) {
    stop_differs(codec, "expected all bits of the progressive scans, found some missing");
    return false;
  }
  return true;
}

// Fills `rows` with up to `wanted` rows; codec.rows_read says how many. False: codec.stop says why.
bool read_rows(Codec& codec, uint8_t* rows, size_t stride, int wanted) {
  constexpr int kPointers = 64;
  JSAMPROW pointers[kPointers];
  codec.rows_read = 0;
  if (setjmp(codec.escape)) return false;
  while (codec.rows_read < wanted) {
    const int count = std::min(wanted - codec.rows_read, kPointers);
    for (int i = 0; i < count; ++i) pointers[i] = rows + static_cast<size_t>(codec.rows_read + i) * stride;
    const int got = static_cast<int>(jpeg_read_scanlines(&codec.info, pointers, static_cast<JDIMENSION>(count)));
    if (got == 0) {
      stop_truncated(codec);
      return false;
    }
    codec.rows_read += got;
  }
  return true;
}

// Reads on to the end marker. Running out of bytes here is fine: every row is there, and Pillow takes such files.
bool end(Codec& codec) {
  if (setjmp(codec.escape)) return false;
  jpeg_finish_decompress(&codec.info);
  return true;
}

// Destroys the decompressor however the decode is left, a throwing sink included.
class CodecOwner {
 public:
  explicit CodecOwner(Codec& codec) : codec_(codec) {}
  CodecOwner(const CodecOwner&) = delete;
  CodecOwner& operator=(const CodecOwner&) = delete;
  ~CodecOwner() { jpeg_destroy_decompress(&codec_.info); }

 private:
  Codec& codec_;
};

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int strip_rows(size_t stride, int height) {
  const size_t fitting = kStripBytes / stride / kRowsPerStrip * kRowsPerStrip;
  const size_t rows = std::max<size_t>(fitting, kRowsPerStrip);
  return static_cast<int>(std::min<size_t>(rows, static_cast<size_t>(height)));
}

void conclude(const Codec& codec, const Limits& limits, DecodeResult& result) {
  switch (codec.stop) {
    case Stop::none:
      result.outcome = DecodeOutcome::clean;
      break;
    case Stop::warned:
    case Stop::failed:
      result.outcome = DecodeOutcome::referee;
      result.sentence = codec.sentence;
      result.warned = codec.stop == Stop::warned;
      break;
    case Stop::scans:
      result.outcome = DecodeOutcome::refused;
      result.problem = {Stage::decode, "too many scans",
                        "expected at most " + std::to_string(limits.max_scans) + " scans (max_scans), found more"};
      break;
    case Stop::cancelled:
      result.outcome = DecodeOutcome::cancelled;
      break;
  }
}

}  // namespace

void DecodeScratch::keep_heap() {
  std::vector<void*> room;
  room.reserve(kHeapBlocks);
  for (size_t i = 0; i < kHeapBlocks; ++i) room.push_back(std::malloc(kHeapBlock));
  anchor = std::vector<uint8_t>(kHeapBlock);
  for (void* block : room) std::free(block);
}

DecodeResult decode_jpeg(const uint8_t* data, size_t size, const Header& header, const DecodeOptions&,
                         const Limits& limits, DecodeScratch& scratch, const std::atomic<bool>& cancel, RowSink& sink) {
  DecodeResult result;
  const size_t stride = static_cast<size_t>(header.stored_width) * kChannels;
  const int height = header.stored_height;
  const int rows = strip_rows(std::max<size_t>(stride, 1), height);
  if (scratch.strip.size() < stride * static_cast<size_t>(rows)) {
    scratch.strip.resize(stride * static_cast<size_t>(rows));
  }

  Codec codec;
  codec.cancel = &cancel;
  codec.max_scans = limits.max_scans;
  codec.stop = Stop::none;
  codec.sentence[0] = '\0';
  int64_t mark = now_ns();
  bool running = begin(codec, data, size, header);
  CodecOwner owner(codec);
  for (int done = 0; running && done < height; done += codec.rows_read) {
    if (cancel.load(std::memory_order_relaxed)) {
      codec.stop = Stop::cancelled;
      running = false;
      break;
    }
    running = read_rows(codec, scratch.strip.data(), stride, std::min(rows, height - done));
    if (!running) break;
    const int64_t decoded = now_ns();
    sink.push(scratch.strip.data(), static_cast<ptrdiff_t>(stride), codec.rows_read);
    const int64_t pushed = now_ns();
    result.decode_ns += decoded - mark;
    result.transform_ns += pushed - decoded;
    mark = pushed;
  }
  if (running) end(codec);
  result.decode_ns += now_ns() - mark;
  conclude(codec, limits, result);
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
