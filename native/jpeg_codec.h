// One libjpeg-turbo decompressor, its state and its errors as values: what jpeg.cpp, jpeg_fast.cpp and jpeg_encode.cpp
// share.
#pragma once

#include <csetjmp>
#include <cstdio>
// jpeglib.h needs <cstdio> before it.
#include <jerror.h>
#include <jpeglib.h>

#include "jpeg.h"

namespace penstock::codec {

enum class Stop : uint8_t { none, warned, failed, scans, cancelled, doubt };

struct EntropyScratch;

// All state of one decode. Trivially destructible: longjmp may leave any of the functions that use it.
struct Codec {
  jpeg_decompress_struct info;
  jpeg_error_mgr error;
  jpeg_source_mgr source;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  const std::atomic<bool>* cancel;
  const uint8_t* end;       // of the encoded bytes
  EntropyScratch* entropy;  // nullptr: the library reads all by itself
  bool replaced;            // its Huffman decoder is, by ours
  int max_scans;
  int rows_read;
  Stop stop;
  char sentence[JMSG_LENGTH_MAX];
};

// Destroys the decompressor however the decode is left, a throwing sink included. Made before open().
class CodecOwner {
 public:
  explicit CodecOwner(Codec& codec);
  CodecOwner(const CodecOwner&) = delete;
  CodecOwner& operator=(const CodecOwner&) = delete;
  ~CodecOwner() { jpeg_destroy_decompress(&codec_.info); }

 private:
  Codec& codec_;
};

// Each returns false where the decode has ended; codec.stop then says why.

// Creates the decompressor and reads the header, which must say what `header` says.
bool open(Codec& codec, const uint8_t* data, size_t size, const Header& header, const Limits& limits,
          const std::atomic<bool>& cancel);
// Brings it to its first row (progressive: through all scans), with the output parameters set in codec.info.
bool start(Codec& codec);
// Fills `rows` with up to `wanted` rows; codec.rows_read says how many.
bool read_rows(Codec& codec, uint8_t* rows, size_t stride, int wanted);
// The raw samples of one row of MCUs, into planes[component][row].
bool read_raw(Codec& codec, JSAMPIMAGE planes, int rows);
// Narrows the output to columns around [left, left + width): on return those that will come.
bool crop_columns(Codec& codec, int& left, int& width);
// Passes over `count` rows; the entropy-coded data is read all the same. At least one row must be left after them.
bool skip_rows(Codec& codec, int count);
// Reads on to the end marker. Running out of bytes here is fine: every row is there, and Pillow takes such files.
bool finish(Codec& codec);

// What the codec has to say about the rest of the file once the rows that matter are there, to the end marker. Where
// all scans are read already, or the only one has every restart marker in its place and ends in an end marker, the rest
// stays unread; else it is read with `strip` as memory (`rows` rows). `scan`: where the first scan's data begins.
bool read_rest(Codec& codec, const uint8_t* scan, uint8_t* strip, size_t stride, int rows);

// The part of the output to decode for `wanted`: whole MCUs, with a margin for the upsampling; all of the image where
// that spares little, or where `wanted` is empty.
Region part_of(const jpeg_decompress_struct& info, const Region& wanted);

// Samples that a block of the widest sampling comes out as, on an axis: 8, or fewer with a scaled transform.
int block_of(const jpeg_decompress_struct& info);

// Whether what ours made of the file has to be made once more by the library alone: all but pixels without a word.
bool needs_library(const Codec& codec);

void conclude(const Codec& codec, const Limits& limits, DecodeResult& result);

// Out of the library, to the function that called it.
[[noreturn]] void leave(Codec& codec, Stop stop);

int64_t now_ns();

}  // namespace penstock::codec
