#include "pool.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace penstock {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr size_t kGathered = 8;     // maps that one wake-up of a party is for
constexpr Milliseconds kGather{5};  // how long a party that was woken for one map waits for more of them

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

const Plan& Job::part(size_t row) const {
  return plan->parts.empty() ? *plan : *plan->parts[static_cast<size_t>(results[row].part)];
}

void* Job::target(size_t row) const {
  const Plan& now = part(row);
  return now.goes_on && !now.in_slot ? nullptr : slot(row);
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
      shared_.referred.notify_all();  // what the maps' images hold may be what it waits for
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

    bool short_of_memory() const { return waiting_ > 0; }  // with the pool's mutex held

   private:
    Shared& shared_;
    uint64_t limit_, used_ = 0;
    int waiting_ = 0;
  };

  Shared(int threads, uint64_t max_memory_bytes, size_t keep_buffers)
      : workers(static_cast<size_t>(threads)),
        provider(std::make_shared<BufferProvider>(keep_buffers)),
        pictures(std::make_shared<BufferProvider>(static_cast<size_t>(threads) * 2 + kGathered)),
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
  // A map waits in `maps`; wakes a party for the first of a group, and when the group is full or nothing follows.
  void ask_for_map(Referral&& referral) {
    maps.push_back(std::move(referral));
    const size_t waiting = maps.size(), group = static_cast<size_t>(gathered);
    if (waiting == 1 || waiting % group == 0 || nothing_follows()) referred.notify_one();
  }
  bool nothing_follows() const { return jobs.empty() || budget.short_of_memory(); }

  std::deque<Referral> referrals;  // for Pillow, and for matrices
  std::deque<Referral> maps;
  int gathered = kGathered;  // maps that a party takes at once
  std::vector<WorkerState> workers;
  std::shared_ptr<BufferProvider> provider, pictures;  // of batches; of images that maps are asked for
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
    return job.done() || shared_->closing ||
           (shared_->parties == 0 && !(shared_->referrals.empty() && shared_->maps.empty()));
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
  for (std::deque<Referral>* waiting : {&shared_->referrals, &shared_->maps}) {
    std::deque<Referral> others;
    for (Referral& referral : *waiting) {
      if (referral.job.get() == &job) {
        job.results[referral.row].outcome = Outcome::cancelled;
        unanswered.push_back(std::move(referral));
        ++untaken;
      } else {
        others.push_back(std::move(referral));
      }
    }
    waiting->swap(others);
  }
  job.remaining.fetch_sub(untaken, std::memory_order_acq_rel);
  shared_->finished.notify_all();
  shared_->admitted.notify_all();
}

void Pool::announce_parties(int count) {
  std::lock_guard<std::mutex> lock(shared_->mutex);
  shared_->parties = count;
}

Pool::Wait Pool::take_referrals(std::vector<Referral>& taken, int most, int timeout_ms) {
  Shared& shared = *shared_;
  std::unique_lock<std::mutex> lock(shared.mutex);
  shared.gathered = std::max(1, most);
  auto take = [&](std::deque<Referral>& waiting) {
    taken.push_back(std::move(waiting.front()));
    waiting.pop_front();
  };
  for (;;) {
    auto any = [&] { return shared.closing || !shared.referrals.empty() || !shared.maps.empty(); };
    if (!shared.referred.wait_for(lock, Milliseconds(timeout_ms), any)) return Wait::timeout;
    auto enough = [&] {
      return shared.closing || !shared.referrals.empty() || shared.maps.size() >= static_cast<size_t>(most) ||
             shared.nothing_follows();
    };
    shared.referred.wait_for(lock, kGather, enough);
    if (shared.closing) return Wait::closed;
    if (!shared.referrals.empty()) {
      take(shared.referrals);
      return Wait::referral;
    }
    while (!shared.maps.empty() && taken.size() < static_cast<size_t>(most)) take(shared.maps);
    if (!taken.empty()) return Wait::referral;  // else another party took them
  }
}

bool Pool::goes_on(Job& job, size_t row) {
  ItemResult& result = job.results[row];
  result.mapping = job.part(row).goes_on && result.outcome <= Outcome::damaged;
  if (result.mapping) result.outcome = Outcome::referee;
  return result.mapping;
}

