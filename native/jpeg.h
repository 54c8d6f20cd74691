// libjpeg-turbo: encoded bytes in, stored RGB rows out to a sink, strip by strip.
#pragma once

#include <atomic>

#include "header.h"
#include "planar.h"
#include "rows.h"

namespace penstock {

namespace codec {
struct EntropyScratch;
}

enum class DecodeOutcome : uint8_t {
  clean,      // every row was pushed, the codec had nothing to say
  referee,    // the codec warned, failed, or ran out of bytes: `sentence` says what; Pillow decides the outcome and the
              // pixels
  refused,    // a limit of ours was met while decoding (scans): `problem` is final
  cancelled,  // the cancel flag was seen
};

struct DecodeResult {
  DecodeOutcome outcome = DecodeOutcome::clean;
  std::string sentence;  // the codec's own first warning or error text
  bool warned =
      false;        // the sentence is a warning about the data: pixels that Pillow delivers all the same are damaged
  Problem problem;  // outcome == refused
  int64_t decode_ns = 0;     // time inside the codec
  int64_t transform_ns = 0;  // time inside sink.push
};

// Scratch a thread keeps from image to image: the strip of rows, never codec state (tables leak between images; those
// of `entropy` are compared with the image's own).
struct DecodeScratch {
  std::vector<uint8_t> strip;
  std::vector<uint8_t> planes, lines;  // of fast mode
  PlaneAxisCache axes;
  std::shared_ptr<codec::EntropyScratch> entropy;
  bool own_entropy = true;  // false: libjpeg-turbo decodes alone, for comparing
  // For threads that decode many images: room in the thread's heap that outlives each image. glibc gives the top of a
  // thread's heap back to the system after every image and faults it in again for the next, which cost a progressive
  // JPEG 18 % of its time; room below a block that stays is kept. Elsewhere this does nothing but touch little memory.
  void keep_heap();
  std::vector<uint8_t> anchor;
};

// Decodes a file for which inspect() said Backend::jpeg. Fresh decompressor each call. ISLOW DCT, fancy upsampling, RGB
// out (grey is replicated), RGBA for mode rgba. Pushes sink.wanted() with a margin where that spares work (expect()).
// The sink may have received rows when the outcome is not clean: discard what it made. `cancel` is polled once a strip
// and in the codec's progress monitor.
DecodeResult decode_jpeg(const uint8_t* data, size_t size, const Header& header, const DecodeOptions& options,
                         const Limits& limits, DecodeScratch& scratch, const std::atomic<bool>& cancel, RowSink& sink);

// "libjpeg-turbo 2.1.5" (from the library that is loaded, where it can say so).
std::string jpeg_version();

}  // namespace penstock
