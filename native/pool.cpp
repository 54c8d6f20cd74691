#include "pool.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

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
  return buffer->data + row * plan->image_bytes(plan->size);
}

// Everything the threads touch; they hold it alive even when they had to be detached.
struct Pool::Shared {
  class MemoryBudget final : public Budget {
   public:
    MemoryBudget(Shared& shared, uint64_t limit) : shared_(shared), limit_(limit) {}
    bool exchange(uint64_t held, uint64_t bytes, const std::atomic<bool>& cancel) override {
      std::unique_lock<std::mutex> lock(shared_.mutex);
      used_ -= held;
      if (held > bytes && waiting_ > 0) shared_.admitted.notify_all();
      if (bytes == 0) return true;
      ++waiting_;
      while (used_ > 0 && used_ + bytes > limit_ && !shared_.closing && !cancel.load(std::memory_order_relaxed)) {
        if (held > 0) shared_.admitted.notify_all();  // this one may wait while what it gave back lets another in
        shared_.admitted.wait_for(lock, Milliseconds(100));
      }
      --waiting_;
      if (shared_.closing || cancel.load(std::memory_order_relaxed)) {
        shared_.admitted.notify_all();
        return false;
      }
      used_ += bytes;
      return true;
    }

   private:
    Shared& shared_;
    uint64_t limit_, used_ = 0;
    int waiting_ = 0;
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
  try {
    threads_.reserve(static_cast<size_t>(threads));
    for (int i = 0; i < threads; ++i) {
      {
        std::lock_guard<std::mutex> lock(shared_->mutex);
        ++shared_->living;
      }
      threads_.emplace_back(&Pool::work, shared_, i);
    }
  } catch (const std::exception&) {
    {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      --shared_->living;
    }
    const size_t started = threads_.size();
    close(1000);
    throw std::runtime_error("expected " + std::to_string(threads) + " threads, found the system giving " +
                             std::to_string(started));
  }
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
  if (plan.fixed()) {
    job->buffer =
        shared_->provider->take(plan.image_bytes(plan.size) * static_cast<size_t>(std::max(job->rows, job->capacity)));
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
  auto settled = [&] {
    return job.done() || shared_->closing || (!shared_->referrals.empty() && shared_->parties == 0);
  };
  if (!shared_->finished.wait_for(lock, Milliseconds(timeout_ms), settled)) return Wait::timeout;
  if (job.done()) return Wait::done;
  return shared_->closing ? Wait::closed : Wait::referral;
}

void Pool::cancel(Job& job) {
  job.cancelled.store(true, std::memory_order_relaxed);
  // What is taken out here dies after the mutex is free: a referral gives memory back, which takes the mutex.
  std::shared_ptr<Job> untaken_job;
  std::vector<Referral> unanswered;
  std::lock_guard<std::mutex> lock(shared_->mutex);
  int untaken = 0;
  for (auto it = shared_->jobs.begin(); it != shared_->jobs.end(); ++it) {
    if (it->get() != &job) continue;
    for (; job.next_ < job.inputs.size(); ++job.next_, ++untaken) job.results[job.next_].outcome = Outcome::cancelled;
    untaken_job = std::move(*it);
    shared_->jobs.erase(it);
    break;
  }
  std::deque<Referral> others;
  for (Referral& referral : shared_->referrals) {
    if (referral.job.get() == &job) {
      job.results[referral.row].outcome = Outcome::cancelled;
      unanswered.push_back(std::move(referral));
      ++untaken;
    } else {
      others.push_back(std::move(referral));
    }
  }
  shared_->referrals.swap(others);
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
    process_pixels(*job.plan, rows, upright, stride, job.inputs[referral.row].affines, job.key(referral.row),
                   job.slot(referral.row), *shared_->provider, scratch, job.cancelled, result);
  }
  scratch.trim();
  referral.holding = Holding();
  shared_->finish(job);
}

bool Pool::return_affines(Referral& referral, std::vector<Affine> affines, Scratch& scratch) {
  Job& job = *referral.job;
  ItemResult& result = job.results[referral.row];
  Input& input = job.inputs[referral.row];
  input.affines = std::move(affines);
  result.asked = Size{};
  if (job.cancelled.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
  } else {
    Input again = input;
    if (input.kind == Input::Kind::path) {  // the bytes were read: they came with the referral
      again.kind = Input::Kind::bytes;
      again.data = referral.encoded.data();
      again.size = referral.encoded.size();
    }
    // What the item holds stays with the referral. To wait for more here could be for ever: the memory may be held by
    // referrals that wait for the very thread that waits.
    Holding unlimited;
    process_input(*job.plan, again, job.key(referral.row), job.slot(referral.row), *shared_->provider, unlimited,
                  scratch, job.cancelled, result);
  }
  scratch.trim();
  if (result.outcome == Outcome::referee) return false;
  referral.holding = Holding();
  shared_->finish(job);
  return true;
}

void Pool::return_failure(Referral& referral, Problem problem) {
  ItemResult& result = referral.job->results[referral.row];
  result.outcome = Outcome::failed;
  result.problem = std::move(problem);
  referral.holding = Holding();
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
  std::deque<std::shared_ptr<Job>> jobs;  // as in cancel(): these die after the mutex is free
  std::deque<Referral> referrals;
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->closing = true;
  for (const auto& job : shared_->jobs) job->cancelled.store(true, std::memory_order_relaxed);
  for (WorkerState& worker : shared_->workers) {
    std::lock_guard<std::mutex> guard(worker.mutex);
    if (worker.job) worker.job->cancelled.store(true, std::memory_order_relaxed);
  }
  jobs.swap(shared_->jobs);
  referrals.swap(shared_->referrals);
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
  shared_->provider->close();
  return stuck;
}

// Hands a ticket on to whoever answers referrals. False: nobody will, and the ticket has its outcome.
bool Pool::refer(Shared& shared, const std::shared_ptr<Job>& job, size_t row, Scratch& scratch, Holding& holding) {
  ItemResult& result = job->results[row];
  try {
    Referral referral;
    referral.job = job;
    referral.row = row;
    referral.encoded = std::move(scratch.encoded);
    referral.holding = std::move(holding);
    std::lock_guard<std::mutex> lock(shared.mutex);
    if (job->cancelled.load(std::memory_order_relaxed) || shared.closing) {
      result.outcome = Outcome::cancelled;
      std::swap(holding, referral.holding);  // gives back when the mutex is free
      return false;
    }
    shared.referrals.push_back(std::move(referral));
    if (shared.parties == 0) shared.finished.notify_all();
    shared.referred.notify_one();
    return true;
  } catch (const std::bad_alloc&) {
    fail_for_memory(result, Stage::decode);
    return false;
  }
}

void Pool::work(std::shared_ptr<Shared> shared, int worker_index) {
  WorkerState& state = shared->workers[static_cast<size_t>(worker_index)];
  Scratch scratch;
  scratch.decode.keep_heap();
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
    Holding holding(std::shared_ptr<Budget>(shared, &shared->budget));
    if (job->cancelled.load(std::memory_order_relaxed)) {
      result.outcome = Outcome::cancelled;
    } else {
      {
        std::lock_guard<std::mutex> guard(state.mutex);
        state.job = job;
        state.row = row;
      }
      // `result` belongs to the job, whose memory this thread keeps alive; a read fills `scratch`, never the slot.
      process_input(*job->plan, input, job->key(row), job->slot(row), *shared->provider, holding, scratch,
                    job->cancelled, result);
      add(state.read_ns, result.times.read_ns);
      add(state.decode_ns, result.times.decode_ns);
      add(state.transform_ns, result.times.transform_ns);
      add(state.batch_ns, result.times.batch_ns);
      add(state.blocked_ns, result.times.blocked_ns);
      add(state.items, 1);
      std::lock_guard<std::mutex> guard(state.mutex);
      state.job.reset();
    }
    if (result.outcome == Outcome::referee && refer(*shared, job, row, scratch, holding)) {
      lock.lock();
      continue;
    }
    holding = Holding();
    shared->finish(*job);
    job.reset();
    lock.lock();
  }
  --shared->living;
  state.exited.store(true, std::memory_order_release);
  shared->finished.notify_all();
}

}  // namespace penstock
