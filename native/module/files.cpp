// What files say before they are decoded.
#include <limits>

#include "headers.h"
#include "python.h"

namespace penstock {
namespace {

const char* const kBackends[] = {"jpeg", "png", "webp", "pillow"};

// What a run will do with these bytes, under the limits that hold where none are named.
nb::dict inspect_for_a_run(nb::bytes data) {
  Header header;
  Problem problem;
  bool allowed = inspect(reinterpret_cast<const uint8_t*>(data.c_str()), data.size(), Limits{}, header, problem);
  nb::dict out;
  out["allowed"] = allowed;
  out["backend"] = kBackends[static_cast<int>(header.backend)];
  out["reason"] = header.reason;
  out["stored"] = nb::make_tuple(header.stored_height, header.stored_width);
  out["orientation"] = header.orientation;
  out["working_bytes"] = header.working_bytes;
  out["problem"] = problem_tuple(problem);
  return out;
}

// What a header says; no limit refuses anything here.
nb::dict inspect_bytes(nb::bytes data) {
  Limits limits;
  limits.max_pixels = limits.max_working_bytes = std::numeric_limits<uint64_t>::max();
  limits.max_scans = std::numeric_limits<int>::max();
  Header header;
  Problem problem;
  if (!inspect(reinterpret_cast<const uint8_t*>(data.c_str()), data.size(), limits, header, problem)) {
    header.backend = Backend::pillow;
  }
  nb::dict out;
  out["backend"] = kBackends[static_cast<int>(header.backend)];
  out["reason"] = header.reason;
  out["stored"] = nb::make_tuple(header.stored_height, header.stored_width);
  out["orientation"] = header.orientation;
  out["pictures"] = header.pictures;
  out["has_alpha"] = header.has_alpha;
  out["has_icc"] = header.has_icc;
  return out;
}

nb::object inspect_paths(const std::vector<nb::bytes>& paths, int threads) {
  std::vector<std::string> names;
  for (const nb::bytes& path : paths) names.emplace_back(path.c_str(), path.size());
  std::vector<Size> sizes;
  {
    Released released;
    sizes = upright_sizes(names, threads);
  }
  std::vector<int64_t> values;
  for (Size size : sizes) values.insert(values.end(), {size.height, size.width});
  return column(values, {sizes.size(), 2});
}

}  // namespace

void bind_files(nb::module_& m) {
  m.def("inspect", &inspect_for_a_run, "data"_a);
  m.def("inspect_bytes", &inspect_bytes, "data"_a);
  m.def("inspect_paths", &inspect_paths, "paths"_a, "threads"_a);
}

}  // namespace penstock
