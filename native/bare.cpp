#include "bare.h"

#include <jpeglib.h>
// Plain <png.h> would be our own header.
#include <libpng16/png.h>
#include <webp/decode.h>

#include <atomic>
#include <chrono>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "buffer.h"
#include "io.h"

namespace penstock {
namespace {

struct ErrorManager {
  jpeg_error_mgr base;
  jmp_buf escape;
};

void on_error(j_common_ptr codec) { longjmp(reinterpret_cast<ErrorManager*>(codec->err)->escape, 1); }
void on_message(j_common_ptr, int) {}

// Only trivially destructible locals live beside setjmp, here and below.
bool decode_jpeg_into(const uint8_t* data, size_t size, ByteBuffer* frame) {
  jpeg_decompress_struct codec;
  ErrorManager errors;
  codec.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
  if (setjmp(errors.escape)) {
    jpeg_destroy_decompress(&codec);
    return false;
  }
  jpeg_create_decompress(&codec);
  jpeg_mem_src(&codec, data, static_cast<unsigned long>(size));
  jpeg_read_header(&codec, TRUE);
  codec.out_color_space = JCS_RGB;
  jpeg_start_decompress(&codec);
  size_t stride = static_cast<size_t>(codec.output_width) * 3;
  if (!frame->reserve(stride * codec.output_height)) {
    jpeg_destroy_decompress(&codec);
    return false;
  }
  while (codec.output_scanline < codec.output_height) {
    JSAMPROW rows[16];
    int count = 0;
    for (JDIMENSION y = codec.output_scanline; y < codec.output_height && count < 16; ++y) {
      rows[count++] = frame->data() + stride * y;
    }
    jpeg_read_scanlines(&codec, rows, static_cast<JDIMENSION>(count));
  }
  jpeg_finish_decompress(&codec);
  jpeg_destroy_decompress(&codec);
  return true;
}

// The plainest encode there is, into memory that the library takes.
bool encode_from(const uint8_t* rgb, Size size, int quality, unsigned char** memory, unsigned long* bytes) {
  jpeg_compress_struct codec;
  ErrorManager errors;
  codec.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
  if (setjmp(errors.escape)) {
    jpeg_destroy_compress(&codec);
    return false;
  }
  jpeg_create_compress(&codec);
  jpeg_mem_dest(&codec, memory, bytes);
  codec.image_height = static_cast<JDIMENSION>(size.height);
  codec.image_width = static_cast<JDIMENSION>(size.width);
  codec.input_components = 3;
  codec.in_color_space = JCS_RGB;
  jpeg_set_defaults(&codec);
  jpeg_set_quality(&codec, quality, TRUE);
  jpeg_start_compress(&codec, TRUE);
  while (codec.next_scanline < codec.image_height) {
    JSAMPROW row = const_cast<uint8_t*>(rgb) + static_cast<size_t>(codec.next_scanline) * size.width * 3;
    jpeg_write_scanlines(&codec, &row, 1);
  }
  jpeg_finish_compress(&codec);
  jpeg_destroy_compress(&codec);
  return true;
}

struct PngBytes {
  const uint8_t* next;
  size_t left;
};

void read_png(png_structp codec, png_bytep out, size_t count) {
  PngBytes& bytes = *static_cast<PngBytes*>(png_get_io_ptr(codec));
  if (count > bytes.left) png_error(codec, "ends early");
  std::memcpy(out, bytes.next, count);
  bytes.next += count;
  bytes.left -= count;
}

void on_png_warning(png_structp, png_const_charp) {}

bool decode_png_into(const uint8_t* data, size_t size, ByteBuffer* frame) {
  PngBytes bytes{data, size};
  png_structp codec = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, on_png_warning);
  png_infop info = codec == nullptr ? nullptr : png_create_info_struct(codec);
  if (info == nullptr || setjmp(png_jmpbuf(codec))) {
    png_destroy_read_struct(&codec, &info, nullptr);
    return false;
  }
  png_set_read_fn(codec, &bytes, read_png);
  png_read_info(codec, info);
  png_set_expand(codec);
  png_set_strip_16(codec);
  png_set_strip_alpha(codec);
  png_set_gray_to_rgb(codec);
  const int passes = png_set_interlace_handling(codec);
  png_read_update_info(codec, info);
  const size_t stride = png_get_rowbytes(codec, info), height = png_get_image_height(codec, info);
  if (!frame->reserve(stride * height)) png_error(codec, "no memory");
  for (int pass = 0; pass < passes; ++pass) {
    for (size_t y = 0; y < height; ++y) png_read_row(codec, frame->data() + stride * y, nullptr);
  }
  png_read_end(codec, nullptr);
  png_destroy_read_struct(&codec, &info, nullptr);
  return true;
}

bool decode_webp_into(const uint8_t* data, size_t size, ByteBuffer* frame) {
  int width = 0, height = 0;
  if (!WebPGetInfo(data, size, &width, &height)) return false;
  const size_t stride = static_cast<size_t>(width) * 3, bytes = stride * static_cast<size_t>(height);
  return frame->reserve(bytes) &&
         WebPDecodeRGBInto(data, size, frame->data(), bytes, static_cast<int>(stride)) != nullptr;
}

bool decode_into(const ByteBuffer& encoded, ByteBuffer* frame) {
  const uint8_t* data = encoded.data();
  const size_t size = encoded.size();
  if (size > 8 && data[0] == 0x89) return decode_png_into(data, size, frame);
  if (size > 12 && data[0] == 'R') return decode_webp_into(data, size, frame);
  return decode_jpeg_into(data, size, frame);
}

}  // namespace

