// The extension module penstock._native: each part is bound by a file of its own.
#include "module/python.h"

NB_MODULE(_native, m) {
  using namespace penstock;
  // A forked child, and a process with a thread stuck in a read, keep on purpose what they must not free.
  nb::set_leak_warnings(false);
  m.doc() = "Penstock's native core; not public.";
  bind_plans(m);
  bind_cached(m);
  bind_jobs(m);
  bind_pool(m);
  bind_files(m);
  bind_tars(m);
  bind_measurement(m);
  bind_order(m);
  bind_caches(m);
}
