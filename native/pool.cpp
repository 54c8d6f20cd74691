#include "pool.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace penstock {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr size_t kGathered = 8;  // maps that one wake-up of a party is for
// Images in memory of their own that a Python thread makes before it calls the function: so much is in the core's cache
// still when the next part reads it.
constexpr size_t kGatheredBytes = size_t{400} << 10;
constexpr int kMostLeftBehind = 64;  // threads that may be stuck in reads that were given up
constexpr int kLookMs = 100;         // between two looks for such reads

void add(std::atomic<int64_t>& total, int64_t value) {
  total.store(total.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

Problem timed_out(int64_t timeout_ns) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%g", static_cast<double>(timeout_ns) / 1e9);
  return {Stage::read, "timeout",
          std::string("expected the bytes within ") + seconds + " s (timeout_s), found the read still going on"};
}

}  // namespace

// One thread and its running totals, which that thread writes and anyone reads at any time.
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

  void add_to(WorkerTimes& sum) const {
    sum.read_ns += read_ns.load(std::memory_order_relaxed);
    sum.decode_ns += decode_ns.load(std::memory_order_relaxed);
    sum.transform_ns += transform_ns.load(std::memory_order_relaxed);
    sum.batch_ns += batch_ns.load(std::memory_order_relaxed);
    sum.starved_ns += starved_ns.load(std::memory_order_relaxed);
    sum.blocked_ns += blocked_ns.load(std::memory_order_relaxed);
    sum.items += items.load(std::memory_order_relaxed);
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
  // Both with the pool's mutex held.
  void begin_idling(bool blocked) {
    idle_since.store(now_ns(), std::memory_order_relaxed);
    idle_blocked = blocked;
  }
  void end_idling() {
    const int64_t since = idle_since.exchange(0, std::memory_order_relaxed);
    if (since > 0) add(idle_blocked ? blocked_ns : starved_ns, now_ns() - since);
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

namespace {

constexpr size_t kViewAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kViewAlignment - 1) / kViewAlignment * kViewAlignment; }

}  // namespace

void* Job::slot(size_t row) const {
  if (!buffer) return nullptr;
  return buffer->data + row * (plan->views.empty() ? plan->image_bytes(plan->size) : plan->views[0].row_bytes());
}

size_t Job::batch_bytes() const {
  const size_t most = static_cast<size_t>(std::max(rows, capacity));
  if (plan->views.empty()) return plan->image_bytes(plan->size) * most;
  size_t bytes = 0;
  for (const View& each : plan->views) bytes += aligned(each.row_bytes() * most);
  return bytes;
}

uint8_t* Job::view(size_t number) const {
  const size_t most = static_cast<size_t>(std::max(rows, capacity));
  uint8_t* data = buffer->data;
  for (size_t before = 0; before < number; ++before) data += aligned(plan->views[before].row_bytes() * most);
  return data;
}

const Plan& Job::part(size_t row) const {
  return plan->parts.empty() ? *plan : *plan->parts[static_cast<size_t>(results[row].part)];
}

