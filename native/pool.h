// The pool: native threads that move tickets from "reserved" to "packed" or "failed"; other parties may take part.
#pragma once

#include <memory>
#include <mutex>

#include "job.h"

namespace penstock {

// A ticket that the native side handed on: some other party decodes `encoded`, or calls the function of a map
// (result.mapping), and returns pixels or a failure.
struct Referral {
  std::shared_ptr<Job> job;
  size_t row = 0;
  ByteBuffer encoded;  // of a path; empty where the input holds the bytes
  Holding holding;     // under the budget until the ticket is closed
};

struct WorkerTimes {
  int64_t read_ns = 0, decode_ns = 0, transform_ns = 0, batch_ns = 0;
  int64_t starved_ns = 0;  // no ticket left and none will come
  int64_t blocked_ns = 0;  // no ticket left because the consumer holds the window; or memory is full
  int64_t items = 0;
};

class Pool {
 public:
  // stranded: too many threads are left behind in system calls, or none is left to work.
  enum class Wait : uint8_t { timeout, done, referral, closed, stranded };

  // Throws std::runtime_error where the system has no thread left to give.
  Pool(int threads, uint64_t max_memory_bytes, size_t keep_buffers);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Reserves the tickets of a job. `more`: further jobs will come once the consumer has taken this window.
  // False: no memory for the batch, or closed.
  bool submit(const std::shared_ptr<Job>& job, bool more);
  // Waits until the job is done, or a referral waits and no party has been announced. Reads that take too long are
  // given up here, in submit() and in take_referrals(): no thread is kept to look for them.
  Wait wait(const Job& job, int timeout_ms);
  // Nobody wants the job any more: tickets not yet taken end at once, those in work end at the next poll.
  void cancel(Job& job);

  // The other parties' side.
  void announce_parties(int count);
  // One referral for Pillow or for matrices, or up to `most` that ask for maps. Those are images that the calling
  // thread makes itself in here (Job::by_parties); or native threads made them, and they are gathered while a batch
  // waits for others as well, because waking a party costs more than a short function.
  Wait take_referrals(std::vector<Referral>& taken, int most, int timeout_ms);
  // False: the ticket is still the caller's, because a map is asked for its image now.
  bool return_pixels(Referral& referral, const uint8_t* rows, Size upright, ptrdiff_t stride, Scratch& scratch);
  // The matrices of the plan's warps, for a referral that asked for them (result.asked): goes on natively, on the
  // calling thread. False: the ticket is still the caller's, because Pillow has to decode these bytes or a map is
  // asked.
  bool return_affines(Referral& referral, std::vector<Affine> affines, Scratch& scratch);
  // What the function of a map answered: rows without gaps, the format of the next part, or nullptr for the image that
  // it was given; `moved` takes the pixels it was given to those; `affines` are of the next part's warps. Goes on
  // natively. False: as above, for the next map.
  bool return_mapped(Referral& referral, const uint8_t* rows, Size size, const Affine& moved,
                     const std::vector<Affine>& affines, Scratch& scratch);
  void return_failure(Referral& referral, Problem problem);

  WorkerTimes times() const;
  int threads() const;
  // Cancels everything, waits for the threads, detaches those that are stuck in a system call: their items' paths.
  // Those whose reads were given up before are not waited for.
  std::vector<std::string> close(int timeout_ms);

 private:
  struct Shared;
  struct Worker;
  struct Party;
  // Tickets on their way.
  static void work(std::shared_ptr<Shared> shared, Worker& worker);
  static void take_tickets(const std::shared_ptr<Shared>& shared, Party& self, std::unique_lock<std::mutex>& lock,
                           std::vector<Referral>& taken, size_t most);
  static bool carry(Shared& shared, Worker& state, const std::shared_ptr<Job>& job, size_t row, Holding& holding,
                    Scratch& scratch);
  // After a part was made: true where a map is asked for its image now, and the ticket has no outcome yet.
  static bool goes_on(Job& job, size_t row, const Workplace& at);
  static bool refer(Shared& shared, const std::shared_ptr<Job>& job, size_t row, Scratch& scratch, Holding& holding);
  // Referrals.
  static Party& party_of(Shared& shared);
  bool settle(Referral& referral, Scratch& scratch);
  void close_ticket(Referral& referral);
  // Threads.
  static void start(const std::shared_ptr<Shared>& shared);
  static void bury(Shared& shared);
  static void give_up_stuck_reads(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_;
  int threads_;
  long owner_pid_;
  bool closed_ = false;
};

}  // namespace penstock
