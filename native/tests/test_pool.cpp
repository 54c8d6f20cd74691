// The pool under load: every ticket gets one outcome, slots are right, and every way of ending is quick and clean.
#include <chrono>
#include <cstring>
#include <thread>

#include "../pool.h"
#include "check.h"
#include "jpeg_maker.h"

namespace {

using namespace penstock;
using penstock_test::Bytes;

std::shared_ptr<const Plan> small_plan() {
  auto plan = std::make_shared<Plan>();
  Verb verb;
  verb.kind = Verb::Kind::resize;
  verb.height = verb.width = 16;
  plan->verbs = {verb};
  plan->size = {16, 16};
  return plan;
}

std::shared_ptr<Job> job_of(const std::shared_ptr<const Plan>& plan, const std::vector<const Bytes*>& blobs) {
  auto job = std::make_shared<Job>();
  job->plan = plan;
  job->rows = static_cast<int>(blobs.size());
  for (size_t i = 0; i < blobs.size(); ++i) {
    Input input;
    input.kind = Input::Kind::bytes;
    input.data = blobs[i]->data();
    input.size = blobs[i]->size();
    job->inputs.push_back(input);
    job->indices.push_back(i);
  }
  return job;
}

Pool::Wait wait_long(Pool& pool, const Job& job) {
  for (int i = 0; i < 600; ++i) {
    Pool::Wait wait = pool.wait(job, 100);
    if (wait != Pool::Wait::timeout) return wait;
  }
  return Pool::Wait::timeout;
}

void fills_every_slot_with_its_own_item() {
  std::vector<Bytes> images;
  for (int i = 0; i < 24; ++i) images.push_back(penstock_test::make_jpeg(20 + i * 7, 30 + i * 3));
  std::shared_ptr<const Plan> plan = small_plan();
  BufferProvider provider(0);
  Scratch scratch;
  const std::atomic<bool> never{false};
  std::vector<std::vector<uint8_t>> expected;
  for (const Bytes& image : images) {
    Input input;
    input.kind = Input::Kind::bytes;
    input.data = image.data();
    input.size = image.size();
    std::vector<uint8_t> slot(16 * 16 * 3);
    ItemResult result;
    Holding unlimited;
    process_input(*plan, input, {}, slot.data(), provider, unlimited, scratch, never, result);
    CHECK(result.outcome == Outcome::clean);
    expected.push_back(slot);
  }
  for (int threads = 1; threads <= 8; threads += 3) {
    Pool pool(threads, uint64_t{1} << 30, 2);
    for (int round = 0; round < 20; ++round) {
      std::vector<const Bytes*> blobs;
      for (size_t i = 0; i < 24; ++i) blobs.push_back(&images[(i * 5 + static_cast<size_t>(round)) % 24]);
      std::shared_ptr<Job> job = job_of(plan, blobs);
      CHECK(pool.submit(job, true));
      CHECK(wait_long(pool, *job) == Pool::Wait::done);
      for (size_t i = 0; i < 24; ++i) {
        CHECK(job->results[i].outcome == Outcome::clean);
        CHECK(std::memcmp(job->slot(i), expected[(i * 5 + static_cast<size_t>(round)) % 24].data(), 16 * 16 * 3) == 0);
      }
    }
    CHECK(pool.times().items == 480);
    CHECK(pool.close(1000).empty());
  }
}

void hands_on_what_it_cannot_decode() {
  const Bytes good = penstock_test::make_jpeg(40, 40);
  const Bytes odd = {'G', 'I', 'F', '8'};
  std::shared_ptr<const Plan> plan = small_plan();
  Pool pool(2, uint64_t{1} << 20, 2);
  std::shared_ptr<Job> job = job_of(plan, {&good, &odd, &good, &odd});
  CHECK(pool.submit(job, false));
  CHECK(wait_long(pool, *job) == Pool::Wait::referral);
  pool.announce_parties(1);
  std::thread party([&] {
    Scratch scratch;
    std::vector<uint8_t> pixels(8 * 8 * 3, 77);
    for (int answered = 0; answered < 2;) {
      Referral referral;
      std::vector<Referral> taken;
      if (pool.take_referrals(taken, 1, 100) != Pool::Wait::referral) continue;
      referral = std::move(taken[0]);
      if (answered++ == 0) {
        pool.return_pixels(referral, pixels.data(), {8, 8}, 8 * 3, scratch);
      } else {
        pool.return_failure(referral, Problem{Stage::decode, "not an image", "expected an image, found 4 bytes"});
      }
    }
  });
  CHECK(wait_long(pool, *job) == Pool::Wait::done);
  party.join();
  int clean = 0, failed = 0;
  for (const ItemResult& result : job->results) {
    clean += result.outcome == Outcome::clean;
    failed += result.outcome == Outcome::failed;
  }
  CHECK(clean == 3 && failed == 1);
}

void ends_quickly_in_the_middle_of_work() {
  penstock_test::JpegOptions options;
  options.progressive = true;
  const Bytes large = penstock_test::make_jpeg(2000, 2000, options);
  std::shared_ptr<const Plan> plan = small_plan();
  for (int round = 0; round < 3; ++round) {
    auto pool = std::make_unique<Pool>(2, uint64_t{1} << 30, 2);
    std::vector<std::shared_ptr<Job>> jobs;
    for (int i = 0; i < 4; ++i) {
      jobs.push_back(job_of(plan, std::vector<const Bytes*>(16, &large)));
      CHECK(pool->submit(jobs.back(), true));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 * round));
    CHECK(pool->close(60'000).empty());
    int made = 0;  // of seconds of work
    for (const std::shared_ptr<Job>& job : jobs) {
      for (const ItemResult& result : job->results) made += result.outcome == Outcome::clean;
    }
    CHECK(made < 32);
    CHECK(!pool->submit(job_of(plan, {&large}), false));
  }
}

void forgets_a_cancelled_job_and_goes_on() {
  const Bytes good = penstock_test::make_jpeg(300, 300);
  const Bytes odd = {'G', 'I', 'F', '8'};
  std::shared_ptr<const Plan> plan = small_plan();
  Pool pool(2, uint64_t{1} << 30, 2);
  for (int round = 0; round < 20; ++round) {
    std::vector<const Bytes*> blobs(40, &good);
    blobs[3] = blobs[17] = &odd;
    std::shared_ptr<Job> unwanted = job_of(plan, blobs);
    CHECK(pool.submit(unwanted, true));
    std::this_thread::sleep_for(std::chrono::microseconds(300 * round));
    pool.cancel(*unwanted);
    CHECK(wait_long(pool, *unwanted) == Pool::Wait::done);
    std::shared_ptr<Job> wanted = job_of(plan, {&good, &good});
    CHECK(pool.submit(wanted, true));
    CHECK(wait_long(pool, *wanted) == Pool::Wait::done);
    CHECK(wanted->results[1].outcome == Outcome::clean);
  }
}

void recycles_memory_and_outlives_its_pool() {
  const Bytes good = penstock_test::make_jpeg(64, 64);
  std::shared_ptr<const Plan> plan = small_plan();
  std::shared_ptr<Buffer> kept;
  {
    Pool pool(1, uint64_t{1} << 30, 2);
    uint8_t* first = nullptr;
    for (int round = 0; round < 3; ++round) {
      std::shared_ptr<Job> job = job_of(plan, {&good});
      CHECK(pool.submit(job, true));
      CHECK(wait_long(pool, *job) == Pool::Wait::done);
      if (round == 0) first = job->buffer->data;
      if (round == 1) CHECK(job->buffer->data == first);
      if (round == 2) kept = job->buffer;
      CHECK(reinterpret_cast<uintptr_t>(job->buffer->data) % 64 == 0);
      job->buffer.reset();  // as the binding does; the worker may hold the job itself a moment longer
    }
  }
  std::memset(kept->data, 1, kept->bytes);  // the pool is gone, its memory is still ours
}

void waits_for_memory_under_a_small_budget() {
  const Bytes good = penstock_test::make_jpeg(200, 200);
  Pool pool(4, 1, 2);  // nobody fits, so one at a time is let in
  std::shared_ptr<Job> job = job_of(small_plan(), std::vector<const Bytes*>(50, &good));
  CHECK(pool.submit(job, false));
  CHECK(wait_long(pool, *job) == Pool::Wait::done);
  for (const ItemResult& result : job->results) CHECK(result.outcome == Outcome::clean);
}

// A plan of two parts with a map between them: 16 x 16 pixels are asked for, what comes back is scaled to 8 x 8.
std::shared_ptr<const Plan> plan_with_map(bool ragged) {
  auto before = std::make_shared<Plan>(*small_plan());
  before->size = {0, 0};
  before->goes_on = true;
  auto after = std::make_shared<Plan>(*small_plan());
  after->verbs[0].height = after->verbs[0].width = 8;
  after->given = Format{};
  after->size = ragged ? Size{0, 0} : Size{8, 8};
  auto plan = std::make_shared<Plan>(*after);
  plan->verbs.clear();
  plan->given.reset();
  plan->parts = {before, after};
  return plan;
}

// Answers maps with images of the row's own value, until the pool is closed; every `failing`-th row fails. What is not
// as it should be is counted: CHECK is for one thread.
void answer_maps(Pool& pool, int most, size_t failing, std::atomic<int>& answered, std::atomic<int>& wrong) {
  Scratch scratch;
  for (;;) {
    std::vector<Referral> taken;
    const Pool::Wait wait = pool.take_referrals(taken, most, 60'000);
    if (wait == Pool::Wait::closed) return;
    if (wait != Pool::Wait::referral || taken.empty() || taken.size() > static_cast<size_t>(most)) ++wrong;
    for (Referral& referral : taken) {
      const ItemResult& result = referral.job->results[referral.row];
      const bool asked = result.mapping && result.part == 0 && result.own && result.size == Size{16, 16};
      if (!asked) ++wrong;
      ++answered;
      if (failing > 0 && referral.row % failing == 0) {
        pool.return_failure(referral, Problem{Stage::transform, "exception", "expected an image"});
        continue;
      }
      std::memset(result.own->data, static_cast<int>(referral.row), size_t{16} * 16 * 3);  // in its own memory
      if (!pool.return_mapped(referral, result.own->data, {16, 16}, Affine(), {}, scratch)) ++wrong;
    }
  }
}

// Parties that take different numbers, with plenty of memory and with next to none.
void gives_every_map_its_answer() {
  const Bytes image = penstock_test::make_jpeg(60, 40);
  constexpr size_t kRows = 61, kFailing = 7;
  for (uint64_t memory : {uint64_t{1} << 30, uint64_t{1}}) {
    for (bool ragged : {false, true}) {
      Pool pool(3, memory, 2);
      pool.announce_parties(3);
      std::atomic<int> answered{0}, wrong{0};
      std::vector<std::thread> parties;
      for (int most : {1, 8, 3})
        parties.emplace_back([&pool, &answered, &wrong, most] { answer_maps(pool, most, kFailing, answered, wrong); });
      for (int round = 0; round < 5; ++round) {
        std::shared_ptr<Job> job = job_of(plan_with_map(ragged), std::vector<const Bytes*>(kRows, &image));
        CHECK(pool.submit(job, round < 4));
        CHECK(wait_long(pool, *job) == Pool::Wait::done);
        for (size_t row = 0; row < kRows; ++row) {
          const ItemResult& result = job->results[row];
          if (row % kFailing == 0) {
            CHECK(result.outcome == Outcome::failed && !result.own);  // what the map was given is nobody's image
            continue;
          }
          CHECK(result.outcome == Outcome::clean && result.size == (Size{8, 8}));
          const uint8_t* pixels = static_cast<const uint8_t*>(ragged ? result.own->data : job->slot(row));
          CHECK(pixels[0] == row && pixels[8 * 8 * 3 - 1] == row);
        }
      }
      CHECK(answered == 5 * static_cast<int>(kRows) && wrong == 0);
      CHECK(pool.close(1000).empty());
      for (std::thread& party : parties) party.join();
    }
  }
}

// A job that is cancelled while maps of it wait, and while one is answered.
void forgets_maps_of_a_cancelled_job() {
  const Bytes image = penstock_test::make_jpeg(60, 40);
  Pool pool(2, uint64_t{1} << 30, 2);
  pool.announce_parties(1);
  Scratch scratch;
  for (int round = 0; round < 10; ++round) {
    std::shared_ptr<Job> job = job_of(plan_with_map(true), std::vector<const Bytes*>(30, &image));
    CHECK(pool.submit(job, true));
    std::vector<Referral> taken;
    CHECK(pool.take_referrals(taken, 4, 60'000) == Pool::Wait::referral);
    pool.cancel(*job);
    CHECK(!job->done());
    const std::vector<uint8_t> answer(size_t{16} * 16 * 3);
    for (Referral& referral : taken) {
      CHECK(pool.return_mapped(referral, answer.data(), {16, 16}, Affine(), {}, scratch));
    }
    CHECK(wait_long(pool, *job) == Pool::Wait::done);
    for (const ItemResult& result : job->results) CHECK(result.outcome == Outcome::cancelled);
  }
}

}  // namespace

int main() {
  fills_every_slot_with_its_own_item();
  hands_on_what_it_cannot_decode();
  ends_quickly_in_the_middle_of_work();
  forgets_a_cancelled_job_and_goes_on();
  recycles_memory_and_outlives_its_pool();
  waits_for_memory_under_a_small_budget();
  gives_every_map_its_answer();
  forgets_maps_of_a_cancelled_job();
  return penstock_test::report("test_pool");
}
