#include "budget.h"

#include <chrono>

namespace penstock {

Holding::~Holding() {
  static const std::atomic<bool> never{false};
  if (budget_ && bytes_ > 0) budget_->exchange(bytes_, 0, never);
}

bool Holding::take(uint64_t bytes, const std::atomic<bool>& cancel) {
  if (!budget_) return true;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const bool taken = budget_->exchange(bytes_, bytes, cancel);
  waited_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
  bytes_ = taken ? bytes : 0;
  return taken;
}

}  // namespace penstock
