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
  int components = 0;   // as stored: 1 grey, 2 grey and alpha, 3 colours (a palette too), 4 colours and alpha
  int orientation = 1;  // 1..8, as Pillow's getexif() has it
  bool progressive = false;
  bool interlaced = false;     // PNG: Adam7, so that the whole image is held
  bool animated = false;       // WebP: the first frame is what the animation decoder makes of it
  int pictures = 1;            // more than 1: several pictures or frames, as Pillow's n_frames; the first is decoded
  bool has_alpha = false;      // PNG, WebP: an alpha channel or a transparent colour
  int depth = 8;               // bits of a stored sample: 16 for PNG's 16-bit types
  bool has_icc = false;        // an ICC profile is present (ignored by decode, counted as a note)
  uint64_t working_bytes = 0;  // memory the decoder will need beside the encoded bytes (progressive: coefficients)
  // What is broken beyond doubt (PNG: a wrong CRC, data that end early), a sentence; the backend is Pillow then, and
  // pixels that it delivers all the same are damaged. Empty: nothing is known to be.
  std::string damage;
};

// Legal losses, one bit each.
enum Note : uint32_t {
  kNoteIcc = 1,         // an ICC profile was ignored
  kNoteFirstFrame = 2,  // the first of several pictures was taken
  kNoteAlpha = 4,       // an alpha channel or a transparent colour was dropped
  kNoteClipped = 8,     // grey of 16 bits was clipped to 8, as Pillow's mode I;16 is
  kNoteReduced = 16,    // of samples of 16 bits the high byte was kept
  kNoteColour = 32,     // grey was made of colours
};

// What is lost when the native decoder does as `options` say.
uint32_t notes_of(const Header& header, const DecodeOptions& options);

// Reads the header of an encoded image; never decodes. Returns false, with `problem`, only where a limit refuses the
// file (max_pixels, max_working_bytes, max_scans), so nobody may decode it. Everything else that the native
// decoder does not know for certain is Backend::pillow: Pillow is the referee.
// JPEG is native only when: SOI, then marker segments that Pillow's own parser accepts without complaint, SOF0/1/2 with
// 8 bits and 1 or 3 components, sizes > 0, EXIF absent or well-formed (orientation SHORT count 1); XMP and MPF are read
// as Pillow does. PNG: IHDR legal, every chunk complete and with a right CRC, one run of IDAT, IEND, no animation, and
// only chunks and texts that Pillow takes without complaint. WebP: what libwebp's demuxer takes, as Pillow asks it.
bool inspect(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem);

// Whether the native decoder of header.backend gives exactly what `options` ask for; false: Pillow's file.
bool decodes_natively(const Header& header, const DecodeOptions& options);

// The orientation inside an EXIF APP1 payload ("Exif\0\0" included). Returns 1..8, or 0 where absent, or -1 where the
// block is anything but ordinary, so Pillow must be asked.
int exif_orientation(const uint8_t* data, size_t size);

// The same of EXIF without that signature, as PNG and WebP have it; Pillow takes the signature there, too, if it is
// found: up to `signatures` of them are passed over.
int tiff_orientation(const uint8_t* data, size_t size, int signatures);

// The orientation inside an XMP packet, by the rule that Pillow's getexif() falls back on: the first
// tiff:Orientation="n" or tiff:Orientation>n. Returns 1..8 (1 for a digit that means nothing), or 0 where absent.
int xmp_orientation(const uint8_t* data, size_t size);

// The number of pictures an MPF block (after "MPF\0") announces, or -1 where the block is anything but ordinary.
int mpf_pictures(const uint8_t* data, size_t size);

}  // namespace penstock
