// Reads that do not come back: given up after their time, their threads replaced, nobody harmed by the late return.
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "../pool.h"
#include "check.h"
#include "jpeg_maker.h"

namespace {

using namespace penstock;
using penstock_test::Bytes;
using Clock = std::chrono::steady_clock;

// Reads from an offset that leaves the remainder kStuck wait until they are let go; kSlow, about kTimeout.
constexpr uint64_t kModulus = 1000, kStuck = 7, kSlow = 8;
constexpr auto kTimeout = std::chrono::milliseconds(40);
constexpr auto kAmple = std::chrono::milliseconds(3000);  // for what is not stuck, on a machine that is busy
std::atomic<bool> let_go{false};
std::atomic<int> waiting{0}, turn{0};

void pause_us(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

void hold_up(uint64_t offset) {
  if (offset % kModulus == kStuck) {
    ++waiting;
    while (!let_go.load()) pause_us(500);
    --waiting;
  } else if (offset % kModulus == kSlow) {
    pause_us(39'000 + (turn++ * 173) % 2'000 + 60'000 * (turn % 3 == 0));
  }
}

}  // namespace

// In place of the C library's: what a file system that has gone looks like from here.
extern "C" ssize_t pread(int number, void* into, size_t size, off_t offset) {
  hold_up(static_cast<uint64_t>(offset));
  return static_cast<ssize_t>(syscall(SYS_pread64, number, into, size, offset));
}

namespace {

// A file with one image at each of many offsets that leave the remainders above, and at even thousands.
class ImageFile {
 public:
  explicit ImageFile(const Bytes& image) : size_(image.size()) {
    std::snprintf(path_, sizeof path_, "/tmp/penstock_stuck_%ld", static_cast<long>(getpid()));
    std::FILE* file = std::fopen(path_, "wb");
    for (uint64_t remainder : {uint64_t{0}, kStuck, kSlow}) {
      std::fseek(file, static_cast<long>(place(remainder)), SEEK_SET);
      std::fwrite(image.data(), 1, image.size(), file);
    }
    std::fclose(file);
  }
  ~ImageFile() { std::remove(path_); }
  Input input(uint64_t remainder) const {
    Input input;
    input.kind = Input::Kind::path;
    input.path = path_;
    input.offset = place(remainder);
    input.length = size_;
    return input;
  }

 private:
  uint64_t place(uint64_t remainder) const {
    return (remainder == 0 ? 0 : remainder - kStuck + 1) * kModulus * 100 + remainder;
  }
  char path_[64];
  uint64_t size_;
};

std::shared_ptr<Job> job_of(const std::vector<Input>& inputs, std::chrono::milliseconds timeout) {
  auto plan = std::make_shared<Plan>();
  Verb verb;
  verb.kind = Verb::Kind::resize;
  verb.height = verb.width = 16;
  plan->verbs = {verb};
  plan->size = {16, 16};
  auto job = std::make_shared<Job>();
  job->plan = plan;
  job->rows = static_cast<int>(inputs.size());
  job->inputs = inputs;
  for (size_t i = 0; i < inputs.size(); ++i) job->indices.push_back(i);
  job->read_timeout_ns = std::chrono::nanoseconds(timeout).count();
  return job;
}

Pool::Wait wait_long(Pool& pool, const Job& job) {
  for (int i = 0; i < 600; ++i) {
    Pool::Wait wait = pool.wait(job, 100);
    if (wait != Pool::Wait::timeout) return wait;
  }
  return Pool::Wait::timeout;
}

void finishes_the_others_and_says_why() {
  const ImageFile file(penstock_test::make_jpeg(100, 120));
  std::vector<Input> inputs(20, file.input(0));
  inputs[0] = inputs[1] = inputs[9] = file.input(kStuck);  // more than there are threads
  Pool pool(2, uint64_t{1} << 30, 2);
  std::shared_ptr<Job> job = job_of(inputs, kAmple);
  CHECK(pool.submit(job, false));
  CHECK(wait_long(pool, *job) == Pool::Wait::done);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool stuck = i == 0 || i == 1 || i == 9;
    CHECK(job->results[i].outcome == (stuck ? Outcome::failed : Outcome::clean));
    if (!stuck) continue;
    CHECK(job->results[i].problem.stage == Stage::read && job->results[i].problem.cause == "timeout");
    CHECK(job->results[i].problem.message ==
          "expected the bytes within 3 s (timeout_s), found the read still going on");
  }
  CHECK(waiting == 3 && pool.threads() == 2);
  const auto start = Clock::now();
  CHECK(pool.close(600'000).size() == 3);  // named, and not waited for
  CHECK(Clock::now() - start < std::chrono::seconds(60));
  let_go = true;
  while (waiting > 0) pause_us(500);
  let_go = false;
}

void gives_back_what_a_stuck_read_held_of_the_budget() {
  const ImageFile file(penstock_test::make_jpeg(200, 200));
  std::vector<Input> inputs(12, file.input(0));
  inputs[3] = file.input(kStuck);
  {
    Pool pool(3, 1, 2);  // nobody fits, so one at a time is let in
    std::shared_ptr<Job> job = job_of(inputs, kAmple);
    CHECK(pool.submit(job, false));
    CHECK(wait_long(pool, *job) == Pool::Wait::done);
    for (size_t i = 0; i < inputs.size(); ++i) {
      CHECK(job->results[i].outcome == (i == 3 ? Outcome::failed : Outcome::clean));
    }
    let_go = true;
    while (waiting > 0) pause_us(500);
    pause_us(20'000);
    std::shared_ptr<Job> next = job_of({file.input(0)}, kAmple);
    CHECK(pool.submit(next, false));
    CHECK(wait_long(pool, *next) == Pool::Wait::done);
    CHECK(pool.times().items == 13);
    CHECK(pool.close(60'000).empty());  // what came back after all is not stuck
  }
  let_go = false;
}

// Reads that return at the very moment at which they are given up: either outcome, always one.
void hands_over_at_the_last_moment() {
  const ImageFile file(penstock_test::make_jpeg(60, 60));
  Pool pool(4, uint64_t{1} << 30, 2);
  int clean = 0, failed = 0;
  for (int round = 0; round < 25; ++round) {
    std::vector<Input> inputs(8, file.input(kSlow));
    std::shared_ptr<Job> job = job_of(inputs, kTimeout);
    CHECK(pool.submit(job, true));
    while (!job->done()) pool.wait(*job, 1);
    for (const ItemResult& result : job->results) {
      clean += result.outcome == Outcome::clean;
      failed += result.outcome == Outcome::failed && result.problem.cause == "timeout";
    }
    std::memset(job->buffer->data, 1, job->buffer->bytes);  // the consumer's now, whoever comes back late
    job->buffer.reset();
  }
  CHECK(clean + failed == 200);
  CHECK(failed > 0);
  pool.close(1000);
}

void refuses_to_leave_threads_behind_without_end() {
  const ImageFile file(penstock_test::make_jpeg(60, 60));
  {
    Pool pool(8, uint64_t{1} << 30, 2);
    std::shared_ptr<Job> job = job_of(std::vector<Input>(90, file.input(kStuck)), kTimeout);
    CHECK(pool.submit(job, false));
    CHECK(wait_long(pool, *job) == Pool::Wait::stranded);
    CHECK(waiting <= 65 + 8);
    pool.cancel(*job);
    pool.close(100);
  }
  let_go = true;
  while (waiting > 0) pause_us(500);
  pause_us(1'000'000);  // until the last of them is gone: the sanitizers look at what is left
}

}  // namespace

int main() {
  finishes_the_others_and_says_why();
  gives_back_what_a_stuck_read_held_of_the_budget();
  hands_over_at_the_last_moment();
  refuses_to_leave_threads_behind_without_end();
  return penstock_test::report("test_stuck_reads");
}
#else
int main() { return 0; }  // no other system is known to let a program stand in for its C library's pread
#endif
