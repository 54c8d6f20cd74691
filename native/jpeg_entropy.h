// Our Huffman decoder in the place of libjpeg-turbo's own, which is two thirds of its time.
//
// The library has no interface for this. What is relied on: the first two members of its private entropy decoder are
// the functions start_pass and decode_mcu, as in every libjpeg since version 6. Once a process it is tried on a small
// picture; wherever anything is not as expected, and for every file that is not plain, the library decodes alone.
#pragma once

#include "huffman.h"
#include "jpeg_codec.h"

namespace penstock::codec {

// What a thread keeps of it from image to image.
struct EntropyScratch {
  HuffmanTable dc[NUM_HUFF_TBLS], ac[NUM_HUFF_TBLS];
  HuffmanScan scan;
  size_t least_bytes;  // of a file that tables are made for
};

// Made by the first image; nullptr where the library has to decode alone.
EntropyScratch* entropy_scratch(DecodeScratch& scratch);

// Called once the only scan of a file has been started: does nothing where it is not certain to be right. From then on,
// codec.replaced, anything uncertain in the data ends the decode with Stop::doubt.
void replace_entropy_decoder(Codec& codec);

}  // namespace penstock::codec
