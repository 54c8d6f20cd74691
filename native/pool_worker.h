// A thread of the pool, native or Python's, as the others see it: its running totals, and the ticket it has.
#pragma once

#include <thread>

#include "pool.h"

namespace penstock {

// The thread writes its totals and anyone reads them at any time.
struct Pool::Worker : CallWatch {
  std::atomic<int64_t> read_ns{0}, decode_ns{0}, transform_ns{0}, batch_ns{0}, starved_ns{0}, blocked_ns{0}, items{0};
  std::atomic<int64_t> idle_since{0};
  bool idle_blocked = false;  // what the wait since then is called; guarded by the pool's mutex
  std::atomic<bool> exited{false};
  std::thread thread;        // guarded by the pool's mutex
  mutable std::mutex mutex;  // guards what is below: the thread's at work, others' when it is stuck
  std::shared_ptr<Job> job;  // of the ticket it has
  size_t row = 0;
  Holding* holding = nullptr;    // the ticket's, on the thread's stack
  int64_t inside_since = 0;      // when it went into a system call; 0: it is in none
  int64_t inside_before_ns = 0;  // what the ticket's earlier calls took
  std::string path;              // of the ticket that was taken away
  bool dismissed = false;        // its ticket was taken away; it ends when its call returns

  static void add(std::atomic<int64_t>& total, int64_t value) {
    total.store(total.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }
  void book(const Times& times) {
    add(read_ns, times.read_ns);
    add(decode_ns, times.decode_ns);
    add(transform_ns, times.transform_ns);
    add(batch_ns, times.batch_ns);
    add(blocked_ns, times.blocked_ns);
    add(items, 1);
  }
  void add_to(WorkerTimes& sum) const {
    sum.read_ns += read_ns.load(std::memory_order_relaxed);
    sum.decode_ns += decode_ns.load(std::memory_order_relaxed);
    sum.transform_ns += transform_ns.load(std::memory_order_relaxed);
    sum.batch_ns += batch_ns.load(std::memory_order_relaxed);
    sum.starved_ns += starved_ns.load(std::memory_order_relaxed);
    sum.blocked_ns += blocked_ns.load(std::memory_order_relaxed);
    sum.items += items.load(std::memory_order_relaxed);
  }
  // These two with the pool's mutex held.
  void begin_idling(bool blocked) {
    idle_since.store(now_ns(), std::memory_order_relaxed);
    idle_blocked = blocked;
  }
  void end_idling() {
    const int64_t since = idle_since.exchange(0, std::memory_order_relaxed);
    if (since > 0) add(idle_blocked ? blocked_ns : starved_ns, now_ns() - since);
  }

  void enter() override {
    std::lock_guard<std::mutex> guard(mutex);
    inside_since = now_ns();
  }
  bool leave() override {
    std::lock_guard<std::mutex> guard(mutex);
    inside_before_ns += now_ns() - inside_since;
    inside_since = 0;
    return !dismissed;
  }
  bool given_up() const override {
    std::lock_guard<std::mutex> guard(mutex);
    return dismissed;
  }

  void take(const std::shared_ptr<Job>& ticket_job, size_t ticket_row, Holding& held) {
    std::lock_guard<std::mutex> guard(mutex);
    job = ticket_job;
    row = ticket_row;
    holding = &held;
    inside_before_ns = 0;
  }
  // False: the ticket was taken away meanwhile.
  bool put_down() {
    std::lock_guard<std::mutex> guard(mutex);
    if (dismissed) return false;
    job.reset();
    holding = nullptr;
    return true;
  }
};

// A Python thread that takes tickets of lines with maps itself.
struct Pool::Party final : Worker {
  std::thread::id id;
  Scratch scratch;
  bool inside = false;  // in native code, with a ticket; guarded by the pool's mutex
};

}  // namespace penstock