double bare_decode(const std::vector<std::string>& paths, int threads) {
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  auto work = [&] {
    ByteBuffer encoded, frame;
    Limits limits;
    Problem problem;
    for (size_t i; (i = next.fetch_add(1)) < paths.size() && !failed;) {
      if (!read_file(paths[i].c_str(), 0, kWholeFile, limits, encoded, problem) || !decode_into(encoded, &frame)) {
        failed = true;
      }
    }
  };
  auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  for (std::thread& worker : workers) worker.join();
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return failed ? -1.0 : elapsed.count();
}

double bare_roundtrip(const std::vector<const uint8_t*>& pictures, Size size, int quality, int threads) {
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  auto work = [&] {
    ByteBuffer frame;
    for (size_t i; (i = next.fetch_add(1)) < pictures.size() && !failed;) {
      unsigned char* memory = nullptr;
      unsigned long bytes = 0;
      if (!encode_from(pictures[i], size, quality, &memory, &bytes) || !decode_jpeg_into(memory, bytes, &frame)) {
        failed = true;
      }
      std::free(memory);
    }
  };
  auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  for (std::thread& worker : workers) worker.join();
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return failed ? -1.0 : elapsed.count();
}

double bare_normalize(const uint8_t* pictures, size_t count, Size size, const Normalizer& normalizer, size_t batch,
                      size_t buffers, int threads) {
  const size_t pixels = static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
  const size_t samples = pixels * kChannels;
  const auto provider = std::make_shared<BufferProvider>(buffers);
  std::vector<std::shared_ptr<Buffer>> memory;
  while (memory.size() < buffers) {
    memory.push_back(provider->take(batch * samples * sizeof(float)));
    if (!memory.back()) return -1.0;
    std::memset(memory.back()->data, 0, memory.back()->bytes);  // a loop's memory is there already
  }
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < count;) {
      float* slot = reinterpret_cast<float*>(memory[i / batch % buffers]->data) + i % batch * samples;
      kernels().normalize_planar(pictures + i * samples, static_cast<int>(pixels), normalizer, slot,
                                 static_cast<ptrdiff_t>(pixels));
    }
  };
  auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  for (std::thread& worker : workers) worker.join();
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return elapsed.count();
}

}  // namespace penstock
