// Whole-frame steps: what needs more of the image than a strip of rows.
#pragma once

#include "transform.h"

namespace penstock {

// An image in memory, top down, upright.
struct Frame {
  uint8_t* pixels = nullptr;
  ptrdiff_t stride = 0;
  Size size;
  Format format;

  uint8_t* row(int y) const { return pixels + y * stride; }
};

// Whether the step is one of these, and not one that runs on strips.
bool is_frame_step(const Step& step);

// The size and format that come out of any step.
Size size_after(const Step& step, Size in);
Format format_after(const Step& step, Format in);

// Runs one frame step. `out` has the step's size and format, and memory of its own. Steps that keep the size and look
// at one pixel at a time (in_place) get in == out instead.
bool in_place(const Step& step);
void apply_frame_step(const Step& step, const Frame& in, const Frame& out, TransformScratch& scratch);

// One kind each; called by apply_frame_step.
void apply_color(const Step& step, const Frame& in, const Frame& out,
                 TransformScratch& scratch);                           // color.cpp, uint8 RGB
void apply_warp(const Step& step, const Frame& in, const Frame& out);  // warp.cpp, uint8, any channels
void apply_jpeg(const Step& step, const Frame& in, const Frame& out,
                TransformScratch& scratch);  // jpeg_encode.cpp, RGB
void apply_float_resize(const Step& step, const Frame& in, const Frame& out,
                        TransformScratch& scratch);  // any format in

}  // namespace penstock
