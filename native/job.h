// A batch on its way through the engine, and where in its memory each row is made.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "cached.h"
#include "item.h"

namespace penstock {

class Pool;

// One batch on its way: a ticket a row, and the memory the rows are packed into.
// Fields below "outcome" are written by whoever holds a ticket and read once remaining() is 0.
class Job : public std::enable_shared_from_this<Job> {
 public:
  std::shared_ptr<const Plan> plan;
  std::vector<Input> inputs;      // one a ticket
  std::vector<uint64_t> indices;  // source index of each ticket: part of the key of its draws
  uint64_t seed = 0, epoch = 0;
  int rows = 0;                    // of the batch; tickets fill the first inputs.size() of them
  bool urgent = false;             // taken before what waits already: the consumer stands still for it
  bool by_parties = false;         // its tickets are taken by the threads that answer referrals
  int64_t read_timeout_ns = 0;     // a read that takes longer is given up; 0: never
  int capacity = 0;                // rows the memory is taken for: a short last batch recycles a full one's
  std::shared_ptr<Buffer> buffer;  // nullptr: ragged

  std::shared_ptr<const Caching> cache;  // nullptr: the line has none

  std::vector<ItemResult> results;    // outcome
  std::vector<CachedTicket> tickets;  // where there is a cache
  std::atomic<bool> cancelled{false};
  std::atomic<int> remaining{0};
  std::atomic<int> asking{0};  // of those: images that wait for a map's function

  bool done() const { return remaining.load(std::memory_order_acquire) == 0; }
  void* slot(size_t row) const;
  // The memory of a full batch; where the plan has views theirs lie in it one after the other, each aligned.
  size_t batch_bytes() const;
  uint8_t* view(size_t number) const;
  // The part of the plan that a row is in (the plan itself where it has no parts), and where that part's image is made:
  // a slot, or nullptr for memory of its own.
  const Plan& part(size_t row) const;
  Target target(size_t row) const;
  DrawKey key(size_t row) const { return {seed, epoch, indices[row]}; }

 private:
  friend class Pool;
  size_t next_ = 0;  // first ticket that no thread has taken; guarded by the pool's mutex
};

}  // namespace penstock
