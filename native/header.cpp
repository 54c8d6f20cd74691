// Which format a file is, by its first bytes; the limits and losses that all formats share.
#include "header.h"

#include <cstring>

#include "header_parts.h"

namespace penstock {
namespace {

bool refuse(Problem& problem, const char* cause, std::string message) {
  problem.stage = Stage::decode;
  problem.cause = cause;
  problem.message = std::move(message);
  return false;
}

}  // namespace

bool within_limits(const Header& header, const Limits& limits, Problem& problem) {
  const uint64_t pixels = static_cast<uint64_t>(header.stored_height) * static_cast<uint64_t>(header.stored_width);
  if (pixels > limits.max_pixels) {
    return refuse(problem, "too many pixels",
                  "expected at most " + std::to_string(limits.max_pixels) + " pixels (max_pixels), found " +
                      std::to_string(header.stored_height) + " x " + std::to_string(header.stored_width) + " = " +
                      std::to_string(pixels));
  }
  if (header.working_bytes > limits.max_working_bytes) {
    return refuse(problem, "too much memory",
                  "expected at most " + std::to_string(limits.max_working_bytes) +
                      " working bytes (max_working_bytes), found " + std::to_string(header.working_bytes));
  }
  return true;
}

bool within_scans(const Limits& limits, int scans, Problem& problem) {
  if (scans <= limits.max_scans) return true;
  return refuse(
      problem, "too many scans",
      "expected at most " + std::to_string(limits.max_scans) + " scans (max_scans), found " + std::to_string(scans));
}

bool inspect(const uint8_t* data, size_t size, const Limits& limits, Header& header, Problem& problem) {
  static const uint8_t kPng[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  header = Header();
  if (size >= sizeof kPng && std::memcmp(data, kPng, sizeof kPng) == 0) {
    return inspect_png(data, size, limits, header, problem);
  }
  if (size >= 12 && std::memcmp(data, "RIFF", 4) == 0 && std::memcmp(data + 8, "WEBP", 4) == 0) {
    return inspect_webp(data, size, limits, header, problem);
  }
  return inspect_jpeg(data, size, limits, header, problem);
}

bool decodes_natively(const Header& header, const DecodeOptions& options) {
  if (options.srgb && header.has_icc) return false;
  switch (header.backend) {
    case Backend::jpeg:
      return options.depth != DecodeOptions::Depth::sixteen;
    case Backend::png:
    case Backend::webp:
      return true;
    case Backend::pillow:
      return false;
  }
  return false;
}

uint32_t notes_of(const Header& header, const DecodeOptions& options) {
  uint32_t notes = 0;
  if (header.has_icc) notes |= kNoteIcc;
  if (header.pictures > 1) notes |= kNoteFirstFrame;
  if (header.has_alpha && options.mode != DecodeOptions::Mode::rgba && !options.composite) notes |= kNoteAlpha;
  if (header.depth == 16 && options.depth == DecodeOptions::Depth::eight) {
    notes |= header.components == 1 ? kNoteClipped : kNoteReduced;
  }
  // Grey with alpha of 16 bits is RGBA to Pillow.
  const bool colours = header.components >= 3 || (header.components == 2 && header.depth == 16);
  if (options.mode == DecodeOptions::Mode::grey && colours) notes |= kNoteColour;
  return notes;
}

}  // namespace penstock
