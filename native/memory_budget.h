// The memory that a pool's threads may hold together: a thread waits for room, or it may not wait.
#pragma once

#include <condition_variable>
#include <mutex>

#include "budget.h"

namespace penstock {

class MemoryBudget final : public Budget {
 public:
  // All three are the pool's: its mutex, what wakes whoever can make room, and that nobody waits any more.
  MemoryBudget(uint64_t limit, std::mutex& mutex, std::condition_variable& referred, const bool& closing)
      : limit_(limit), mutex_(mutex), referred_(referred), closing_(closing) {}
  bool exchange(uint64_t held, uint64_t bytes, const std::atomic<bool>& cancel) override;
  // Without waiting, whatever the limit says.
  void overdraw(uint64_t held, uint64_t bytes);
  // Whoever waits looks again: its job may be cancelled, or the pool closing.
  void wake() { admitted_.notify_all(); }
  // Both with the pool's mutex held.
  bool short_of_memory() const { return waiting_ > 0; }
  bool has_room() const { return waiting_ == 0 && used_ < limit_ / 4; }

 private:
  uint64_t limit_, used_ = 0;
  int waiting_ = 0;
  std::mutex& mutex_;
  std::condition_variable& referred_;
  const bool& closing_;
  std::condition_variable admitted_;  // room under the budget
};

// Of a thread that holds an image already: to wait for memory could be for ever. It asks has_room() before.
class Overdraft final : public Budget {
 public:
  explicit Overdraft(MemoryBudget& budget) : budget_(budget) {}
  bool exchange(uint64_t held, uint64_t bytes, const std::atomic<bool>&) override {
    budget_.overdraw(held, bytes);
    return true;
  }

 private:
  MemoryBudget& budget_;
};

}  // namespace penstock
