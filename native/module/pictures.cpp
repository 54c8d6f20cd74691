// Images and batches of them: numpy.ndarray over their memory by the plain buffer protocol. An array by way of DLPack
// takes several times as long to make, which weighs where there is one an image, and where a model waits for a batch.
#include "python.h"

namespace penstock {
namespace {

int fill_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Picture& picture = *nb::inst_ptr<Picture>(self);
  return PyBuffer_FillInfo(view, self, picture.data, static_cast<Py_ssize_t>(picture.bytes), 0, flags);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&fill_buffer)}, {0, nullptr}};

}  // namespace

nb::object array_of(Picture picture, const std::vector<size_t>& shape, Dtype dtype) {
  // Never freed: when the interpreter ends, nothing may be.
  static const auto* make = new nb::object(nb::module_::import_("numpy").attr("ndarray"));
  // NumPy has no bfloat16: its bits go out as uint16, and Python names them.
  const char* const names[] = {"u1", "u2", "f2", "u2", "f4"};
  nb::object sides = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  for (size_t i = 0; i < shape.size(); ++i) {
    PyTuple_SET_ITEM(sides.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromSize_t(shape[i]));
  }
  return (*make)(sides, names[static_cast<int>(dtype)], nb::cast(std::move(picture)));
}

nb::object picture_array(Picture picture, const Plan& plan, Size size) {
  const auto height = static_cast<size_t>(size.height), width = static_cast<size_t>(size.width);
  return array_of(std::move(picture), {height, width, static_cast<size_t>(plan.channels)}, plan.output.dtype);
}

void bind_pictures(nb::module_& m) { nb::class_<Picture>(m, "Picture", nb::type_slots(slots)); }

}  // namespace penstock
