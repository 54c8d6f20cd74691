// Arrays over native memory, and pixels and matrices that come in.
#include "python.h"

namespace penstock {
namespace {

const char* const kStageNames[] = {"source", "read", "decode", "transform", "batch"};

}  // namespace

nb::object array_over(const std::shared_ptr<Buffer>& buffer, const Plan& plan, Size size, int rows) {
  return array_at(buffer->data, buffer, plan, size, rows);
}

nb::object array_at(uint8_t* data, const std::shared_ptr<Buffer>& buffer, const Plan& plan, Size size, int rows,
                    int copies) {
  std::vector<size_t> shape;
  if (rows >= 0) shape.push_back(static_cast<size_t>(rows));
  if (copies >= 0) shape.push_back(static_cast<size_t>(copies));
  const size_t height = static_cast<size_t>(size.height), width = static_cast<size_t>(size.width);
  const size_t channels = static_cast<size_t>(plan.channels), side = static_cast<size_t>(plan.output.patch);
  if (plan.output.layout == Layout::patches) {
    shape.insert(shape.end(), {static_cast<size_t>(plan.output.max_patches), side * side * channels});
  } else if (plan.output.layout == Layout::nchw) {
    shape.insert(shape.end(), {channels, height, width});
  } else {
    shape.insert(shape.end(), {height, width, channels});
  }
  size_t bytes = element_bytes(plan.output.dtype);
  for (size_t side : shape) bytes *= side;
  return array_of({buffer, data, bytes}, shape, plan.output.dtype);
}

nb::tuple problem_tuple(const Problem& problem) {
  // The core says nothing more where memory was out: the sentence itself would have needed some.
  const bool silent = problem.message.empty() && problem.cause == "out of memory";
  const std::string text = silent ? "expected memory for the image, found none free" : problem.message;
  return nb::make_tuple(kStageNames[static_cast<int>(problem.stage)], problem.cause,
                        nb::bytes(text.data(), text.size()));
}

std::vector<Affine> affines_from(const Matrices& matrices) {
  std::vector<Affine> affines(matrices.size());
  for (size_t i = 0; i < affines.size(); ++i) {
    if (matrices[i].size() != 6) throw nb::value_error("a matrix has six numbers");
    std::copy(matrices[i].begin(), matrices[i].end(), affines[i].m);
  }
  return affines;
}

void check_pixels(const Plan& plan, const AnyPixels& pixels) {
  const Format format = plan.arriving();
  if (pixels.shape(2) != static_cast<size_t>(format.channels) || pixels.itemsize() != sample_bytes(format.sample)) {
    throw nb::value_error("pixels of the plan's own channels and dtype are needed");
  }
}

ptrdiff_t row_stride(const Plan& plan, const AnyPixels& pixels) {
  return static_cast<ptrdiff_t>(pixels.shape(1) * plan.arriving().pixel_bytes());
}

}  // namespace penstock
