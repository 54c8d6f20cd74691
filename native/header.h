// What a file is, by its content alone: which backend decodes it, how large it is, which way up.
#pragma once

#include "types.h"

namespace penstock {

enum class Backend : uint8_t { jpeg, png, webp, pillow };

struct Header {
  Backend backend = Backend::pillow;
  const char* reason = "";  // backend == pillow: why, in a few words ("not a JPEG", "4 components", "broken EXIF")
  int stored_height = 0;    // as stored, before orientation; 0 where unknown
  int stored_width = 0;
  int components = 0;   // 1 or 3 for Backend::jpeg
  int orientation = 1;  // 1..8, as Pillow's getexif() has it
  bool progressive = false;
  int pictures = 1;            // more than 1: a multi-picture file, as Pillow's n_frames; the first is decoded (a note)
  bool has_alpha = false;      // PNG, WebP: an alpha channel or a transparent colour
  int depth = 8;               // bits of a stored sample: 16 for PNG's 16-bit types
  bool has_icc = false;        // an ICC profile is present (ignored by decode, counted as a note)
  uint64_t working_bytes = 0;  // memory the decoder will need beside the encoded bytes (progressive: coefficients)
};

// Reads the header of an encoded image; never decodes. Returns false, with `problem`, only where a limit refuses the
// file (max_pixels, max_working_bytes, max_scans), so nobody may decode it. Everything else that the native
// decoder does not know for certain is Backend::pillow: Pillow is the referee.
// Native only when: SOI, then marker segments that Pillow's own parser accepts without complaint, SOF0/1/2 with 8 bits
// and 1 or 3 components, sizes > 0, EXIF absent or well-formed (orientation SHORT count 1); XMP and MPF are read as
// Pillow does.
bool inspect(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem);

// Whether the native decoder of header.backend gives exactly what `options` ask for; false: Pillow's file.
bool decodes_natively(const Header& header, const DecodeOptions& options);

// The orientation inside an EXIF APP1 payload ("Exif\0\0" included). Returns 1..8, or 0 where absent, or -1 where the
// block is anything but ordinary, so Pillow must be asked.
int exif_orientation(const uint8_t* data, size_t size);

// The orientation inside an XMP packet, by the rule that Pillow's getexif() falls back on: the first
// tiff:Orientation="n" or tiff:Orientation>n. Returns 1..8 (1 for a digit that means nothing), or 0 where absent.
int xmp_orientation(const uint8_t* data, size_t size);

// The number of pictures an MPF block (after "MPF\0") announces, or -1 where the block is anything but ordinary.
int mpf_pictures(const uint8_t* data, size_t size);

}  // namespace penstock