BufferProvider& Pool::provider_of(const Job& job, size_t row) const {
  return job.part(row).goes_on ? *shared_->pictures : *shared_->provider;
}

bool Pool::return_mapped(Referral& referral, const uint8_t* rows, Size size, const Affine& moved,
                         std::vector<Affine> affines, Scratch& scratch) {
  Job& job = *referral.job;
  const size_t row = referral.row;
  ItemResult& result = job.results[row];
  const Plan& asking = job.part(row);
  const std::shared_ptr<Buffer> given = std::move(result.own);  // alive while `rows` may lie in it
  result.own.reset();
  result.mapping = false;
  result.geometry = compose(result.geometry, moved);
  ++result.part;
  if (job.cancelled.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
  } else if (asking.in_slot && size == job.plan->size) {
    uint8_t* slot = static_cast<uint8_t*>(job.slot(row));
    if (rows != slot) std::memmove(slot, rows, job.plan->image_bytes(size));
    result.outcome = result.damage.empty() ? Outcome::clean : Outcome::damaged;
  } else {
    process_mapped(job.part(row), rows, size, affines, job.key(row), job.target(row), provider_of(job, row), scratch,
                   job.cancelled, result);
    scratch.trim();
    if (goes_on(job, row)) return false;
  }
  referral.holding = Holding();
  shared_->finish(job);
  return true;
}

bool Pool::return_pixels(Referral& referral, const uint8_t* rows, Size upright, ptrdiff_t stride, Scratch& scratch) {
  Job& job = *referral.job;
  ItemResult& result = job.results[referral.row];
  if (job.cancelled.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
  } else {
    process_pixels(job.part(referral.row), rows, upright, stride, job.inputs[referral.row].affines,
                   job.key(referral.row), job.target(referral.row), provider_of(job, referral.row), scratch,
                   job.cancelled, result);
  }
  scratch.trim();
  if (goes_on(job, referral.row)) return false;
  referral.holding = Holding();
  shared_->finish(job);
  return true;
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
    process_input(job.part(referral.row), again, job.key(referral.row), job.target(referral.row),
                  provider_of(job, referral.row), unlimited, scratch, job.cancelled, result);
  }
  scratch.trim();
  if (goes_on(job, referral.row) || result.outcome == Outcome::referee) return false;
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
  std::deque<Referral> referrals, maps;
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->closing = true;
  for (const auto& job : shared_->jobs) job->cancelled.store(true, std::memory_order_relaxed);
  for (WorkerState& worker : shared_->workers) {
    std::lock_guard<std::mutex> guard(worker.mutex);
    if (worker.job) worker.job->cancelled.store(true, std::memory_order_relaxed);
  }
  jobs.swap(shared_->jobs);
  referrals.swap(shared_->referrals);
  maps.swap(shared_->maps);
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
  shared_->pictures->close();
  return stuck;
}

// Hands a ticket on to whoever answers referrals. False: nobody will, and the ticket has its outcome.
bool Pool::refer(Shared& shared, const std::shared_ptr<Job>& job, size_t row, Scratch& scratch, Holding& holding) {
  ItemResult& result = job->results[row];
  try {
    Referral referral;
    referral.job = job;
    referral.row = row;
    if (!result.mapping) referral.encoded = std::move(scratch.encoded);
    referral.holding = std::move(holding);
    std::lock_guard<std::mutex> lock(shared.mutex);
    if (job->cancelled.load(std::memory_order_relaxed) || shared.closing) {
      result.outcome = Outcome::cancelled;
      std::swap(holding, referral.holding);  // gives back when the mutex is free
      return false;
    }
    if (shared.parties == 0) shared.finished.notify_all();
    if (result.mapping) {
      shared.ask_for_map(std::move(referral));
    } else {
      shared.referrals.push_back(std::move(referral));
      shared.referred.notify_one();
    }
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
      const Plan& part = job->part(row);
      process_input(part, input, job->key(row), job->target(row), part.goes_on ? *shared->pictures : *shared->provider,
                    holding, scratch, job->cancelled, result);
      if (goes_on(*job, row)) {  // what is held from now on is the image alone
        const uint64_t bytes = part.in_slot ? 0 : part.image_bytes(result.size);
        if (!holding.take(bytes, job->cancelled)) result.outcome = Outcome::cancelled;
      }
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
