// The pool and the parties beside it. Waits release the GIL and wake every 100 ms for signals.
#include <algorithm>

#include "python.h"

namespace penstock {
namespace {

constexpr int kSignalCheckMs = 100;

const char* wait_name(Pool::Wait wait) {
  const char* const names[] = {"timeout", "done", "referral", "closed", "stranded"};
  return names[static_cast<int>(wait)];
}

// Blocks until the job is done, a referral needs a party, or the pool closes; raises what a signal handler raises.
const char* pool_wait(Pool& pool, const Job& job) {
  if (job.done()) return wait_name(Pool::Wait::done);
  for (;;) {
    Pool::Wait result;
    {
      Released released;
      result = pool.wait(job, kSignalCheckMs);
    }
    if (result != Pool::Wait::timeout) return wait_name(result);
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

// None: the pool is closed; an empty list: nothing came.
nb::object pool_take_referrals(Pool& pool, int most, int timeout_ms) {
  std::vector<Referral> taken;
  Pool::Wait result;
  {
    Released released;
    result = pool.take_referrals(taken, most, timeout_ms);
  }
  if (result == Pool::Wait::closed) return nb::none();
  nb::list referrals;
  for (Referral& referral : taken) {
    referrals.append(nb::cast(new Referral(std::move(referral)), nb::rv_policy::take_ownership));
  }
  return referrals;
}

nb::bytes referral_encoded(const Referral& referral) {
  const Input& input = referral.job->inputs[referral.row];
  if (input.kind == Input::Kind::bytes) return nb::bytes(input.data, input.size);
  return nb::bytes(referral.encoded.data(), referral.encoded.size());
}

// The size for which the warps' matrices are asked, or None where pixels are.
nb::object referral_asked(const Referral& referral) {
  const Size asked = referral.job->results[referral.row].asked;
  return asked.height == 0 ? nb::none() : nb::object(nb::make_tuple(asked.height, asked.width));
}

const ItemResult& result_of(const Referral& referral) { return referral.job->results[referral.row]; }

// The number of the map that is asked for, or None.
nb::object referral_map(const Referral& referral) {
  const ItemResult& result = result_of(referral);
  return result.mapping ? nb::object(nb::int_(result.part)) : nb::none();
}

// The image that a map is asked for, [H, W, C], writable; the batch's own memory where the answer belongs there.
nb::object referral_image(const Referral& referral) {
  const ItemResult& result = result_of(referral);
  if (!result.mapping) throw nb::value_error("no map is asked for");
  const Job& job = *referral.job;
  const Plan& part = job.part(referral.row);
  const size_t bytes = part.image_bytes(result.size);
  if (!part.in_slot) return picture_array({result.own, result.own->data, bytes}, part, result.size);
  return picture_array({job.buffer, static_cast<uint8_t*>(job.slot(referral.row)), bytes}, part, result.size);
}

// What several referrals ask for, where that is one map for images of one job: (job, number of the map, images).
nb::object one_map_of(const nb::list& referrals) {
  nb::list images;
  const Referral* first = nullptr;
  for (nb::handle one : referrals) {
    const auto* referral = nb::cast<const Referral*>(one);
    if (first == nullptr) first = referral;
    if (referral->job != first->job || result_of(*referral).part != result_of(*first).part) return nb::none();
    images.append(referral_image(*referral));
  }
  return first == nullptr ? nb::none() : nb::object(nb::make_tuple(first->job, result_of(*first).part, images));
}

// The images that maps were given are their answers as well, and their pixels stayed where they were; each goes on
// natively. The referrals that ask for another map now.
nb::list referrals_kept(Pool& pool, const nb::list& referrals) {
  std::vector<Referral*> given;
  given.reserve(referrals.size());
  for (nb::handle one : referrals) {
    given.push_back(nb::cast<Referral*>(one));
    if (!result_of(*given.back()).mapping) throw nb::value_error("no map is asked for");
  }
  std::vector<size_t> more;
  {
    Released released;
    static thread_local Scratch scratch;
    for (size_t i = 0; i < given.size(); ++i) {
      const Size size = result_of(*given[i]).size;
      if (!pool.return_mapped(*given[i], nullptr, size, Affine(), {}, scratch)) more.push_back(i);
    }
  }
  nb::list open;
  for (size_t i : more) open.append(referrals[i]);
  return open;
}

// Answers of maps, (referral, pixels, matrix or None, matrices of the warps that follow), each goes on natively; pixels
// None: the image that the map was given. The referrals that ask for another map now.
nb::list referrals_mapped(Pool& pool, const nb::list& answers) {
  struct Answer {
    Referral* referral;
    AnyPixels pixels;  // none: the image that was given
    Size size;
    Affine moved;
    std::vector<Affine> affines;
    bool done = false;
  };
  std::vector<Answer> given;
  given.reserve(answers.size());
  for (nb::handle entry : answers) {
    const nb::tuple answer = nb::cast<nb::tuple>(entry);
    Answer one{nb::cast<Referral*>(answer[0]), {}, {}, {}, {}};
    const Job& job = *one.referral->job;
    const ItemResult& result = result_of(*one.referral);
    if (!result.mapping) throw nb::value_error("no map is asked for");
    one.size = result.size;
    if (!answer[1].is_none()) {
      one.pixels = nb::cast<AnyPixels>(answer[1], false);
      check_pixels(*job.plan->parts[static_cast<size_t>(result.part) + 1], one.pixels);
      one.size = {static_cast<int>(one.pixels.shape(0)), static_cast<int>(one.pixels.shape(1))};
    }
    if (!answer[2].is_none()) one.moved = affines_from({nb::cast<std::vector<double>>(answer[2])})[0];
    if (!answer[3].is_none()) one.affines = affines_from(nb::cast<Matrices>(answer[3]));
    given.push_back(std::move(one));
  }
  {
    Released released;
    static thread_local Scratch scratch;
    for (Answer& one : given) {
      const auto* rows = one.pixels.is_valid() ? static_cast<const uint8_t*>(one.pixels.data()) : nullptr;
      one.done = pool.return_mapped(*one.referral, rows, one.size, one.moved, one.affines, scratch);
    }
  }
  nb::list open;
  for (size_t i = 0; i < given.size(); ++i) {
    if (!given[i].done) open.append(nb::cast<nb::tuple>(answers[i])[0]);
  }
  return open;
}

bool referral_pixels(Pool& pool, Referral& referral, AnyPixels pixels, nb::tuple stored, int orientation,
                     const Matrices& matrices, const std::string& notes) {
  const Plan& plan = referral.job->part(referral.row);
  check_pixels(plan, pixels);
  ItemResult& result = referral.job->results[referral.row];
  result.stored = {nb::cast<int>(stored[0]), nb::cast<int>(stored[1])};
  result.orientation = orientation;
  result.notes = 0;  // the party counts its own
  if (referral.job->cache) {
    CachedTicket& ticket = referral.job->tickets[referral.row];
    ticket.decoder = referral.job->cache->decoder;
    ticket.party_notes = notes;
  }
  referral.job->inputs[referral.row].affines = affines_from(matrices);
  Size size{static_cast<int>(pixels.shape(0)), static_cast<int>(pixels.shape(1))};
  const ptrdiff_t stride = row_stride(plan, pixels);
  Released released;
  static thread_local Scratch scratch;
  return pool.return_pixels(referral, static_cast<const uint8_t*>(pixels.data()), size, stride, scratch);
}

bool referral_matrices(Pool& pool, Referral& referral, const Matrices& matrices) {
  std::vector<Affine> affines = affines_from(matrices);
  Released released;
  static thread_local Scratch scratch;
  return pool.return_affines(referral, std::move(affines), scratch);
}

void referral_failure(Pool& pool, Referral& referral, const std::string& stage, const std::string& cause,
                      const std::string& message) {
  const Stage at = word<Stage>("stage", stage, {{"decode", Stage::decode}, {"transform", Stage::transform}});
  pool.return_failure(referral, Problem{at, cause, message});
}

bool pool_submit(Pool& pool, const std::shared_ptr<Job>& job, bool more) {
  const auto& parts = job->plan->parts;
  if (!job->cache && std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part->cut; })) {
    throw nb::value_error("submit: expected a cache for a plan that is cut at one, found none");
  }
  return pool.submit(job, more);
}

void pool_cancel(Pool& pool, Job& job) {
  Released released;
  pool.cancel(job);
}

const char* pool_wait_briefly(Pool& pool, const Job& job, int timeout_ms) {
  Released released;
  return wait_name(pool.wait(job, timeout_ms));
}

nb::tuple pool_times(const Pool& pool) {
  const WorkerTimes t = pool.times();
  return nb::make_tuple(t.read_ns, t.decode_ns, t.transform_ns, t.batch_ns, t.starved_ns, t.blocked_ns, t.items);
}

// The paths of the items whose threads are stuck in a system call.
nb::list pool_close(Pool& pool, int timeout_ms) {
  std::vector<std::string> stuck;
  {
    Released released;
    stuck = pool.close(timeout_ms);
  }
  nb::list paths;
  for (const std::string& path : stuck) paths.append(nb::bytes(path.data(), path.size()));
  return paths;
}

}  // namespace

void bind_pool(nb::module_& m) {
  bind_pictures(m);
  nb::class_<Referral>(m, "Referral")
      .def_prop_ro("row", [](const Referral& r) { return r.row; })
      .def_prop_ro("job", [](const Referral& r) { return r.job; })
      .def_prop_ro("asked", &referral_asked)
      .def_prop_ro("map", &referral_map)
      .def_prop_ro("part", [](const Referral& r) { return result_of(r).part; })
      .def_prop_ro("image", &referral_image)
      .def("encoded", &referral_encoded);

  nb::class_<Pool>(m, "Pool")
      .def(nb::init<int, uint64_t, size_t>(), "threads"_a, "max_memory_bytes"_a, "keep_buffers"_a)
      .def_prop_ro("threads", &Pool::threads)
      // Keeps the GIL: no thread that holds the pool's mutex ever waits for it, and to take it back beside a thread
      // that spins in Python costs 5 ms.
      .def("submit", &pool_submit, "job"_a, "more"_a)
      .def("wait", &pool_wait, "job"_a)
      .def("wait_briefly", &pool_wait_briefly, "job"_a, "timeout_ms"_a)
      .def("cancel", &pool_cancel, "job"_a)
      .def("announce_parties", &Pool::announce_parties, "count"_a)
      .def("take_referrals", &pool_take_referrals, "most"_a, "timeout_ms"_a)
      .def("return_pixels", &referral_pixels, "referral"_a, "pixels"_a, "stored"_a, "orientation"_a,
           "matrices"_a = Matrices(), "notes"_a = "")
      .def("return_matrices", &referral_matrices, "referral"_a, "matrices"_a)
      .def("return_mapped", &referrals_mapped, "answers"_a)
      .def("return_kept", &referrals_kept, "referrals"_a)
      .def("return_failure", &referral_failure, "referral"_a, "stage"_a, "cause"_a, "message"_a)
      .def("times", &pool_times)
      .def("close", &pool_close, "timeout_ms"_a);
  m.def("one_map_of", &one_map_of, "referrals"_a);
  m.def("leave", &leave_interpreter, "timeout_ms"_a);
}

}  // namespace penstock
