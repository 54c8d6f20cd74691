#include "pool.h"

#include <unistd.h>

#include <stdexcept>

#include "pool_shared.h"

namespace penstock {

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
    Shared::Jobs& queue = shared_->queue_of(*job);
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
  if (!shared_->finished.wait_for(lock, shared_->until_next_look(timeout_ms), settled)) return Wait::timeout;
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
  Shared::Jobs& queue = shared_->queue_of(job);
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
  shared_->budget.wake();
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
  Shared::Jobs jobs, parties_jobs;  // as in cancel(): these die after the mutex is free
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
  shared_->budget.wake();
  const auto busy = [](const std::unique_ptr<Party>& one) { return one->inside; };
  shared_->finished.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] {
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

}  // namespace penstock
