#include "pool.h"

#include <unistd.h>

#include <chrono>

namespace penstock {
namespace {

using Milliseconds = std::chrono::milliseconds;

// One thread's running totals; written by that thread, read by anyone at any time.
struct WorkerState {
  std::atomic<int64_t> read_ns{0}, decode_ns{0}, transform_ns{0}, batch_ns{0}, starved_ns{0}, blocked_ns{0}, items{0};
  std::atomic<int64_t> idle_since{0};
  bool idle_blocked = false;  // what the wait since then is called; guarded by the pool's mutex
  std::atomic<bool> exited{false};
  std::mutex mutex;  // guards the two below, which close() needs when the thread is at work or stuck
  std::shared_ptr<Job> job;
  size_t row = 0;
};

void add(std::atomic<int64_t>& total, int64_t value) {
  total.store(total.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

void* Job::slot(size_t row) const {
  if (!buffer) return nullptr;
  return buffer->data + row * image_bytes(plan->size, plan->output.dtype);
}

// Everything the threads touch; they hold it alive even when they had to be detached.
struct Pool::Shared {
  class MemoryBudget final : public Budget {
   public:
    MemoryBudget(Shared& shared, uint64_t limit) : shared_(shared), limit_(limit) {}
    bool acquire(uint64_t bytes) override {
      std::unique_lock<std::mutex> lock(shared_.mutex);
      while (used_ > 0 && used_ + bytes > limit_ && !shared_.closing) shared_.admitted.wait_for(lock, Milliseconds(100));
      if (shared_.closing) return false;
      used_ += bytes;
      return true;
    }
    void release(uint64_t bytes) override {
      {
        std::lock_guard<std::mutex> lock(shared_.mutex);
        used_ -= bytes;
      }
      shared_.admitted.notify_all();
    }
    void hold(uint64_t bytes) { used_ += bytes; }  // hold, drop: the caller has the mutex and does not wait
    void drop(uint64_t bytes) { used_ -= bytes; }

   private:
    Shared& shared_;
    uint64_t limit_, used_ = 0;
  };

  Shared(int threads, uint64_t max_memory_bytes, size_t keep_buffers)
      : workers(static_cast<size_t>(threads)),
        provider(std::make_shared<BufferProvider>(keep_buffers)),
        budget(*this, max_memory_bytes) {}

  void finish(Job& job) {
    if (job.remaining.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      std::lock_guard<std::mutex> lock(mutex);  // so that a waiter cannot miss it between its check and its sleep
      finished.notify_all();
    }
  }

  mutable std::mutex mutex;
  std::condition_variable work;      // a ticket to take
  std::condition_variable finished;  // a job done, a referral made, a thread gone
  std::condition_variable referred;  // a referral to take
  std::condition_variable admitted;  // room under the budget
  std::deque<std::shared_ptr<Job>> jobs;
  std::deque<Referral> referrals;
  std::vector<WorkerState> workers;
  std::shared_ptr<BufferProvider> provider;
  MemoryBudget budget;
  int parties = 0;
  int living = 0;
  bool more = false;
  bool closing = false;
};

Pool::Pool(int threads, uint64_t max_memory_bytes, size_t keep_buffers)
    : shared_(std::make_shared<Shared>(threads, max_memory_bytes, keep_buffers)), owner_pid_(getpid()) {
  shared_->living = threads;
  for (int i = 0; i < threads; ++i) threads_.emplace_back(&Pool::work, shared_, i);
}

Pool::~Pool() {
  if (getpid() != owner_pid_) {
    // A forked child: the threads and whoever held the mutex stayed behind, so nothing of theirs may be touched.
    new std::vector<std::thread>(std::move(threads_));
    new std::shared_ptr<Shared>(std::move(shared_));
    return;
  }
  close(1000);
}

int Pool::threads() const { return static_cast<int>(shared_->workers.size()); }

bool Pool::submit(const std::shared_ptr<Job>& job, bool more) {
  const Plan& plan = *job->plan;
  if (plan.size.height > 0) {
    job->buffer = shared_->provider->take(image_bytes(plan.size, plan.output.dtype) * static_cast<size_t>(job->rows));
    if (!job->buffer) return false;
  }
  job->results.resize(job->inputs.size());
  job->remaining.store(static_cast<int>(job->inputs.size()), std::memory_order_release);
  {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    if (shared_->closing) return false;
    shared_->more = more;
    if (!job->inputs.empty()) shared_->jobs.push_back(job);
  }
  shared_->work.notify_all();
  return true;
}

Pool::Wait Pool::wait(const Job& job, int timeout_ms) {
  if (job.done()) return Wait::done;
  std::unique_lock<std::mutex> lock(shared_->mutex);
  auto settled = [&] { return job.done() || shared_->closing || (!shared_->referrals.empty() && shared_->parties == 0); };
  if (!shared_->finished.wait_for(lock, Milliseconds(timeout_ms), settled)) return Wait::timeout;
  if (job.done()) return Wait::done;
  return shared_->closing ? Wait::closed : Wait::referral;
}

void Pool::cancel(Job& job) {
  job.cancelled.store(true, std::memory_order_relaxed);
  std::lock_guard<std::mutex> lock(shared_->mutex);
  int untaken = 0;
  for (auto it = shared_->jobs.begin(); it != shared_->jobs.end(); ++it) {
    if (it->get() != &job) continue;
    for (; job.next_ < job.inputs.size(); ++job.next_, ++untaken) job.results[job.next_].outcome = Outcome::cancelled;
    shared_->jobs.erase(it);
    break;
  }
  for (size_t i = 0; i < shared_->referrals.size();) {
    Referral& referral = shared_->referrals[i];
    if (referral.job.get() != &job) {
      ++i;
      continue;
    }
    job.results[referral.row].outcome = Outcome::cancelled;
    shared_->budget.drop(referral.admitted);
    shared_->referrals.erase(shared_->referrals.begin() + static_cast<ptrdiff_t>(i));
    ++untaken;
  }
  // `job` is borrowed from the caller, so the last reference cannot die here under the mutex.
  job.remaining.fetch_sub(untaken, std::memory_order_acq_rel);
  shared_->finished.notify_all();
  shared_->admitted.notify_all();
}

void Pool::announce_parties(int count) {
  std::lock_guard<std::mutex> lock(shared_->mutex);
  shared_->parties = count;
}

Pool::Wait Pool::take_referral(Referral& referral, int timeout_ms) {
  std::unique_lock<std::mutex> lock(shared_->mutex);
  auto settled = [&] { return shared_->closing || !shared_->referrals.empty(); };
  if (!shared_->referred.wait_for(lock, Milliseconds(timeout_ms), settled)) return Wait::timeout;
  if (shared_->closing) return Wait::closed;
  referral = std::move(shared_->referrals.front());
  shared_->referrals.pop_front();
  return Wait::referral;
}

void Pool::return_pixels(Referral& referral, const uint8_t* rows, Size upright, ptrdiff_t stride, Scratch& scratch) {
  Job& job = *referral.job;
  ItemResult& result = job.results[referral.row];
  if (job.cancelled.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
  } else {
    process_pixels(*job.plan, rows, upright, stride, job.key(referral.row), job.slot(referral.row), *shared_->provider,
                   scratch, result);
  }
  shared_->budget.release(referral.admitted);
  shared_->finish(job);
}

void Pool::return_failure(Referral& referral, Problem problem) {
  ItemResult& result = referral.job->results[referral.row];
  result.outcome = Outcome::failed;
  result.problem = std::move(problem);
  shared_->budget.release(referral.admitted);
  shared_->finish(*referral.job);
}

WorkerTimes Pool::times() const {
  WorkerTimes sum;
  // A thread books its wait under the mutex: it is counted once, and under the name it will keep.
  std::lock_guard<std::mutex> lock(shared_->mutex);
  int64_t now = now_ns();
  for (const WorkerState& worker : shared_->workers) {
    sum.read_ns += worker.read_ns.load(std::memory_order_relaxed);
    sum.decode_ns += worker.decode_ns.load(std::memory_order_relaxed);
    sum.transform_ns += worker.transform_ns.load(std::memory_order_relaxed);
    sum.batch_ns += worker.batch_ns.load(std::memory_order_relaxed);
    sum.starved_ns += worker.starved_ns.load(std::memory_order_relaxed);
    sum.blocked_ns += worker.blocked_ns.load(std::memory_order_relaxed);
    sum.items += worker.items.load(std::memory_order_relaxed);
    int64_t since = worker.idle_since.load(std::memory_order_relaxed);
    if (since > 0 && now > since) (worker.idle_blocked ? sum.blocked_ns : sum.starved_ns) += now - since;
  }
  return sum;
}

std::vector<std::string> Pool::close(int timeout_ms) {
  std::vector<std::string> stuck;
  if (threads_.empty() || getpid() != owner_pid_) return stuck;
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->closing = true;
  for (const auto& job : shared_->jobs) job->cancelled.store(true, std::memory_order_relaxed);
  for (WorkerState& worker : shared_->workers) {
    std::lock_guard<std::mutex> guard(worker.mutex);
    if (worker.job) worker.job->cancelled.store(true, std::memory_order_relaxed);
  }
  shared_->jobs.clear();
  shared_->referrals.clear();
  shared_->work.notify_all();
  shared_->finished.notify_all();
  shared_->referred.notify_all();
  shared_->admitted.notify_all();
  shared_->finished.wait_for(lock, Milliseconds(timeout_ms), [&] { return shared_->living == 0; });
  lock.unlock();
  for (size_t i = 0; i < threads_.size(); ++i) {
    WorkerState& worker = shared_->workers[i];
    if (worker.exited.load(std::memory_order_acquire)) {
      threads_[i].join();
    } else {
      std::lock_guard<std::mutex> guard(worker.mutex);
      stuck.push_back(worker.job ? worker.job->inputs[worker.row].path : "");
      threads_[i].detach();
    }
  }
  threads_.clear();
  return stuck;
}

void Pool::work(std::shared_ptr<Shared> shared, int worker_index) {
  WorkerState& state = shared->workers[static_cast<size_t>(worker_index)];
  Scratch scratch;
  std::unique_lock<std::mutex> lock(shared->mutex);
  for (;;) {
    if (shared->jobs.empty() && !shared->closing) {
      int64_t since = now_ns();
      state.idle_since.store(since, std::memory_order_relaxed);
      state.idle_blocked = shared->more;
      shared->work.wait(lock, [&] { return shared->closing || !shared->jobs.empty(); });
      state.idle_since.store(0, std::memory_order_relaxed);
      add(state.idle_blocked ? state.blocked_ns : state.starved_ns, now_ns() - since);
    }
    if (shared->closing) break;
    std::shared_ptr<Job> job = shared->jobs.front();
    size_t row = job->next_++;
    if (job->next_ == job->inputs.size()) shared->jobs.pop_front();
    lock.unlock();

    ItemResult& result = job->results[row];
    const Input& input = job->inputs[row];
    if (job->cancelled.load(std::memory_order_relaxed)) {
      result.outcome = Outcome::cancelled;
    } else {
      {
        std::lock_guard<std::mutex> guard(state.mutex);
        state.job = job;
        state.row = row;
      }
      // `result` belongs to the job, whose memory this thread keeps alive; a read fills `scratch`, never the slot.
      process_input(*job->plan, input, job->key(row), job->slot(row), *shared->provider, &shared->budget, scratch,
                    job->cancelled, result);
      add(state.read_ns, result.times.read_ns);
      add(state.decode_ns, result.times.decode_ns);
      add(state.transform_ns, result.times.transform_ns);
      add(state.batch_ns, result.times.batch_ns);
      add(state.items, 1);
      std::lock_guard<std::mutex> guard(state.mutex);
      state.job.reset();
    }
    if (result.outcome == Outcome::referee) {
      Referral referral;
      referral.job = job;
      referral.row = row;
      if (input.kind == Input::Kind::path) {
        referral.encoded.assign(scratch.encoded.data(), scratch.encoded.data() + scratch.encoded.size());
      }
      referral.admitted = referral.encoded.size();
      lock.lock();
      if (job->cancelled.load(std::memory_order_relaxed) || shared->closing) {  // nobody would answer it
        result.outcome = Outcome::cancelled;
        job->remaining.fetch_sub(1, std::memory_order_acq_rel);
        shared->finished.notify_all();
        continue;
      }
      shared->budget.hold(referral.admitted);
      shared->referrals.push_back(std::move(referral));
      if (shared->parties == 0) shared->finished.notify_all();
      shared->referred.notify_one();
      continue;
    }
    shared->finish(*job);
    job.reset();
    lock.lock();
  }
  --shared->living;
  state.exited.store(true, std::memory_order_release);
  shared->finished.notify_all();
}

}  // namespace penstock
