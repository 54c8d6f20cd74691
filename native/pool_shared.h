// What the threads of a pool share: the queues of tickets and of referrals, who works, and whom to wake.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>

#include "memory_budget.h"
#include "pool_worker.h"

namespace penstock {

// Alive as long as a thread has it, even one that had to be detached.
struct Pool::Shared {
  static constexpr size_t kGathered = 8;  // maps that one wake-up of a party is for
  static constexpr int kLookMs = 100;     // between two looks for reads that take too long

  Shared(int threads, uint64_t max_memory_bytes, size_t keep_buffers)
      : provider(std::make_shared<BufferProvider>(keep_buffers)),
        pictures(std::make_shared<BufferProvider>(static_cast<size_t>(threads) * 2 + kGathered)),
        budget(max_memory_bytes, mutex, referred, closing),
        overdraft(budget) {}

  mutable std::mutex mutex;
  std::condition_variable work;      // a ticket to take
  std::condition_variable finished;  // a job done, a referral made, a thread gone
  std::condition_variable referred;  // a referral to take

  using Jobs = std::deque<std::shared_ptr<Job>>;
  Jobs jobs;          // whose tickets native threads take
  Jobs parties_jobs;  // whose tickets the Python threads take
  Jobs& queue_of(const Job& job) { return job.by_parties ? parties_jobs : jobs; }

  struct Ticket {
    std::shared_ptr<Job> job;
    size_t row;
  };
  // The next of a queue that is not empty.
  static Ticket take_ticket(Jobs& queue) {
    Ticket next{queue.front(), queue.front()->next_++};
    if (next.job->next_ == next.job->inputs.size()) queue.pop_front();
    return next;
  }

  std::deque<Referral> referrals;  // for Pillow, and for matrices
  std::deque<Referral> maps;
  int gathered = kGathered;                            // maps that a party takes at once
  std::vector<std::unique_ptr<Worker>> workers;        // those at work, and those left behind in a read
  WorkerTimes past;                                    // of threads that are no more
  std::shared_ptr<BufferProvider> provider, pictures;  // of batches; of images that maps are asked for
  MemoryBudget budget;
  Overdraft overdraft;
  std::vector<std::unique_ptr<Party>> party;  // Python threads that have taken tickets
  int parties = 0;
  int living = 0;  // without those left behind
  int left_behind = 0;
  bool watching = false;  // a job came whose reads are given up after a time
  bool more = false;
  bool by_parties = false;  // the last job's tickets are: native threads wait for nothing then
  bool closing = false;
  bool stranded = false;

  Workplace place_for(Scratch& scratch) const { return {*provider, *pictures, scratch}; }
  BufferProvider& provider_of(const Job& job, size_t row) const {
    return job.part(row).goes_on ? *pictures : *provider;
  }

  // How long somebody who waits may sleep.
  std::chrono::milliseconds until_next_look(int timeout_ms) const {
    return std::chrono::milliseconds(watching ? std::min(timeout_ms, kLookMs) : timeout_ms);
  }

  // A ticket has its outcome.
  void finish(Job& job) {
    const int left = job.remaining.fetch_sub(1) - 1;
    if (left > 0 && left != job.asking.load()) return;
    std::lock_guard<std::mutex> lock(mutex);  // so that a waiter cannot miss it between its check and its sleep
    if (left == 0) finished.notify_all();
    if (left > 0) referred.notify_one();
  }

  // A map waits in `maps`. A party is woken once for a group: when it is full, when a batch waits for nothing else, or
  // when nothing follows.
  void ask_for_map(Referral&& referral) {
    Job& job = *referral.job;
    maps.push_back(std::move(referral));
    // Both this and finish() change their number before they look at the other's, so that one of them sees both.
    const int asking = job.asking.fetch_add(1) + 1;
    const bool full = maps.size() % static_cast<size_t>(gathered) == 0;
    if (full || asking >= job.remaining.load() || nothing_follows()) referred.notify_one();
  }
  bool group_waits() const {
    if (maps.empty()) return false;
    if (maps.size() >= static_cast<size_t>(gathered) || nothing_follows()) return true;
    return std::any_of(maps.begin(), maps.end(),
                       [](const Referral& one) { return one.job->asking.load() >= one.job->remaining.load(); });
  }
  bool nothing_follows() const { return jobs.empty() || budget.short_of_memory(); }
};

}  // namespace penstock
