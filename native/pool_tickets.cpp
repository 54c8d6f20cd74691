// Tickets on their way: who takes them, carries them to their outcome, or hands them on.
#include "pool_shared.h"

namespace penstock {
namespace {

// Images in memory of their own that a Python thread makes before it calls the function: so much is in the core's cache
// still when the next part reads it.
constexpr size_t kGatheredBytes = size_t{400} << 10;

}  // namespace

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
    auto [job, row] = Shared::take_ticket(shared->jobs);
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

// Makes images up to their maps on the calling thread, which will call the function itself: nothing is handed over and
// nobody is woken. Images of one batch are gathered, as long as memory is plentiful.
void Pool::take_tickets(const std::shared_ptr<Shared>& shared, Party& self, std::unique_lock<std::mutex>& lock,
                        std::vector<Referral>& taken, size_t most) {
  self.inside = true;
  size_t gathered_bytes = 0;
  while (taken.size() < most && gathered_bytes < kGatheredBytes && !shared->parties_jobs.empty() && !shared->closing &&
         shared->referrals.empty()) {
    if (!taken.empty() && (shared->parties_jobs.front() != taken[0].job || !shared->budget.has_room())) break;
    auto [job, row] = Shared::take_ticket(shared->parties_jobs);
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
  const Workplace at = shared.place_for(scratch);
  process_ticket(*job, row, holding, at);
  if (!state.put_down()) return false;
  if (goes_on(*job, row, at)) {  // what is held from now on is the image alone
    const Plan& part = job->part(row);
    const uint64_t bytes = part.in_slot ? 0 : part.image_bytes(result.size);
    if (!holding.take(bytes, job->cancelled)) result.outcome = Outcome::cancelled;
  }
  state.book(result.times);
  return true;
}

bool Pool::goes_on(Job& job, size_t row, const Workplace& at) {
  ItemResult& result = job.results[row];
  pass_cache(job, row, at);
  result.mapping = job.part(row).goes_on && result.outcome <= Outcome::damaged;
  if (result.mapping) result.outcome = Outcome::referee;
  return result.mapping;
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

}  // namespace penstock
