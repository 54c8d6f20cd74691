// The memory budget: an item states its bytes before it takes them, and waits while they do not fit.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "types.h"

namespace penstock {

class Budget {
 public:
  virtual ~Budget() = default;
  // Gives back `held` and takes `bytes` once they fit, or nobody else holds anything: one item is always let in.
  // False, with nothing held: cancelled while waiting.
  virtual bool exchange(uint64_t held, uint64_t bytes, const std::atomic<bool>& cancel) = 0;
};

// What one item holds; given back when it dies. Without a budget it holds nothing and never waits.
class Holding {
 public:
  Holding() = default;
  explicit Holding(std::shared_ptr<Budget> budget) : budget_(std::move(budget)) {}
  Holding(Holding&& other) noexcept { *this = std::move(other); }
  Holding& operator=(Holding&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    std::swap(waited_ns_, other.waited_ns_);
    return *this;
  }
  ~Holding();
  bool take(uint64_t bytes, const std::atomic<bool>& cancel);  // instead of what is held now
  int64_t waited_ns() const { return waited_ns_; }

 private:
  std::shared_ptr<Budget> budget_;
  uint64_t bytes_ = 0;
  int64_t waited_ns_ = 0;
};

}  // namespace penstock
