#include "released.h"

#include <chrono>
#include <thread>

namespace penstock {
namespace {

std::atomic<bool> leaving{false};
std::atomic<int> away{0};  // threads in a Released from before leaving

[[noreturn]] void wait_for_the_end() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace

Released::Released() : before_leaving_(!leaving.load()) {  // with the GIL, as leave_interpreter is called
  if (before_leaving_) away.fetch_add(1);
  state_ = PyEval_SaveThread();
}

Released::~Released() {
  if (before_leaving_ && leaving.load()) wait_for_the_end();
  PyEval_RestoreThread(state_);
  if (before_leaving_) away.fetch_sub(1);  // with the GIL: a thread that waits for it is waited for as well
}

void leave_interpreter(int timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  PyThreadState* const state = PyEval_SaveThread();
  while (away.load() > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  PyEval_RestoreThread(state);
  leaving.store(true);
}

}  // namespace penstock
