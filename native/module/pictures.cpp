// Images that a map's function gets: numpy.ndarray over their memory by the plain buffer protocol. An array by way of
// DLPack takes several times as long to make, which weighs where there is one an image.
#include "python.h"

namespace penstock {
namespace {

int fill_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Picture& picture = *nb::inst_ptr<Picture>(self);
  return PyBuffer_FillInfo(view, self, picture.data, static_cast<Py_ssize_t>(picture.bytes), 0, flags);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&fill_buffer)}, {0, nullptr}};

}  // namespace

nb::object picture_array(Picture picture, const Plan& plan, Size size) {
  // Never freed: when the interpreter ends, nothing may be.
  static const auto* make = new nb::object(nb::module_::import_("numpy").attr("ndarray"));
  const char* const names[] = {"u1", "u2", "f2", "u2", "f4"};  // as array_dtype()
  const auto shape = nb::make_tuple(size.height, size.width, plan.channels);
  return (*make)(shape, names[static_cast<int>(plan.output.dtype)], nb::cast(std::move(picture)));
}

void bind_pictures(nb::module_& m) { nb::class_<Picture>(m, "Picture", nb::type_slots(slots)); }

}  // namespace penstock
