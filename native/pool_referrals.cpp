// Referrals: what the native side handed on is taken by the other parties, and comes back from them.
#include <cstring>

#include "pool_shared.h"

namespace penstock {

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
  auto any = [&] {
    return shared.closing || !shared.referrals.empty() || !shared.parties_jobs.empty() || shared.group_waits();
  };
  if (!any()) {
    const bool booked = shared.by_parties;
    if (booked) self.begin_idling(shared.more);
    shared.referred.wait_for(lock, shared.until_next_look(timeout_ms), any);
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

// The ticket has its outcome.
void Pool::close_ticket(Referral& referral) {
  referral.holding = Holding();
  shared_->finish(*referral.job);
}

// After the native side went on with a ticket. False: it is still the caller's.
bool Pool::settle(Referral& referral, Scratch& scratch) {
  scratch.trim();
  if (goes_on(*referral.job, referral.row, shared_->place_for(scratch))) return false;
  if (referral.job->results[referral.row].outcome == Outcome::referee) return false;
  close_ticket(referral);
  return true;
}

bool Pool::return_mapped(Referral& referral, const uint8_t* rows, Size size, const Affine& moved,
                         const std::vector<Affine>& affines, Scratch& scratch) {
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
    process_mapped(job.part(row), rows, size, affines, job.key(row), job.target(row), shared_->provider_of(job, row),
                   scratch, job.cancelled, result);
    return settle(referral, scratch);
  }
  close_ticket(referral);
  return true;
}

bool Pool::return_pixels(Referral& referral, const uint8_t* rows, Size upright, ptrdiff_t stride, Scratch& scratch) {
  Job& job = *referral.job;
  ItemResult& result = job.results[referral.row];
  if (job.cancelled.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
  } else {
    process_pixels(job.part(referral.row), rows, upright, stride, job.inputs[referral.row].affines,
                   job.key(referral.row), job.target(referral.row), shared_->provider_of(job, referral.row), scratch,
                   job.cancelled, result);
  }
  return settle(referral, scratch);
}

bool Pool::return_affines(Referral& referral, std::vector<Affine> affines, Scratch& scratch) {
  Job& job = *referral.job;
  ItemResult& result = job.results[referral.row];
  Input& input = job.inputs[referral.row];
  input.affines = std::move(affines);
  result.asked = Size{};
  if (job.cancelled.load(std::memory_order_relaxed)) {
    result.outcome = Outcome::cancelled;
  } else if (!go_on_with_matrices(job, referral.row, input.affines, shared_->place_for(scratch))) {
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
                  shared_->provider_of(job, referral.row), unlimited, scratch, job.cancelled, result);
  }
  return settle(referral, scratch);
}

void Pool::return_failure(Referral& referral, Problem problem) {
  ItemResult& result = referral.job->results[referral.row];
  result.outcome = Outcome::failed;
  result.problem = std::move(problem);
  result.mapping = false;
  result.own.reset();  // what a map was given is not the plan's image, nor of its dtype
  close_ticket(referral);
}

}  // namespace penstock
