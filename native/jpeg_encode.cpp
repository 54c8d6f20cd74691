// RGB to JPEG and back, without leaving memory.
#include "jpeg_encode.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "jpeg_codec.h"

namespace penstock {
namespace {

constexpr int kRowsPerCall = 16;
constexpr size_t kFirstBytes = size_t{64} << 10;

// All state of one encode. Trivially destructible: longjmp may leave any of the functions that use it.
struct Encoder {
  jpeg_compress_struct info;
  jpeg_error_mgr error;
  jpeg_destination_mgr destination;
  std::jmp_buf escape;
  std::vector<uint8_t>* encoded;
  size_t size;
};

Encoder& encoder_of(j_common_ptr info) { return *static_cast<Encoder*>(info->client_data); }

void on_error(j_common_ptr info) { std::longjmp(encoder_of(info).escape, 1); }
void on_message(j_common_ptr, int) {}

void offer_room(Encoder& encoder, size_t used) {
  encoder.destination.next_output_byte = encoder.encoded->data() + used;
  encoder.destination.free_in_buffer = encoder.encoded->size() - used;
}

void begin_output(j_compress_ptr info) { offer_room(*static_cast<Encoder*>(info->client_data), 0); }

boolean grow_output(j_compress_ptr info) {
  Encoder& encoder = *static_cast<Encoder*>(info->client_data);
  const size_t used = encoder.encoded->size();
  bool grown = true;
  try {  // nothing may be thrown through the codec
    encoder.encoded->resize(used * 2);
  } catch (...) {
    grown = false;
  }
  if (!grown) std::longjmp(encoder.escape, 1);
  offer_room(encoder, used);
  return TRUE;
}

void end_output(j_compress_ptr info) {
  Encoder& encoder = *static_cast<Encoder*>(info->client_data);
  encoder.size = encoder.encoded->size() - encoder.destination.free_in_buffer;
}

// The rows as a JPEG in `encoder.encoded`; false where the library refused.
bool encode(Encoder& encoder, const uint8_t* in, ptrdiff_t stride, Size size, int quality) {
  std::memset(&encoder.info, 0, sizeof encoder.info);
  encoder.info.err = jpeg_std_error(&encoder.error);
  encoder.error.error_exit = on_error;
  encoder.error.emit_message = on_message;
  encoder.info.client_data = &encoder;
  encoder.size = 0;
  if (setjmp(encoder.escape)) {
    jpeg_destroy_compress(&encoder.info);
    return false;
  }
  jpeg_create_compress(&encoder.info);
  encoder.destination.init_destination = begin_output;
  encoder.destination.empty_output_buffer = grow_output;
  encoder.destination.term_destination = end_output;
  encoder.info.dest = &encoder.destination;
  encoder.info.image_height = static_cast<JDIMENSION>(size.height);
  encoder.info.image_width = static_cast<JDIMENSION>(size.width);
  encoder.info.input_components = kChannels;
  encoder.info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&encoder.info);  // YCbCr 4:2:0
  encoder.info.dct_method = JDCT_ISLOW;
  jpeg_set_quality(&encoder.info, quality, TRUE);
  jpeg_start_compress(&encoder.info, TRUE);
  while (encoder.info.next_scanline < encoder.info.image_height) {
    JSAMPROW rows[kRowsPerCall];
    const int at = static_cast<int>(encoder.info.next_scanline);
    const int count = std::min(kRowsPerCall, size.height - at);
    for (int i = 0; i < count; ++i) rows[i] = const_cast<uint8_t*>(in) + (at + i) * stride;
    jpeg_write_scanlines(&encoder.info, rows, static_cast<JDIMENSION>(count));
  }
  jpeg_finish_compress(&encoder.info);
  jpeg_destroy_compress(&encoder.info);
  return true;
}

bool decode(const uint8_t* data, size_t bytes, Size size, uint8_t* out, ptrdiff_t stride) {
  Header header;
  header.stored_height = size.height;
  header.stored_width = size.width;
  header.components = kChannels;
  const std::atomic<bool> cancel{false};
  codec::Codec codec;
  codec::CodecOwner owner(codec);
  if (!codec::open(codec, data, bytes, header, Limits(), cancel)) return false;
  codec.info.out_color_space = JCS_RGB;
  return codec::start(codec) && codec::read_rows(codec, out, static_cast<size_t>(stride), size.height);
}

}  // namespace

bool jpeg_roundtrip(const uint8_t* in, ptrdiff_t in_stride, Size size, int quality, uint8_t* out, ptrdiff_t out_stride,
                    std::vector<uint8_t>& encoded) {
  const size_t guess = static_cast<size_t>(size.height) * static_cast<size_t>(size.width) / 2;
  if (encoded.size() < kFirstBytes + guess) encoded = std::vector<uint8_t>(kFirstBytes + guess);
  Encoder encoder;
  encoder.encoded = &encoded;
  return encode(encoder, in, in_stride, size, quality) && decode(encoded.data(), encoder.size, size, out, out_stride);
}

void apply_jpeg(const Step& step, const Frame& in, const Frame& out, TransformScratch& scratch) {
  // The planner has refused sides that JPEG cannot have: what is left is memory.
  if (!jpeg_roundtrip(in.pixels, in.stride, in.size, step.quality, out.pixels, out.stride, scratch.encoded)) {
    throw std::bad_alloc();
  }
}

}  // namespace penstock
