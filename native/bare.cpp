#include "bare.h"

#include <jpeglib.h>

#include <atomic>
#include <chrono>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "io.h"

namespace penstock {
namespace {

struct ErrorManager {
  jpeg_error_mgr base;
  jmp_buf escape;
};

void on_error(j_common_ptr codec) { longjmp(reinterpret_cast<ErrorManager*>(codec->err)->escape, 1); }
void on_message(j_common_ptr, int) {}

// Only trivially destructible locals live beside setjmp.
bool decode_into(const uint8_t* data, size_t size, ByteBuffer* frame) {
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

}  // namespace

double bare_decode(const std::vector<std::string>& paths, int threads) {
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  auto work = [&] {
    ByteBuffer encoded, frame;
    Limits limits;
    Problem problem;
    for (size_t i; (i = next.fetch_add(1)) < paths.size() && !failed;) {
      if (!read_file(paths[i].c_str(), 0, kWholeFile, limits, encoded, problem) ||
          !decode_into(encoded.data(), encoded.size(), &frame)) {
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

double bare_roundtrip(const uint8_t* rgb, Size size, int quality, int count, int threads) {
  std::atomic<int> next{0};
  std::atomic<bool> failed{false};
  auto work = [&] {
    ByteBuffer frame;
    while (next.fetch_add(1) < count && !failed) {
      unsigned char* memory = nullptr;
      unsigned long bytes = 0;
      if (!encode_from(rgb, size, quality, &memory, &bytes) || !decode_into(memory, bytes, &frame)) failed = true;
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

}  // namespace penstock
