// libpng behind one call: a fresh decoder an image, rows in strips, errors as values. libpng inflates, undoes the
// filters and the interlacing; what the samples mean to Pillow (unpack.h) is ours.
#include "png.h"

// By its versioned folder, which every installation has: plain <png.h> would be our own header.
#include <libpng16/png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "decoding.h"
#include "pixels.h"
#include "unpack.h"

namespace penstock {
namespace {

constexpr size_t kStripBytes = size_t{24} << 10;  // so that the horizontal pass finds the rows in the first-level cache
constexpr png_uint_32 kMostSide = 0x7FFFFFFF;     // of PNG; ours are max_pixels and max_working_bytes

enum class Stop : uint8_t { none, warned, failed };

// All state of one decode. Trivially destructible: longjmp may leave any of the functions that use it.
struct Codec {
  png_structp png;
  png_infop info;
  std::jmp_buf escape;
  const uint8_t* next;
  size_t left;
  Stop stop;
  char sentence[160];
};

[[noreturn]] void leave(png_structp png, Stop stop, const char* message) {
  Codec& codec = *static_cast<Codec*>(png_get_error_ptr(png));
  codec.stop = stop;
  std::snprintf(codec.sentence, sizeof codec.sentence, "%s", message);
  std::longjmp(codec.escape, 1);
}

void on_error(png_structp png, png_const_charp message) { leave(png, Stop::failed, message); }

// The first warning ends the decode: the referee decodes these bytes in any case.
void on_warning(png_structp png, png_const_charp message) { leave(png, Stop::warned, message); }

void on_read(png_structp png, png_bytep out, size_t count) {
  Codec& codec = *static_cast<Codec*>(png_get_io_ptr(png));
  if (count > codec.left) png_error(png, "expected more bytes, found the end of the file");
  std::memcpy(out, codec.next, count);
  codec.next += count;
  codec.left -= count;
}

// Creates the decoder and reads up to the image data. False: codec.stop says why.
bool begin(Codec& codec, const Header& header, PngSamples& samples) {
  if (setjmp(codec.escape)) return false;
  codec.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &codec, on_error, on_warning);
  if (codec.png != nullptr) codec.info = png_create_info_struct(codec.png);
  if (codec.png == nullptr || codec.info == nullptr) {
    codec.stop = Stop::failed;
    std::snprintf(codec.sentence, sizeof codec.sentence, "expected memory for the decoder, found none free");
    return false;
  }
  png_set_read_fn(codec.png, &codec, on_read);
  // inspect() has checked every checksum; texts, profiles and other words beside the image are not read at all.
  png_set_crc_action(codec.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_set_keep_unknown_chunks(codec.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_check_for_invalid_index(codec.png, 0);  // Pillow takes them
  png_set_user_limits(codec.png, kMostSide, kMostSide);
  png_read_info(codec.png, codec.info);
  samples.width = static_cast<int>(png_get_image_width(codec.png, codec.info));
  samples.depth = png_get_bit_depth(codec.png, codec.info);
  samples.colour_type = png_get_color_type(codec.png, codec.info);
  samples.row_bytes = png_get_rowbytes(codec.png, codec.info);
  png_colorp colours = nullptr;
  int count = 0;
  if (png_get_PLTE(codec.png, codec.info, &colours, &count)) {
    samples.palette_entries = std::min(count, 256);
    for (int i = 0; i < samples.palette_entries; ++i) {
      samples.palette[i][0] = colours[i].red;
      samples.palette[i][1] = colours[i].green;
      samples.palette[i][2] = colours[i].blue;
    }
  }
  png_bytep alphas = nullptr;
  png_color_16p key = nullptr;
  if (png_get_tRNS(codec.png, codec.info, &alphas, &count, &key)) {
    samples.transparency = true;
    if (samples.colour_type == PNG_COLOR_TYPE_PALETTE) {
      samples.alpha_entries = std::min(count, 256);
      std::memcpy(samples.alphas, alphas, static_cast<size_t>(samples.alpha_entries));
    } else if (samples.colour_type == PNG_COLOR_TYPE_GRAY) {
      samples.key[0] = samples.key[1] = samples.key[2] = key->gray;
    } else {
      samples.key[0] = key->red;
      samples.key[1] = key->green;
      samples.key[2] = key->blue;
    }
  }
  if (samples.width != header.stored_width ||
      static_cast<int>(png_get_image_height(codec.png, codec.info)) != header.stored_height ||
      samples.depth != header.depth) {
    codec.stop = Stop::failed;
    std::snprintf(codec.sentence, sizeof codec.sentence, "expected one header, found two that differ");
    return false;
  }
  if (header.interlaced) png_set_interlace_handling(codec.png);
  png_read_update_info(codec.png, codec.info);
  return true;
}

// The next `count` rows of an image that is not interlaced. False: codec.stop says why.
bool read_rows(Codec& codec, uint8_t* rows, size_t stride, int count) {
  if (setjmp(codec.escape)) return false;
  for (int y = 0; y < count; ++y) png_read_row(codec.png, rows + static_cast<size_t>(y) * stride, nullptr);
  return true;
}

// All passes of an interlaced image; `cancel` is looked at between them. False: codec.stop or the flag says why.
bool read_passes(Codec& codec, uint8_t* rows, size_t stride, int height, const std::atomic<bool>* cancel) {
  if (setjmp(codec.escape)) return false;
  constexpr int kPasses = 7;
  for (int pass = 0; pass < kPasses; ++pass) {
    if (cancel->load(std::memory_order_relaxed)) return false;
    for (int y = 0; y < height; ++y) png_read_row(codec.png, rows + static_cast<size_t>(y) * stride, nullptr);
  }
  return true;
}

// Reads on to IEND, so that the whole stream of image data was seen to be sound.
bool end(Codec& codec) {
  if (setjmp(codec.escape)) return false;
  png_read_end(codec.png, nullptr);
  return true;
}

// Destroys the decoder however the decode is left, a throwing sink included.
class CodecOwner {
 public:
  explicit CodecOwner(Codec& codec) : codec_(codec) {}
  CodecOwner(const CodecOwner&) = delete;
  CodecOwner& operator=(const CodecOwner&) = delete;
  ~CodecOwner() { png_destroy_read_struct(&codec_.png, &codec_.info, nullptr); }

 private:
  Codec& codec_;
};

// Turns raw rows into pushed ones and keeps the times of both.
class Pusher {
 public:
  Pusher(const PngSamples& samples, const Region& part, const DecodeOptions& options, RowSink& sink,
         DecodeResult& result)
      : unpacker_(samples, options),
        part_(part),
        as_is_(unpacker_.as_is()),
        raw_pixel_bytes_(pushed_pixel_bytes(options)),
        stride_(static_cast<size_t>(part.width) * raw_pixel_bytes_),
        sink_(sink),
        result_(result),
        mark_(decode_clock_ns()) {}

  // Rows that fit a strip, converted.
  int strip_rows() const {
    const size_t fitting = std::max<size_t>(kStripBytes / stride_, 1);
    return static_cast<int>(std::min<size_t>(fitting, static_cast<size_t>(part_.height)));
  }

  // Raw rows [top, top + count) of the stored image, count at most strip_rows().
  void push(const uint8_t* raw, size_t raw_stride, int top, int count) {
    const int first = std::max(top, part_.top), last = std::min(top + count, part_.top + part_.height);
    if (first >= last) return;
    raw += static_cast<size_t>(first - top) * raw_stride;
    if (as_is_) {
      book_decode();
      sink_.push(raw + static_cast<size_t>(part_.left) * raw_pixel_bytes_, static_cast<ptrdiff_t>(raw_stride),
                 last - first);
    } else {
      room_.resize(stride_ * static_cast<size_t>(strip_rows()));
      for (int y = first; y < last; ++y, raw += raw_stride) {
        unpacker_.row(raw, part_.left, part_.width, room_.data() + static_cast<size_t>(y - first) * stride_);
      }
      book_decode();
      sink_.push(room_.data(), static_cast<ptrdiff_t>(stride_), last - first);
    }
    const int64_t pushed = decode_clock_ns();
    result_.transform_ns += pushed - mark_;
    mark_ = pushed;
  }

  void book_decode() {
    const int64_t now = decode_clock_ns();
    result_.decode_ns += now - mark_;
    mark_ = now;
  }

 private:
  PngUnpacker unpacker_;
  Region part_;
  bool as_is_;
  size_t raw_pixel_bytes_, stride_;
  std::vector<uint8_t> room_;
  RowSink& sink_;
  DecodeResult& result_;
  int64_t mark_;
};

// False: codec.stop or the cancel flag says why.
bool decode_rows(Codec& codec, const Header& header, const PngSamples& samples, std::vector<uint8_t>& memory,
                 const std::atomic<bool>& cancel, Pusher& pusher) {
  const int height = header.stored_height, strip = pusher.strip_rows();
  const size_t held = samples.row_bytes * static_cast<size_t>(header.interlaced ? height : strip);
  if (memory.size() < held) memory.resize(held);
  if (header.interlaced && !read_passes(codec, memory.data(), samples.row_bytes, height, &cancel)) return false;
  for (int done = 0; done < height; done += strip) {
    if (cancel.load(std::memory_order_relaxed)) return false;
    const int count = std::min(strip, height - done);
    const uint8_t* rows = memory.data();
    if (header.interlaced) {
      rows += samples.row_bytes * static_cast<size_t>(done);
    } else if (!read_rows(codec, memory.data(), samples.row_bytes, count)) {
      return false;
    }
    pusher.push(rows, samples.row_bytes, done, count);
  }
  return end(codec);
}

}  // namespace

DecodeResult decode_png(const uint8_t* data, size_t size, const Header& header, const DecodeOptions& options,
                        const Limits&, DecodeScratch& scratch, const std::atomic<bool>& cancel, RowSink& sink) {
  DecodeResult result;
  const int64_t start = decode_clock_ns();
  Codec codec;
  std::memset(static_cast<void*>(&codec), 0, sizeof codec);
  codec.next = data;
  codec.left = size;
  CodecOwner owner(codec);
  PngSamples samples;
  bool whole = begin(codec, header, samples);
  result.decode_ns = decode_clock_ns() - start;
  if (whole) {
    Pusher pusher(samples, arriving_region(header, sink), options, sink, result);
    whole = decode_rows(codec, header, samples, scratch.strip, cancel, pusher);
    pusher.book_decode();
  }
  if (whole) return result;
  if (codec.stop == Stop::none) {
    result.outcome = DecodeOutcome::cancelled;
  } else {
    result.outcome = DecodeOutcome::referee;
    result.sentence = codec.sentence;
    result.warned = codec.stop == Stop::warned;
  }
  return result;
}

std::string png_version() { return std::string("libpng ") + png_get_libpng_ver(nullptr); }

}  // namespace penstock
