// Our Huffman decoder in the place of libjpeg-turbo's own.
#pragma once

#include "huffman.h"
#include "jpeg_codec.h"

namespace penstock::codec {

// What a thread keeps of it from image to image.
struct EntropyScratch {
  HuffmanTable dc[NUM_HUFF_TBLS], ac[NUM_HUFF_TBLS];
  HuffmanScan scan;
};

// Puts it in place for the only scan of a sequential file that has just been started; does nothing where that is not
// certain to be right. From then on anything uncertain in the data ends the decode with Stop::doubt.
void replace_entropy_decoder(Codec& codec);

}  // namespace penstock::codec