Target Job::target(size_t row) const {
  const Plan& now = part(row);
  Target made(now.goes_on && !now.in_slot ? nullptr : slot(row));
  for (size_t number = 0; number < plan->views.size(); ++number) {
    const View& each = plan->views[number];
    uint8_t* first = view(number) + row * each.row_bytes();
    for (int copy = 0; copy < each.copies; ++copy) {
      made.copies.push_back(first + static_cast<size_t>(copy) * each.plan->image_bytes(each.plan->size));
    }
  }
  return made;
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

    // Without waiting, whatever the limit says.
    void overdraw(uint64_t held, uint64_t bytes) {
      std::lock_guard<std::mutex> lock(shared_.mutex);
      used_ = used_ - held + bytes;
      if (held > bytes && waiting_ > 0) shared_.admitted.notify_all();
    }
    // Both with the pool's mutex held.
    bool short_of_memory() const { return waiting_ > 0; }
    bool has_room() const { return waiting_ == 0 && used_ < limit_ / 4; }

   private:
    Shared& shared_;
    uint64_t limit_, used_ = 0;
    int waiting_ = 0;
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

  Shared(int threads, uint64_t max_memory_bytes, size_t keep_buffers)
      : provider(std::make_shared<BufferProvider>(keep_buffers)),
        pictures(std::make_shared<BufferProvider>(static_cast<size_t>(threads) * 2 + kGathered)),
        budget(*this, max_memory_bytes),
        overdraft(budget) {}

  void finish(Job& job) {
    const int left = job.remaining.fetch_sub(1) - 1;
    if (left > 0 && left != job.asking.load()) return;
    std::lock_guard<std::mutex> lock(mutex);  // so that a waiter cannot miss it between its check and its sleep
    if (left == 0) finished.notify_all();
    if (left > 0) referred.notify_one();
  }

  mutable std::mutex mutex;
  std::condition_variable work;                   // a ticket to take
  std::condition_variable finished;               // a job done, a referral made, a thread gone
  std::condition_variable referred;               // a referral to take
  std::condition_variable admitted;               // room under the budget
  std::deque<std::shared_ptr<Job>> jobs;          // whose tickets native threads take
  std::deque<std::shared_ptr<Job>> parties_jobs;  // whose tickets the Python threads take
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
};

Pool::Pool(int threads, uint64_t max_memory_bytes, size_t keep_buffers)
    : shared_(std::make_shared<Shared>(threads, max_memory_bytes, keep_buffers)),
      threads_(threads),
      owner_pid_(getpid()) {
  int started = 0;
  try {
    for (; started < threads; ++started) {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      start(shared_);
    }
  } catch (const std::exception&) {
    close(1000);
    throw std::runtime_error("expected " + std::to_string(threads) + " threads, found the system giving " +
                             std::to_string(started));
  }
}

Pool::~Pool() {
  if (getpid() != owner_pid_) {
    // A forked child: the threads and whoever held the mutex stayed behind, so nothing of theirs may be touched.
    new std::shared_ptr<Shared>(std::move(shared_));
    return;
  }
  close(1000);
}

int Pool::threads() const { return threads_; }

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
      add(worker.items, 1);
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

bool Pool::submit(const std::shared_ptr<Job>& job, bool more) {
  give_up_stuck_reads(shared_);
  const Plan& plan = *job->plan;
  if (plan.fixed()) {
    job->buffer = shared_->provider->take(job->batch_bytes());
    if (!job->buffer) return false;
  }
  job->results.resize(job->inputs.size());
  if (job->cache) job->tickets.resize(job->inputs.size());
  job->remaining.store(static_cast<int>(job->inputs.size()), std::memory_order_release);
  {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    if (shared_->closing) return false;
    shared_->more = more;
    if (job->read_timeout_ns > 0) shared_->watching = true;
    shared_->by_parties = job->by_parties;
    std::deque<std::shared_ptr<Job>>& queue = job->by_parties ? shared_->parties_jobs : shared_->jobs;
    if (!job->inputs.empty()) queue.insert(job->urgent ? queue.begin() : queue.end(), job);
  }
  (job->by_parties ? shared_->referred : shared_->work).notify_all();
  return true;
}

Pool::Wait Pool::wait(const Job& job, int timeout_ms) {
  if (job.done()) return Wait::done;
  give_up_stuck_reads(shared_);
  std::unique_lock<std::mutex> lock(shared_->mutex);
  auto settled = [&] {
    return job.done() || shared_->closing || shared_->stranded ||
           (shared_->parties == 0 &&
            !(shared_->referrals.empty() && shared_->maps.empty() && shared_->parties_jobs.empty()));
  };
  if (shared_->watching) timeout_ms = std::min(timeout_ms, kLookMs);
  if (!shared_->finished.wait_for(lock, Milliseconds(timeout_ms), settled)) return Wait::timeout;
  if (job.done()) return Wait::done;
  if (shared_->stranded) return Wait::stranded;
  return shared_->closing ? Wait::closed : Wait::referral;
}

