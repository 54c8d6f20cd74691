// libjpeg-turbo's errors, warnings and input as values.
#include "jpeg_codec.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "jpeg_entropy.h"

namespace penstock::codec {
namespace {

constexpr int kMargin = 2;  // rows and columns that upsampling looks at beside a pixel's own

Codec& codec_of(j_common_ptr info) { return *static_cast<Codec*>(info->client_data); }

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

// Restart markers that a scan of this many MCUs must have.
uint64_t restarts_of(const jpeg_decompress_struct& info) {
  if (info.restart_interval == 0) return 0;
  const uint64_t mcus = uint64_t{info.MCUs_per_row} * info.MCU_rows_in_scan;
  return (mcus + info.restart_interval - 1) / info.restart_interval - 1;
}

// Whether the rest of the file can stay unread.
bool may_stop_early(Codec& codec, const uint8_t* scan) {
  const jpeg_decompress_struct& info = codec.info;
  if (jpeg_has_multiple_scans(&codec.info)) return true;
  uint64_t restarts = 0;
  for (const uint8_t* at = scan; at < codec.end;) {
    at = static_cast<const uint8_t*>(std::memchr(at, 0xFF, static_cast<size_t>(codec.end - at)));
    if (at == nullptr || at + 1 >= codec.end) return false;
    const uint8_t marker = at[1];
    if (marker == JPEG_EOI) return restarts == restarts_of(info);
    if (marker >= JPEG_RST0 && marker < JPEG_RST0 + 8) {
      if (marker != JPEG_RST0 + restarts % 8) return false;
      ++restarts;
    } else if (marker != 0) {
      return false;
    }
    at += 2;
  }
  return false;
}

}  // namespace

CodecOwner::CodecOwner(Codec& codec) : codec_(codec) {
  std::memset(&codec.info, 0, sizeof codec.info);  // destroying is safe however early opening fails
  codec.source = {};
  codec.stop = Stop::none;
  codec.sentence[0] = '\0';
  codec.rows_read = 0;
  codec.entropy = nullptr;
  codec.replaced = false;
}

bool open(Codec& codec, const uint8_t* data, size_t size, const Header& header, const Limits& limits,
          const std::atomic<bool>& cancel) {
  codec.cancel = &cancel;
  codec.max_scans = limits.max_scans;
  codec.end = data + size;
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
  codec.info.dct_method = JDCT_ISLOW;
  return true;
}

bool start(Codec& codec) {
  if (setjmp(codec.escape)) return false;
  if (!jpeg_start_decompress(&codec.info)) {
    stop_truncated(codec);
    return false;
  }
  if (codec.entropy != nullptr) replace_entropy_decoder(codec);
  if (!coefficients_complete(codec.info)) {
    stop_differs(codec, "expected all bits of the progressive scans, found some missing");
    return false;
  }
  return true;
}

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

bool read_raw(Codec& codec, JSAMPIMAGE planes, int rows) {
  if (setjmp(codec.escape)) return false;
  if (jpeg_read_raw_data(&codec.info, planes, static_cast<JDIMENSION>(rows)) == 0) {
    stop_truncated(codec);
    return false;
  }
  return true;
}

bool crop_columns(Codec& codec, int& left, int& width) {
  if (setjmp(codec.escape)) return false;
  JDIMENSION from = static_cast<JDIMENSION>(left), count = static_cast<JDIMENSION>(width);
  jpeg_crop_scanline(&codec.info, &from, &count);
  left = static_cast<int>(from);
  width = static_cast<int>(count);
  return true;
}

bool skip_rows(Codec& codec, int count) {
  if (setjmp(codec.escape)) return false;
  const JDIMENSION target = codec.info.output_scanline + static_cast<JDIMENSION>(count);
  if (count > 0) jpeg_skip_scanlines(&codec.info, static_cast<JDIMENSION>(count));
  if (codec.info.output_scanline == target) return true;
  stop_truncated(codec);
  return false;
}

bool finish(Codec& codec) {
  if (codec.replaced && codec.entropy->scan.mcus_left != 0) {  // the library would look for a marker where none is
    codec.stop = Stop::doubt;
    return false;
  }
  if (setjmp(codec.escape)) return false;
  jpeg_finish_decompress(&codec.info);
  return true;
}

int block_of(const jpeg_decompress_struct& info) {
#if JPEG_LIB_VERSION >= 70
  return info.min_DCT_h_scaled_size;
#else
  return info.min_DCT_scaled_size;
#endif
}

bool read_rest(Codec& codec, const uint8_t* scan, uint8_t* strip, size_t stride, int rows) {
  const int height = static_cast<int>(codec.info.output_height);
  const int at = static_cast<int>(codec.info.output_scanline);
  if (at < height) {
    if (may_stop_early(codec, scan)) return true;
    // Skipping to the very end would leave the data there unread: the last rows are decoded.
    const int mcu = codec.info.max_v_samp_factor * block_of(codec.info);
    const int last = (height - 1) / mcu * mcu;
    if (at < last && !skip_rows(codec, last - at)) return false;
    for (int done = static_cast<int>(codec.info.output_scanline); done < height; done += codec.rows_read) {
      if (!read_rows(codec, strip, stride, std::min(rows, height - done))) return false;
    }
  }
  return finish(codec);
}

Region part_of(const jpeg_decompress_struct& info, const Region& wanted) {
  const int height = static_cast<int>(info.output_height), width = static_cast<int>(info.output_width);
  const Region all = {0, 0, height, width};
  if (wanted.height <= 0 || wanted.width <= 0) return all;
  const int mcu_height = info.max_v_samp_factor * block_of(info), mcu_width = info.max_h_samp_factor * block_of(info);
  const auto low = [](int at, int mcu) { return std::max(at - kMargin, 0) / mcu * mcu; };
  const auto high = [](int at, int mcu, int size) { return std::min((at + kMargin + mcu - 1) / mcu * mcu, size); };
  Region part;
  part.top = low(wanted.top, mcu_height);
  part.left = low(wanted.left, mcu_width);
  part.height = high(wanted.top + wanted.height, mcu_height, height) - part.top;
  part.width = high(wanted.left + wanted.width, mcu_width, width) - part.left;
  const bool spares = int64_t{part.height} * part.width < int64_t{height} * width / 4 * 3;
  return spares ? part : all;
}

bool needs_library(const Codec& codec) {
  return codec.replaced && codec.stop != Stop::none && codec.stop != Stop::cancelled;
}

void conclude(const Codec& codec, const Limits& limits, DecodeResult& result) {
  switch (codec.stop) {
    case Stop::none:
      result.outcome = DecodeOutcome::clean;
      break;
    case Stop::warned:
    case Stop::doubt:
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

void leave(Codec& codec, Stop stop) {
  codec.stop = stop;
  std::longjmp(codec.escape, 1);
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace penstock::codec
