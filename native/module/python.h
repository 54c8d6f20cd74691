// What the files of the extension module share. Only they and module.cpp know Python: thin bindings, no logic.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "cache.h"
#include "pool.h"
#include "released.h"

namespace penstock {

namespace nb = nanobind;
using namespace nb::literals;

using Pixels = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using AnyPixels = nb::ndarray<nb::ro, nb::ndim<3>, nb::c_contig, nb::device::cpu>;  // [H, W, C]: uint8, uint16, float32
using Matrices = std::vector<std::vector<double>>;                                  // six numbers each, row-major
template <typename Element>
using Column = nb::ndarray<const Element, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Indices = Column<int64_t>;

// One a part of the module.
void bind_plans(nb::module_& m);
void bind_jobs(nb::module_& m);
void bind_pool(nb::module_& m);
void bind_files(nb::module_& m);
void bind_tars(nb::module_& m);
void bind_measurement(nb::module_& m);
void bind_order(nb::module_& m);
void bind_pictures(nb::module_& m);
void bind_cached(nb::module_& m);
void bind_caches(nb::module_& m);

template <typename Value>
Value word(const char* what, const std::string& found, std::initializer_list<std::pair<const char*, Value>> known) {
  for (const auto& entry : known) {
    if (found == entry.first) return entry.second;
  }
  throw nb::value_error(("unknown " + std::string(what) + " '" + found + "'").c_str());
}

// verbs.cpp: what Python describes as dicts.
std::vector<Verb> verbs_from(const nb::list& list);
DecodeOptions decode_options_from(const nb::dict& dict);

// arrays.cpp: memory that crosses over, and what stands beside it.
std::vector<Affine> affines_from(const Matrices& matrices);
// Refuses pixels that are not of the format that the plan's chain begins with.
void check_pixels(const Plan& plan, const AnyPixels& pixels);
ptrdiff_t row_stride(const Plan& plan, const AnyPixels& pixels);
// An array over memory that `buffer` keeps alive; the buffer goes back to its provider when the last view has died.
nb::object array_over(const std::shared_ptr<Buffer>& buffer, const Plan& plan, Size size, int rows);
// The same where the image begins at `data` inside the buffer; `copies` (not -1) makes a second axis.
nb::object array_at(uint8_t* data, const std::shared_ptr<Buffer>& buffer, const Plan& plan, Size size, int rows,
                    int copies = -1);
// caches.cpp
nb::dict dict_of(const CacheCounts& counts);
// pictures.cpp: an image, or several, in memory that `held` keeps alive, and an array over it.
struct Picture {
  std::shared_ptr<Buffer> held;
  uint8_t* data;
  size_t bytes;
};
nb::object array_of(Picture picture, const std::vector<size_t>& shape, Dtype dtype);
// As a function of a map gets it.
nb::object picture_array(Picture picture, const Plan& plan, Size size);
nb::tuple problem_tuple(const Problem& problem);

template <typename Element>
nb::object column(const std::vector<Element>& values, std::vector<size_t> shape) {
  auto* copy = new std::vector<Element>(values);
  nb::capsule owner(copy, [](void* p) noexcept { delete static_cast<std::vector<Element>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, Element>(copy->data(), shape.size(), shape.data(), owner));
}

}  // namespace penstock