void Pool::cancel(Job& job) {
  job.cancelled.store(true, std::memory_order_relaxed);
  // What is taken out here dies after the mutex is free: a referral gives memory back, which takes the mutex.
  std::shared_ptr<Job> untaken_job;
  std::vector<Referral> unanswered;
  std::lock_guard<std::mutex> lock(shared_->mutex);
  int untaken = 0;
  std::deque<std::shared_ptr<Job>>& queue = job.by_parties ? shared_->parties_jobs : shared_->jobs;
  for (auto it = queue.begin(); it != queue.end(); ++it) {
    if (it->get() != &job) continue;
    for (; job.next_ < job.inputs.size(); ++job.next_, ++untaken) job.results[job.next_].outcome = Outcome::cancelled;
    untaken_job = std::move(*it);
    queue.erase(it);
    break;
  }
  for (std::deque<Referral>* waiting : {&shared_->referrals, &shared_->maps}) {
    std::deque<Referral> others;
    for (Referral& referral : *waiting) {
      if (referral.job.get() == &job) {
        job.results[referral.row].outcome = Outcome::cancelled;
        unanswered.push_back(std::move(referral));
        ++untaken;
        if (waiting == &shared_->maps) job.asking.fetch_sub(1);
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
  give_up_stuck_reads(shared_);
  std::unique_lock<std::mutex> lock(shared.mutex);
  Party& self = party_of(shared);
  shared.gathered = std::max(1, most);
  if (shared.watching) timeout_ms = std::min(timeout_ms, kLookMs);
  auto any = [&] {
    return shared.closing || !shared.referrals.empty() || !shared.parties_jobs.empty() || shared.group_waits();
  };
  if (!any()) {
    const bool booked = shared.by_parties;
    if (booked) self.begin_idling(shared.more);
    shared.referred.wait_for(lock, Milliseconds(timeout_ms), any);
    if (booked) self.end_idling();
  }
  if (shared.closing) return Wait::closed;
  auto take = [&](std::deque<Referral>& waiting) {
    taken.push_back(std::move(waiting.front()));
    waiting.pop_front();
  };
  if (!shared.referrals.empty()) {
    take(shared.referrals);
  } else if (shared.group_waits()) {
    while (!shared.maps.empty() && taken.size() < static_cast<size_t>(std::max(1, most))) {
      shared.maps.front().job->asking.fetch_sub(1);
      take(shared.maps);
    }
  } else {
    take_tickets(shared_, self, lock, taken, static_cast<size_t>(std::max(1, most)));
    if (shared.closing) return Wait::closed;
    return taken.empty() ? Wait::timeout : Wait::referral;
  }
  // This party was woken for what it leaves as well, and may be long in coming back.
  if (!taken.empty() && (!shared.referrals.empty() || shared.group_waits())) shared.referred.notify_one();
  return taken.empty() ? Wait::timeout : Wait::referral;
}

// The calling thread's own, made when it comes for the first time; the pool's mutex is held.
Pool::Party& Pool::party_of(Shared& shared) {
  const std::thread::id id = std::this_thread::get_id();
  for (const std::unique_ptr<Party>& one : shared.party) {
    if (one->id == id) return *one;
  }
  shared.party.push_back(std::make_unique<Party>());
  shared.party.back()->id = id;
  shared.party.back()->scratch.decode.keep_heap();
  return *shared.party.back();
}

// Makes images up to their maps on the calling thread, which will call the function itself: nothing is handed over and
// nobody is woken. Images of one batch are gathered, as long as memory is plentiful.
void Pool::take_tickets(const std::shared_ptr<Shared>& shared, Party& self, std::unique_lock<std::mutex>& lock,
                        std::vector<Referral>& taken, size_t most) {
  self.inside = true;
  size_t gathered_bytes = 0;
  while (taken.size() < most && gathered_bytes < kGatheredBytes && !shared->parties_jobs.empty() && !shared->closing &&
         shared->referrals.empty()) {
    if (!taken.empty() && (shared->parties_jobs.front() != taken[0].job || !shared->budget.has_room())) break;
    std::shared_ptr<Job> job = shared->parties_jobs.front();
    const size_t row = job->next_++;
    if (job->next_ == job->inputs.size()) shared->parties_jobs.pop_front();
    lock.unlock();
    Budget* budget = &shared->budget;
    if (!taken.empty()) budget = &shared->overdraft;
    Holding holding(std::shared_ptr<Budget>(shared, budget));
    ItemResult& result = job->results[row];
    carry(*shared, self, job, row, holding, self.scratch);
    if (result.outcome == Outcome::referee && result.mapping) {
      if (result.own) gathered_bytes += job->part(row).image_bytes(result.size);
      taken.push_back({std::move(job), row, {}, std::move(holding)});
    } else if (result.outcome != Outcome::referee || !refer(*shared, job, row, self.scratch, holding)) {
      holding = Holding();
      shared->finish(*job);
    }
    job.reset();  // with the mutex free: it may be the last to hold the batch
    lock.lock();
  }
  self.inside = false;
  if (shared->closing) shared->finished.notify_all();
}

bool Pool::goes_on(Job& job, size_t row, const Workplace& at) {
  ItemResult& result = job.results[row];
  pass_cache(job, row, at);
  result.mapping = job.part(row).goes_on && result.outcome <= Outcome::damaged;
  if (result.mapping) result.outcome = Outcome::referee;
  return result.mapping;
}

Workplace Pool::place_for(Scratch& scratch) const { return {*shared_->provider, *shared_->pictures, scratch}; }

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
  if (rows == nullptr) rows = asking.in_slot ? static_cast<const uint8_t*>(job.slot(row)) : given->data;
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
    if (goes_on(job, row, place_for(scratch)) || result.outcome == Outcome::referee) return false;
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
  if (goes_on(job, referral.row, place_for(scratch)) || result.outcome == Outcome::referee) return false;
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
  } else if (!go_on_with_matrices(job, referral.row, input.affines, place_for(scratch))) {
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
  if (goes_on(job, referral.row, place_for(scratch)) || result.outcome == Outcome::referee) return false;
  referral.holding = Holding();
  shared_->finish(job);
  return true;
}

void Pool::return_failure(Referral& referral, Problem problem) {
  ItemResult& result = referral.job->results[referral.row];
  result.outcome = Outcome::failed;
  result.problem = std::move(problem);
  result.mapping = false;
  result.own.reset();  // what a map was given is not the plan's image, nor of its dtype
  referral.holding = Holding();
  shared_->finish(*referral.job);
}

WorkerTimes Pool::times() const {
  // A thread books its wait under the mutex: it is counted once, and under the name it will keep.
  std::lock_guard<std::mutex> lock(shared_->mutex);
  WorkerTimes sum = shared_->past;
  int64_t now = now_ns();
  const auto book = [&](const Worker& worker) {
    worker.add_to(sum);
    const int64_t since = worker.idle_since.load(std::memory_order_relaxed);
    if (since > 0 && now > since) (worker.idle_blocked ? sum.blocked_ns : sum.starved_ns) += now - since;
  };
  for (const std::unique_ptr<Worker>& worker : shared_->workers) book(*worker);
  for (const std::unique_ptr<Party>& one : shared_->party) book(*one);
  return sum;
}

std::vector<std::string> Pool::close(int timeout_ms) {
  std::vector<std::string> stuck;
  if (closed_ || getpid() != owner_pid_) return stuck;
  closed_ = true;
  std::deque<std::shared_ptr<Job>> jobs, parties_jobs;  // as in cancel(): these die after the mutex is free
  std::deque<Referral> referrals, maps;
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->closing = true;
  for (const auto* queue : {&shared_->jobs, &shared_->parties_jobs}) {
    for (const auto& job : *queue) job->cancelled.store(true, std::memory_order_relaxed);
  }
  const auto stop = [](const Worker& worker) {
    std::lock_guard<std::mutex> guard(worker.mutex);
    if (worker.job) worker.job->cancelled.store(true, std::memory_order_relaxed);
  };
  for (const std::unique_ptr<Worker>& worker : shared_->workers) stop(*worker);
  for (const std::unique_ptr<Party>& one : shared_->party) stop(*one);
  jobs.swap(shared_->jobs);
  parties_jobs.swap(shared_->parties_jobs);
  referrals.swap(shared_->referrals);
  maps.swap(shared_->maps);
  shared_->work.notify_all();
  shared_->finished.notify_all();
  shared_->referred.notify_all();
  shared_->admitted.notify_all();
  const auto busy = [](const std::unique_ptr<Party>& one) { return one->inside; };
  shared_->finished.wait_for(lock, Milliseconds(timeout_ms), [&] {
    return shared_->living == 0 && std::none_of(shared_->party.begin(), shared_->party.end(), busy);
  });
  bury(*shared_);
  for (const std::unique_ptr<Party>& one : shared_->party) {  // it ends by itself when its read comes back
    std::lock_guard<std::mutex> guard(one->mutex);
    if (one->inside && one->job) stuck.push_back(one->job->inputs[one->row].path);
  }
  for (const std::unique_ptr<Worker>& worker : shared_->workers) {
    std::lock_guard<std::mutex> guard(worker->mutex);
    stuck.push_back(worker->job ? worker->job->inputs[worker->row].path : worker->path);
    worker->thread.detach();
  }
  lock.unlock();
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

// One ticket to its outcome, or to where somebody else has to go on. False: it was taken away meanwhile.
bool Pool::carry(Shared& shared, Worker& state, const std::shared_ptr<Job>& job, size_t row, Holding& holding,
                 Scratch& scratch) {
  ItemResult& result = job->results[row];
  if (job->cancelled.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
    return true;
  }
  state.take(job, row, holding);
  scratch.watch = job->read_timeout_ns > 0 ? &state : nullptr;
  // `result` belongs to the job, whose memory this thread keeps alive; a read fills `scratch`, never the slot.
  const Workplace at{*shared.provider, *shared.pictures, scratch};
  process_ticket(*job, row, holding, at);
  if (!state.put_down()) return false;
  if (goes_on(*job, row, at)) {  // what is held from now on is the image alone
    const Plan& part = job->part(row);
    const uint64_t bytes = part.in_slot ? 0 : part.image_bytes(result.size);
    if (!holding.take(bytes, job->cancelled)) result.outcome = Outcome::cancelled;
  }
  add(state.read_ns, result.times.read_ns);
  add(state.decode_ns, result.times.decode_ns);
  add(state.transform_ns, result.times.transform_ns);
  add(state.batch_ns, result.times.batch_ns);
  add(state.blocked_ns, result.times.blocked_ns);
  add(state.items, 1);
  return true;
}

void Pool::work(std::shared_ptr<Shared> shared, Worker& state) {
  Scratch scratch;
  scratch.decode.keep_heap();
  std::unique_lock<std::mutex> lock(shared->mutex);
  for (;;) {
    if (shared->jobs.empty() && !shared->closing) {
      if (!shared->by_parties) state.begin_idling(shared->more);
      shared->work.wait(lock, [&] { return shared->closing || !shared->jobs.empty(); });
      state.end_idling();
    }
    if (shared->closing) break;
    std::shared_ptr<Job> job = shared->jobs.front();
    size_t row = job->next_++;
    if (job->next_ == job->inputs.size()) shared->jobs.pop_front();
    lock.unlock();

    ItemResult& result = job->results[row];
    Holding holding(std::shared_ptr<Budget>(shared, &shared->budget));
    if (!carry(*shared, state, job, row, holding, scratch)) {  // given up; another thread has taken this one's place
      job.reset();
      lock.lock();
      --shared->left_behind;
      break;
    }
    if (result.outcome == Outcome::referee && refer(*shared, job, row, scratch, holding)) {
      job.reset();  // with the mutex free: it may be the last to hold the batch
      lock.lock();
      continue;
    }
    holding = Holding();
    shared->finish(*job);
    job.reset();
    lock.lock();
  }
  if (!state.dismissed) --shared->living;
  state.exited.store(true, std::memory_order_release);
  shared->finished.notify_all();
}

}  // namespace penstock
