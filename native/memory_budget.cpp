#include "memory_budget.h"

#include <chrono>

namespace penstock {

bool MemoryBudget::exchange(uint64_t held, uint64_t bytes, const std::atomic<bool>& cancel) {
  std::unique_lock<std::mutex> lock(mutex_);
  used_ -= held;
  if (held > bytes && waiting_ > 0) admitted_.notify_all();
  if (bytes == 0) return true;
  ++waiting_;
  referred_.notify_all();  // what the maps' images hold may be what it waits for
  while (used_ > 0 && used_ + bytes > limit_ && !closing_ && !cancel.load(std::memory_order_relaxed)) {
    if (held > 0) admitted_.notify_all();  // this one may wait while what it gave back lets another in
    admitted_.wait_for(lock, std::chrono::milliseconds(100));
  }
  --waiting_;
  if (closing_ || cancel.load(std::memory_order_relaxed)) {
    admitted_.notify_all();
    return false;
  }
  used_ += bytes;
  return true;
}

void MemoryBudget::overdraw(uint64_t held, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  used_ = used_ - held + bytes;
  if (held > bytes && waiting_ > 0) admitted_.notify_all();
}

}  // namespace penstock
