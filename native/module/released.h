// The GIL, given back while native code waits or works.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>

namespace penstock {

// As nb::gil_scoped_release, but for the end of the process: an interpreter that is being taken down ends whatever
// thread asks for the GIL, and unwinding through C++ aborts the process. A thread that was in here when leave() was
// called waits for the process to be gone instead.
class Released {
 public:
  Released();
  ~Released();
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  bool before_leaving_;
  PyThreadState* state_;
};

// The interpreter is about to end: gives threads a moment to come back, then keeps those that have not from asking for
// the GIL again. Called with it, last, when everything they may wait for was closed.
void leave_interpreter(int timeout_ms);

}  // namespace penstock
