// Several views from one decode: every copy is what its own plan makes alone, with the draws of its own.
#include <cstring>
#include <thread>

#include "../pool.h"
#include "../tee.h"
#include "check.h"
#include "jpeg_maker.h"

namespace {

using namespace penstock;
using penstock_test::Bytes;

std::shared_ptr<Plan> cropping_plan(int side, double most) {
  auto plan = std::make_shared<Plan>();
  Verb crop;
  crop.kind = Verb::Kind::random_resized_crop;
  crop.height = crop.width = side;
  crop.p = {0.02, most, 0.75, 4.0 / 3.0};
  Verb flip;
  flip.kind = Verb::Kind::random_horizontal_flip;
  flip.p = {0.5};
  flip.ordinal = 1;
  plan->verbs = {crop, flip};
  plan->size = {side, side};
  return plan;
}

std::shared_ptr<Plan> plan_with_views(double most) {
  const std::shared_ptr<Plan> large = cropping_plan(24, most), small = cropping_plan(9, most / 2);
  auto plan = std::make_shared<Plan>(*large);
  plan->views = {{large, 2}, {small, 3}};
  return plan;
}

std::shared_ptr<Job> job_of(const std::shared_ptr<const Plan>& plan, const std::vector<Bytes>& blobs) {
  auto job = std::make_shared<Job>();
  job->plan = plan;
  job->rows = static_cast<int>(blobs.size());
  job->capacity = job->rows + 2;
  for (size_t i = 0; i < blobs.size(); ++i) {
    Input input;
    input.kind = Input::Kind::bytes;
    input.data = blobs[i].data();
    input.size = blobs[i].size();
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

using Alone = void (*)(const Plan& plan, const Bytes& bytes, const DrawKey& key, void* slot, Scratch& scratch,
                       ItemResult& result);

void decode_alone(const Plan& plan, const Bytes& bytes, const DrawKey& key, void* slot, Scratch& scratch,
                  ItemResult& result) {
  BufferProvider provider(0);
  const std::atomic<bool> never{false};
  Holding unlimited;
  Input input;
  input.kind = Input::Kind::bytes;
  input.data = bytes.data();
  input.size = bytes.size();
  process_input(plan, input, key, slot, provider, unlimited, scratch, never, result);
}

// Holds a finished row against what each copy's plan makes on its own.
void check_row(const Job& job, size_t row, const Bytes& bytes, Alone alone) {
  CHECK(job.results[row].outcome == Outcome::clean);
  Scratch scratch;
  uint64_t number = 0;
  for (size_t v = 0; v < job.plan->views.size(); ++v) {
    const View& view = job.plan->views[v];
    const size_t bytes_each = view.plan->image_bytes(view.plan->size);
    CHECK(reinterpret_cast<uintptr_t>(job.view(v)) % 64 == 0);
    for (int copy = 0; copy < view.copies; ++copy, ++number) {
      std::vector<uint8_t> expected(bytes_each);
      ItemResult result;
      alone(*view.plan, bytes, job.key(row).of_copy(number), expected.data(), scratch, result);
      const uint8_t* found = job.view(v) + row * view.row_bytes() + static_cast<size_t>(copy) * bytes_each;
      CHECK(result.outcome == Outcome::clean);
      CHECK(std::memcmp(found, expected.data(), bytes_each) == 0);
      CHECK(std::memcmp(result.geometry.m, job.results[row].geometries[number].m, sizeof result.geometry.m) == 0);
    }
  }
  CHECK(number == job.results[row].geometries.size());
  CHECK(std::memcmp(job.results[row].geometry.m, job.results[row].geometries[0].m, sizeof(Affine)) == 0);
}

void every_copy_is_what_its_plan_makes_alone() {
  std::vector<Bytes> images;
  for (int i = 0; i < 12; ++i) {
    penstock_test::JpegOptions options;
    options.progressive = i % 3 == 1;
    images.push_back(penstock_test::make_jpeg(60 + i * 17, 90 + i * 13, options));
  }
  for (const double most : {1.0, 0.05}) {  // the small crops leave a part of the image that no copy wants
    const std::shared_ptr<const Plan> plan = plan_with_views(most);
    for (int threads = 1; threads <= 4; threads += 3) {
      Pool pool(threads, uint64_t{1} << 30, 2);
      for (int round = 0; round < 4; ++round) {
        std::shared_ptr<Job> job = job_of(plan, images);
        job->epoch = static_cast<uint64_t>(round);
        CHECK(pool.submit(job, true));
        CHECK(job->buffer->bytes >= job->batch_bytes());
        CHECK(wait_long(pool, *job) == Pool::Wait::done);
        for (size_t row = 0; row < images.size(); ++row) check_row(*job, row, images[row], decode_alone);
      }
    }
  }
}

constexpr Size kPixels{40, 52};

std::vector<uint8_t> some_pixels() {
  std::vector<uint8_t> pixels(static_cast<size_t>(kPixels.height * kPixels.width * 3));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 7 + i / 91);
  return pixels;
}

void pixels_alone(const Plan& plan, const Bytes&, const DrawKey& key, void* slot, Scratch& scratch,
                  ItemResult& result) {
  const std::vector<uint8_t> pixels = some_pixels();
  BufferProvider provider(0);
  const std::atomic<bool> never{false};
  result.stored = kPixels;
  process_pixels(plan, pixels.data(), kPixels, kPixels.width * 3, {}, key, slot, provider, scratch, never, result);
}

void what_is_handed_on_fills_every_view() {
  const std::vector<Bytes> odd = {{'G', 'I', 'F', '8'}, {'G', 'I', 'F', '9'}};
  Pool pool(1, uint64_t{1} << 30, 2);
  std::shared_ptr<Job> job = job_of(plan_with_views(1.0), odd);
  CHECK(pool.submit(job, false));
  CHECK(wait_long(pool, *job) == Pool::Wait::referral);
  pool.announce_parties(1);
  const std::vector<uint8_t> pixels = some_pixels();
  Scratch scratch;
  for (int answered = 0; answered < 2;) {
    std::vector<Referral> taken;
    if (pool.take_referrals(taken, 1, 100) != Pool::Wait::referral) continue;
    job->results[taken[0].row].stored = kPixels;
    if (taken[0].row == 0) {
      CHECK(pool.return_pixels(taken[0], pixels.data(), kPixels, kPixels.width * 3, scratch));
    } else {
      pool.return_failure(taken[0], Problem{Stage::decode, "not an image", "expected an image, found 4 bytes"});
    }
    ++answered;
  }
  CHECK(wait_long(pool, *job) == Pool::Wait::done);
  check_row(*job, 0, odd[0], pixels_alone);
  CHECK(job->results[1].outcome == Outcome::failed && job->results[1].geometries.empty());
}

void a_view_that_cannot_be_fails_the_row() {
  Verb crop;
  crop.kind = Verb::Kind::crop;
  crop.height = crop.width = 64;
  crop.p = {0, 0};
  const std::shared_ptr<Plan> any = cropping_plan(8, 1.0), large = std::make_shared<Plan>();
  large->verbs = {crop};
  large->size = {64, 64};
  auto plan = std::make_shared<Plan>(*any);
  plan->views = {{any, 1}, {large, 1}};
  Pool pool(2, uint64_t{1} << 30, 2);
  const std::vector<Bytes> images = {penstock_test::make_jpeg(63, 200), penstock_test::make_jpeg(64, 64)};
  std::shared_ptr<Job> job = job_of(plan, images);
  CHECK(pool.submit(job, false));
  CHECK(wait_long(pool, *job) == Pool::Wait::done);
  CHECK(job->results[0].outcome == Outcome::failed && job->results[0].problem.stage == Stage::transform);
  check_row(*job, 1, images[1], decode_alone);
}

Step crop_of(int top, int left, int height, int width) {
  Step step;
  step.kind = Step::Kind::crop;
  step.top = top;
  step.left = left;
  step.height = height;
  step.width = width;
  return step;
}

void a_tee_wants_what_any_of_its_chains_wants() {
  Incoming incoming;
  incoming.stored = {100, 100};
  const Output output;
  std::vector<uint8_t> slots(2 * 100 * 100 * 3);
  TransformScratch scratch[3];
  std::deque<Chain> chains;
  chains.emplace_back(incoming, std::vector<Step>{crop_of(10, 20, 30, 5)}, output, slots.data(), scratch[0]);
  Tee one(chains);
  CHECK(one.wanted().top == 10 && one.wanted().left == 20 && one.wanted().height == 30 && one.wanted().width == 5);
  chains.emplace_back(incoming, std::vector<Step>{crop_of(50, 3, 8, 40)}, output, slots.data() + 4096, scratch[1]);
  Tee two(chains);
  CHECK(two.wanted().top == 10 && two.wanted().left == 3 && two.wanted().height == 48 && two.wanted().width == 40);
  chains.emplace_back(incoming, std::vector<Step>{}, output, slots.data() + 8192, scratch[2]);
  Tee all(chains);
  CHECK(all.wanted().height == 0);
}

}  // namespace

int main() {
  every_copy_is_what_its_plan_makes_alone();
  what_is_handed_on_fills_every_view();
  a_view_that_cannot_be_fails_the_row();
  a_tee_wants_what_any_of_its_chains_wants();
  return penstock_test::report("views");
}
