// Jobs: the tickets of a batch, and what came of them as arrays.
#include <cstring>
#include <memory>

#include "python.h"

namespace penstock {
namespace {

std::shared_ptr<Job> new_job(std::shared_ptr<Plan> plan, Indices indices, uint64_t seed, uint64_t epoch, int rows) {
  auto job = std::make_shared<Job>();
  job->plan = std::move(plan);
  job->seed = seed;
  job->epoch = epoch;
  job->rows = rows;
  size_t count = indices.shape(0);
  job->inputs.resize(count);
  job->indices.resize(count);
  job->results.resize(count);  // here, where several jobs are made at a time, and not where one is submitted
  for (size_t i = 0; i < count; ++i) job->indices[i] = static_cast<uint64_t>(indices.data()[i]);
  return job;
}

// The inputs that a call fills: ticket numbers, as many as there are values.
void check_tickets(const Job& job, const Indices& tickets, size_t values) {
  if (tickets.shape(0) != values) throw nb::value_error("as many tickets as values are needed");
  for (size_t i = 0; i < values; ++i) {
    const int64_t ticket = tickets.data()[i];
    if (ticket < 0 || static_cast<size_t>(ticket) >= job.inputs.size()) throw nb::index_error("no such ticket");
  }
}

Input& input_of(Job& job, const Indices& tickets, size_t i) {
  return job.inputs[static_cast<size_t>(tickets.data()[i])];
}

// Paths from a packed table; `starts` and `sizes` say which bytes of each file, both empty: all of them.
template <typename Offset>
void fill_paths(Job& job, Indices tickets, nb::bytes names, Column<Offset> offsets, Indices table_rows,
                nb::bytes prefix, Indices starts, Indices sizes) {
  const size_t count = table_rows.shape(0);
  check_tickets(job, tickets, count);
  const bool ranges = starts.shape(0) > 0;
  if (starts.shape(0) != sizes.shape(0) || (ranges && starts.shape(0) != count)) {
    throw nb::value_error("as many ranges as paths are needed");
  }
  for (size_t i = 0; i < count; ++i) {
    const int64_t row = table_rows.data()[i];
    if (row < 0 || static_cast<size_t>(row) + 1 >= offsets.shape(0)) {
      throw nb::index_error("row outside the name table");
    }
    const auto begin = static_cast<int64_t>(offsets.data()[row]), end = static_cast<int64_t>(offsets.data()[row + 1]);
    if (begin < 0 || end < begin || static_cast<size_t>(end) > names.size()) throw nb::value_error("broken name table");
    Input& input = input_of(job, tickets, i);
    input.kind = Input::Kind::path;
    input.path.reserve(prefix.size() + static_cast<size_t>(end - begin));
    input.path.assign(prefix.c_str(), prefix.size());
    input.path.append(names.c_str() + begin, static_cast<size_t>(end - begin));
    if (!ranges) continue;
    if (starts.data()[i] < 0 || sizes.data()[i] < 0) throw nb::value_error("a range of bytes cannot be negative");
    input.offset = static_cast<uint64_t>(starts.data()[i]);
    input.length = static_cast<uint64_t>(sizes.data()[i]);
  }
}

void fill_bytes(Job& job, Indices tickets, nb::list blobs) {
  check_tickets(job, tickets, blobs.size());
  for (size_t i = 0; i < blobs.size(); ++i) {
    nb::bytes blob = nb::cast<nb::bytes>(blobs[i]);
    Input& input = input_of(job, tickets, i);
    input.kind = Input::Kind::bytes;
    input.data = reinterpret_cast<const uint8_t*>(blob.c_str());
    input.size = blob.size();
  }
}

void fill_arrays(Job& job, Indices tickets, nb::list arrays) {
  check_tickets(job, tickets, arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    Pixels pixels = nb::cast<Pixels>(arrays[i], false);
    Input& input = input_of(job, tickets, i);
    input.kind = Input::Kind::pixels;
    input.data = pixels.data();
    input.pixels = {static_cast<int>(pixels.shape(0)), static_cast<int>(pixels.shape(1))};
  }
}

// An item that is known to fail before it is read.
void fill_problem(Job& job, int64_t ticket, const std::string& cause, const std::string& message) {
  if (ticket < 0 || static_cast<size_t>(ticket) >= job.inputs.size()) throw nb::index_error("no such ticket");
  Input& input = job.inputs[static_cast<size_t>(ticket)];
  input.kind = Input::Kind::problem;
  input.problem = {Stage::read, cause, message};
}

// What the plan's views made: [rows, copies, H, W, C] (or the layout's axes) of each, and [rows, copies, 2, 3] where
// the pixels came from. Rows that were not made are zeros.
void put_views(const Job& job, const std::vector<uint8_t>& outcome, nb::dict& out) {
  nb::list images, geometry;
  const size_t rows = static_cast<size_t>(job.rows);
  size_t first = 0;  // of the view's copies among all
  for (size_t number = 0; number < job.plan->views.size(); ++number) {
    const View& view = job.plan->views[number];
    const size_t copies = static_cast<size_t>(view.copies);
    std::vector<double> matrices(rows * copies * 6, 0.0);
    for (size_t row = 0; row < rows; ++row) {
      if (outcome[row] > static_cast<uint8_t>(Outcome::damaged)) {
        std::memset(job.view(number) + row * view.row_bytes(), 0, view.row_bytes());
        continue;
      }
      for (size_t copy = 0; copy < copies; ++copy) {
        const Affine& affine = job.results[row].geometries[first + copy];
        std::copy(affine.m, affine.m + 6, matrices.begin() + static_cast<ptrdiff_t>((row * copies + copy) * 6));
      }
    }
    first += copies;
    images.append(array_at(job.view(number), job.buffer, *view.plan, view.plan->size, job.rows, view.copies));
    geometry.append(column(matrices, {rows, copies, 2, 3}));
  }
  out["views"] = images;
  out["view_geometry"] = geometry;
}

// Where the pixels of a clean batch's rows came from: arrays only once somebody asks for them.
struct Places {
  std::vector<double> geometry;
  std::vector<int32_t> stored, sizes, orientation;
};

nb::dict places_columns(const Places& places) {
  const size_t rows = places.orientation.size();
  nb::dict out;
  out["geometry"] = column(places.geometry, {rows, 2, 3});
  out["stored"] = column(places.stored, {rows, 2});
  out["sizes"] = column(places.sizes, {rows, 2});
  out["orientation"] = column(places.orientation, {rows});
  return out;
}

// What most batches are: an image in every row, and nothing to say about any. (images, places, hits, misses), as
// results() has them, for a fraction of its time; None of any other batch, which is as it was.
nb::object job_clean(Job& job) {
  const size_t rows = job.results.size();
  const bool filled = job.cache && job.cache->fill;
  if (!job.done() || !job.buffer || filled || rows != static_cast<size_t>(job.rows) || !job.plan->views.empty()) {
    return nb::none();
  }
  for (const ItemResult& result : job.results) {
    if (result.outcome != Outcome::clean || result.notes != 0) return nb::none();
  }
  size_t hits = 0, misses = 0;
  for (const CachedTicket& ticket : job.tickets) {
    const bool hit = ticket.asked == CachedTicket::Asked::hit;
    if (hit && !ticket.party_notes.empty()) return nb::none();
    hits += hit;
    misses += ticket.asked == CachedTicket::Asked::miss;
  }
  auto places = std::make_unique<Places>();
  places->geometry.reserve(rows * 6);
  places->stored.reserve(rows * 2);
  places->sizes.reserve(rows * 2);
  places->orientation.reserve(rows);
  for (const ItemResult& result : job.results) {
    places->geometry.insert(places->geometry.end(), result.geometry.m, result.geometry.m + 6);
    places->stored.insert(places->stored.end(), {result.stored.height, result.stored.width});
    places->sizes.insert(places->sizes.end(), {result.size.height, result.size.width});
    places->orientation.push_back(result.orientation);
  }
  nb::object images = array_over(job.buffer, *job.plan, job.plan->size, job.rows);
  job.buffer.reset();
  return nb::make_tuple(images, nb::cast(places.release(), nb::rv_policy::take_ownership), hits, misses);
}

nb::dict job_results(Job& job) {
  if (!job.done()) throw nb::value_error("the job is not done");
  size_t rows = static_cast<size_t>(job.rows), tickets = job.results.size();
  std::vector<uint8_t> outcome(rows, static_cast<uint8_t>(Outcome::cancelled));
  std::vector<double> geometry(rows * 6, 0.0);
  std::vector<int32_t> stored(rows * 2, 0), sizes(rows * 2, 0), orientation(rows, 1);
  std::vector<uint32_t> notes(rows, 0);
  nb::list problems, damages, images, cached_notes;
  size_t hits = 0, misses = 0, stored_now = 0, present = 0, young = 0;
  for (size_t row = 0; row < job.tickets.size(); ++row) {
    const CachedTicket& ticket = job.tickets[row];
    hits += ticket.asked == CachedTicket::Asked::hit;
    misses += ticket.asked == CachedTicket::Asked::miss;
    stored_now += ticket.stored;
    present += ticket.present;
    // Made, and not kept: its file may change again without its times telling.
    young += ticket.asked == CachedTicket::Asked::miss && !ticket.keep && job.results[row].outcome <= Outcome::damaged;
    if (ticket.asked == CachedTicket::Asked::hit && !ticket.party_notes.empty()) {
      cached_notes.append(nb::make_tuple(row, ticket.party_notes));
    }
  }
  for (size_t row = 0; row < tickets; ++row) {
    const ItemResult& result = job.results[row];
    outcome[row] = static_cast<uint8_t>(result.outcome);
    std::copy(result.geometry.m, result.geometry.m + 6, geometry.begin() + static_cast<ptrdiff_t>(row * 6));
    stored[row * 2] = result.stored.height;
    stored[row * 2 + 1] = result.stored.width;
    if (outcome[row] <= static_cast<uint8_t>(Outcome::damaged)) {
      sizes[row * 2] = result.size.height;
      sizes[row * 2 + 1] = result.size.width;
    }
    orientation[row] = result.orientation;
    notes[row] = result.notes;
    if (result.outcome == Outcome::failed) problems.append(nb::make_tuple(row, problem_tuple(result.problem)));
    if (result.outcome == Outcome::damaged) damages.append(nb::make_tuple(row, result.damage));
    const bool filled = job.cache && job.cache->fill;  // nobody wanted the image
    const bool made =
        !filled && result.outcome <= Outcome::damaged;  // else its memory may be a part's, or half written
    if (!job.buffer) images.append(made ? array_over(result.own, *job.plan, result.size, -1) : nb::none());
  }
  nb::dict out;
  if (!job.plan->views.empty()) {
    put_views(job, outcome, out);
    out["images"] = nb::none();
    job.buffer.reset();
  } else if (job.buffer) {
    for (size_t row = 0; row < rows; ++row) {
      bool made = row < tickets && outcome[row] <= static_cast<uint8_t>(Outcome::damaged);
      if (!made) std::memset(job.slot(row), 0, job.plan->image_bytes(job.plan->size));
    }
    out["images"] = array_over(job.buffer, *job.plan, job.plan->size, job.rows);
    job.buffer.reset();
  } else {
    out["images"] = images;
  }
  out["outcome"] = column(outcome, {rows});
  out["geometry"] = column(geometry, {rows, 2, 3});
  out["stored"] = column(stored, {rows, 2});
  out["sizes"] = column(sizes, {rows, 2});
  out["orientation"] = column(orientation, {rows});
  out["notes"] = column(notes, {rows});
  out["problems"] = problems;
  out["damages"] = damages;
  out["cached_notes"] = cached_notes;
  out["hits"] = hits;
  out["misses"] = misses;
  out["kept"] = stored_now;
  out["present"] = present;
  out["young"] = young;
  return out;
}

}  // namespace

void bind_jobs(nb::module_& m) {
  nb::class_<Places>(m, "Places").def("columns", &places_columns);
  nb::class_<Job>(m, "Job")
      .def("results", &job_results)
      .def("clean", &job_clean)
      .def_prop_ro("done", &Job::done)
      .def_prop_ro("batch_bytes", &Job::batch_bytes)
      .def_ro("rows", &Job::rows)
      .def_rw("capacity", &Job::capacity)
      .def_rw("by_parties", &Job::by_parties)
      .def_rw("read_timeout_ns", &Job::read_timeout_ns)
      .def_rw("urgent", &Job::urgent)
      .def(
          "use_cache", [](Job& job, const Caching& cache) { job.cache = cache.shared_from_this(); }, "cache"_a)
      .def("fill_paths", &fill_paths<int64_t>, "tickets"_a, "names"_a, "offsets"_a.noconvert(), "table_rows"_a,
           "prefix"_a, "starts"_a, "sizes"_a)
      .def("fill_paths", &fill_paths<uint32_t>, "tickets"_a, "names"_a, "offsets"_a.noconvert(), "table_rows"_a,
           "prefix"_a, "starts"_a, "sizes"_a)
      .def("fill_bytes", &fill_bytes, "tickets"_a, "blobs"_a)
      .def("fill_arrays", &fill_arrays, "tickets"_a, "arrays"_a)
      .def("fill_problem", &fill_problem, "ticket"_a, "cause"_a, "message"_a);
  m.def("new_job", &new_job, "plan"_a, "indices"_a, "seed"_a, "epoch"_a, "rows"_a);
}

}  // namespace penstock
