// Reads that take longer than their job allows: their tickets fail, their threads are left behind and replaced.
#include <cstdio>

#include "pool_shared.h"

namespace penstock {
namespace {

constexpr int kMostLeftBehind = 64;  // threads that may be stuck in reads that were given up

Problem timed_out(int64_t timeout_ns) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%g", static_cast<double>(timeout_ns) / 1e9);
  return {Stage::read, "timeout",
          std::string("expected the bytes within ") + seconds + " s (timeout_s), found the read still going on"};
}

}  // namespace

// Tickets whose reads take longer than their job allows fail here and now, and another thread takes the place of the
// one that is stuck. A worker's mutex decides whose the ticket is: the reader's when its call returns, or ours.
void Pool::give_up_stuck_reads(const std::shared_ptr<Shared>& shared) {
  std::vector<std::shared_ptr<Job>> given_up;  // these, and what they held, are let go when the mutexes are free
  std::vector<Holding> held;
  {
    std::lock_guard<std::mutex> lock(shared->mutex);
    if (!shared->watching || shared->closing) return;
    const int64_t now = now_ns();
    const size_t count = shared->workers.size();
    given_up.reserve(count);
    held.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      Worker& worker = *shared->workers[i];
      std::lock_guard<std::mutex> guard(worker.mutex);
      if (worker.dismissed || !worker.job || worker.inside_since == 0 || worker.job->read_timeout_ns == 0) continue;
      if (now - worker.inside_since + worker.inside_before_ns <= worker.job->read_timeout_ns) continue;
      Problem problem = timed_out(worker.job->read_timeout_ns);
      worker.path = worker.job->inputs[worker.row].path;
      worker.dismissed = true;
      ItemResult& result = worker.job->results[worker.row];
      result.outcome = Outcome::failed;
      result.problem = std::move(problem);
      held.push_back(std::move(*worker.holding));  // or what waits for memory would wait for the stuck read
      given_up.push_back(std::move(worker.job));
      Worker::add(worker.items, 1);
      --shared->living;
      ++shared->left_behind;
    }
    for (size_t i = 0; i < given_up.size() && shared->left_behind <= kMostLeftBehind; ++i) {
      try {
        start(shared);
      } catch (const std::exception&) {
        break;  // those that are left do the work
      }
    }
    if (shared->left_behind > kMostLeftBehind || shared->living == 0) {
      shared->stranded = true;
      shared->finished.notify_all();
    }
    bury(*shared);
  }
  held.clear();
  for (const std::shared_ptr<Job>& job : given_up) shared->finish(*job);
}

// One thread more; the pool's mutex is held. Throws std::system_error where the system has none left to give.
void Pool::start(const std::shared_ptr<Shared>& shared) {
  shared->workers.push_back(std::make_unique<Worker>());
  Worker& worker = *shared->workers.back();
  try {
    worker.thread = std::thread(&Pool::work, shared, std::ref(worker));
  } catch (...) {
    shared->workers.pop_back();
    throw;
  }
  ++shared->living;
}

// Threads whose given-up reads came back after all: only their totals are kept. The pool's mutex is held.
void Pool::bury(Shared& shared) {
  for (size_t i = shared.workers.size(); i-- > 0;) {
    Worker& worker = *shared.workers[i];
    if (!worker.exited.load(std::memory_order_acquire)) continue;
    worker.thread.join();  // it has nothing left to do but to end
    worker.add_to(shared.past);
    shared.workers.erase(shared.workers.begin() + static_cast<ptrdiff_t>(i));
  }
}

}  // namespace penstock
