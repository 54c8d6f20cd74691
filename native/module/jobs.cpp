// Jobs: the tickets of a batch, and what came of them as arrays.
#include <cstring>

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
  for (size_t i = 0; i < count; ++i) job->indices[i] = static_cast<uint64_t>(indices.data()[i]);
  return job;
}

void check_count(const Job& job, size_t found) {
  if (found != job.inputs.size()) throw nb::value_error("as many inputs as indices are needed");
}

std::shared_ptr<Job> job_of_paths(std::shared_ptr<Plan> plan, Indices indices, uint64_t seed, uint64_t epoch, int rows,
                                  nb::bytes names, Indices offsets, Indices table_rows, nb::bytes prefix) {
  std::shared_ptr<Job> job = new_job(std::move(plan), indices, seed, epoch, rows);
  check_count(*job, table_rows.shape(0));
  for (size_t i = 0; i < table_rows.shape(0); ++i) {
    int64_t row = table_rows.data()[i];
    if (row < 0 || static_cast<size_t>(row) + 1 >= offsets.shape(0))
      throw nb::index_error("row outside the name table");
    int64_t begin = offsets.data()[row], end = offsets.data()[row + 1];
    if (begin < 0 || end < begin || static_cast<size_t>(end) > names.size()) throw nb::value_error("broken name table");
    Input& input = job->inputs[i];
    input.kind = Input::Kind::path;
    input.path.reserve(prefix.size() + static_cast<size_t>(end - begin));
    input.path.assign(prefix.c_str(), prefix.size());
    input.path.append(names.c_str() + begin, static_cast<size_t>(end - begin));
  }
  return job;
}

std::shared_ptr<Job> job_of_bytes(std::shared_ptr<Plan> plan, Indices indices, uint64_t seed, uint64_t epoch, int rows,
                                  nb::list blobs) {
  std::shared_ptr<Job> job = new_job(std::move(plan), indices, seed, epoch, rows);
  check_count(*job, blobs.size());
  for (size_t i = 0; i < blobs.size(); ++i) {
    nb::bytes blob = nb::cast<nb::bytes>(blobs[i]);
    job->inputs[i].kind = Input::Kind::bytes;
    job->inputs[i].data = reinterpret_cast<const uint8_t*>(blob.c_str());
    job->inputs[i].size = blob.size();
  }
  return job;
}

std::shared_ptr<Job> job_of_arrays(std::shared_ptr<Plan> plan, Indices indices, uint64_t seed, uint64_t epoch, int rows,
                                   nb::list arrays) {
  std::shared_ptr<Job> job = new_job(std::move(plan), indices, seed, epoch, rows);
  check_count(*job, arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    Pixels pixels = nb::cast<Pixels>(arrays[i], false);
    job->inputs[i].kind = Input::Kind::pixels;
    job->inputs[i].data = pixels.data();
    job->inputs[i].pixels = {static_cast<int>(pixels.shape(0)), static_cast<int>(pixels.shape(1))};
  }
  return job;
}

nb::dict job_results(Job& job) {
  if (!job.done()) throw nb::value_error("the job is not done");
  size_t rows = static_cast<size_t>(job.rows), tickets = job.results.size();
  std::vector<uint8_t> outcome(rows, static_cast<uint8_t>(Outcome::cancelled));
  std::vector<double> geometry(rows * 6, 0.0);
  std::vector<int32_t> stored(rows * 2, 0), sizes(rows * 2, 0), orientation(rows, 1);
  std::vector<uint32_t> notes(rows, 0);
  nb::list problems, damages, images;
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
    if (!job.buffer) images.append(result.own ? array_over(result.own, *job.plan, result.size, -1) : nb::none());
  }
  nb::dict out;
  if (job.buffer) {
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
  return out;
}

}  // namespace

void bind_jobs(nb::module_& m) {
  nb::class_<Job>(m, "Job")
      .def("results", &job_results)
      .def_prop_ro("done", &Job::done)
      .def_ro("rows", &Job::rows)
      .def_rw("capacity", &Job::capacity);
  m.def("job_of_paths", &job_of_paths, "plan"_a, "indices"_a, "seed"_a, "epoch"_a, "rows"_a, "names"_a, "offsets"_a,
        "table_rows"_a, "prefix"_a);
  m.def("job_of_bytes", &job_of_bytes, "plan"_a, "indices"_a, "seed"_a, "epoch"_a, "rows"_a, "blobs"_a);
  m.def("job_of_arrays", &job_of_arrays, "plan"_a, "indices"_a, "seed"_a, "epoch"_a, "rows"_a, "arrays"_a);
}

}  // namespace penstock
