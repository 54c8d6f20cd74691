// The order's arithmetic: permutations in place.
#include "permute.h"
#include "python.h"

namespace penstock {
namespace {

PermuteColumn column_of(const Indices& given, size_t count) {
  if (given.shape(0) != 1 && given.shape(0) != count) throw nb::value_error("permute: one number a value, or one");
  return {given.data(), given.shape(0) == 1 ? size_t{0} : size_t{1}};
}

void permute_in_place(nb::ndarray<int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> values, const Indices& sizes,
                      const Indices& states, bool inverse) {
  const size_t count = values.shape(0);
  const PermuteColumn size = column_of(sizes, count), state = column_of(states, count);
  if (!permutable(values.data(), count, size)) throw nb::value_error("permute: values from 0 to size - 1 are needed");
  Released released;
  permute(values.data(), count, size, state, inverse);
}

}  // namespace

void bind_order(nb::module_& m) { m.def("permute", &permute_in_place, "values"_a, "sizes"_a, "states"_a, "inverse"_a); }

}  // namespace penstock
