// The only file that knows Python: thin bindings, no logic. Waits release the GIL and wake every 100 ms for signals.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <limits>

#include "bare.h"
#include "frame.h"
#include "headers.h"
#include "jpeg_encode.h"
#include "pad_batch.h"
#include "pool.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace penstock {
namespace {

using BytesLike = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Pixels = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using AnyPixels = nb::ndarray<nb::ro, nb::ndim<3>, nb::c_contig, nb::device::cpu>;  // [H, W, C], uint8 or uint16
using Matrices = std::vector<std::vector<double>>;                                  // six numbers each, row-major
using Indices = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr int kSignalCheckMs = 100;
const char* const kStageNames[] = {"source", "read", "decode", "transform", "batch"};

template <typename Value>
Value word(const char* what, const std::string& found, std::initializer_list<std::pair<const char*, Value>> known) {
  for (const auto& entry : known) {
    if (found == entry.first) return entry.second;
  }
  throw nb::value_error(("unknown " + std::string(what) + " '" + found + "'").c_str());
}

Filter filter_from(const std::string& name) {
  return word<Filter>("filter", name,
                      {{"nearest", Filter::nearest},
                       {"box", Filter::box},
                       {"bilinear", Filter::bilinear},
                       {"hamming", Filter::hamming},
                       {"bicubic", Filter::bicubic},
                       {"lanczos", Filter::lanczos}});
}

const char* filter_name(Filter filter) {
  const char* const names[] = {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"};
  return names[static_cast<int>(filter)];
}

// Verbs as Recipe.native() gives them: a dict each, with only the fields that the verb has.
std::vector<Verb> verbs_from(const nb::list& list) {
  std::vector<Verb> verbs;
  for (nb::handle item : list) {
    nb::dict dict = nb::cast<nb::dict>(item);
    auto text = [&](const char* key, const char* otherwise) {
      return dict.contains(key) ? nb::cast<std::string>(dict[key]) : std::string(otherwise);
    };
    auto number = [&](const char* key) { return dict.contains(key) ? nb::cast<int>(dict[key]) : 0; };
    Verb verb;
    verb.kind = word<Verb::Kind>("verb", text("kind", ""),
                                 {{"resize", Verb::Kind::resize},
                                  {"resize_short_side", Verb::Kind::resize_short_side},
                                  {"resize_long_side", Verb::Kind::resize_long_side},
                                  {"resize_patches", Verb::Kind::resize_patches},
                                  {"center_crop", Verb::Kind::center_crop},
                                  {"crop", Verb::Kind::crop},
                                  {"pad", Verb::Kind::pad},
                                  {"pad_to", Verb::Kind::pad_to},
                                  {"pad_to_multiple", Verb::Kind::pad_to_multiple},
                                  {"warp", Verb::Kind::warp},
                                  {"jpeg_roundtrip", Verb::Kind::jpeg_roundtrip},
                                  {"random_resized_crop", Verb::Kind::random_resized_crop},
                                  {"random_crop", Verb::Kind::random_crop},
                                  {"random_horizontal_flip", Verb::Kind::random_horizontal_flip},
                                  {"random_vertical_flip", Verb::Kind::random_vertical_flip},
                                  {"random_rotate90", Verb::Kind::random_rotate90},
                                  {"random_color_jitter", Verb::Kind::random_color_jitter},
                                  {"random_grayscale", Verb::Kind::random_grayscale},
                                  {"random_erasing", Verb::Kind::random_erasing},
                                  {"rand_augment", Verb::Kind::rand_augment},
                                  {"trivial_augment", Verb::Kind::trivial_augment},
                                  {"random_affine", Verb::Kind::random_affine}});
    verb.fit = word<Verb::Fit>("fit", text("fit", "fill"),
                               {{"fill", Verb::Fit::fill},
                                {"cover", Verb::Fit::cover},
                                {"contain", Verb::Fit::contain},
                                {"inside", Verb::Fit::inside}});
    verb.rounding = word<Verb::Rounding>("rounding", text("rounding", "even"),
                                         {{"even", Verb::Rounding::even},
                                          {"floor", Verb::Rounding::floor},
                                          {"ceil", Verb::Rounding::ceil},
                                          {"start", Verb::Rounding::start}});
    verb.filter = filter_from(text("filter", "bilinear"));
    verb.pad_mode = word<PadMode>("pad_mode", text("pad_mode", "constant"),
                                  {{"constant", PadMode::constant},
                                   {"edge", PadMode::edge},
                                   {"reflect", PadMode::reflect},
                                   {"symmetric", PadMode::symmetric}});
    verb.enlarge = !dict.contains("enlarge") || nb::cast<bool>(dict["enlarge"]);
    verb.float32 = text("precision", "uint8") == "float32";
    verb.height = number("height");
    verb.width = number("width");
    verb.ordinal = number("ordinal");
    if (dict.contains("p")) verb.p = nb::cast<std::vector<double>>(dict["p"]);
    if (dict.contains("fill")) {
      std::vector<int> fill = nb::cast<std::vector<int>>(dict["fill"]);
      for (size_t i = 0; i < fill.size() && i < 4; ++i) verb.fill[i] = static_cast<uint8_t>(fill[i]);
    }
    verbs.push_back(verb);
  }
  return verbs;
}

// decode(...) as Decode.native() gives it.
DecodeOptions decode_options_from(const nb::dict& dict) {
  DecodeOptions options;
  options.mode = word<DecodeOptions::Mode>(
      "mode", nb::cast<std::string>(dict["mode"]),
      {{"rgb", DecodeOptions::Mode::rgb}, {"grey", DecodeOptions::Mode::grey}, {"rgba", DecodeOptions::Mode::rgba}});
  options.composite = nb::cast<bool>(dict["composite"]);
  std::vector<int> background = nb::cast<std::vector<int>>(dict["background"]);
  for (size_t i = 0; i < background.size() && i < 3; ++i) {
    options.background[i] = static_cast<uint8_t>(background[i]);
  }
  options.depth = word<DecodeOptions::Depth>("depth", nb::cast<std::string>(dict["depth"]),
                                             {{"eight", DecodeOptions::Depth::eight},
                                              {"sixteen", DecodeOptions::Depth::sixteen},
                                              {"scale", DecodeOptions::Depth::scale}});
  options.srgb = nb::cast<bool>(dict["srgb"]);
  options.fast = nb::cast<bool>(dict["fast"]);
  return options;
}

std::shared_ptr<Plan> make_plan(const nb::list& verbs, const nb::dict& decode, int height, int width, int channels,
                                const std::string& dtype, const std::string& layout, int patch, int max_patches,
                                const std::vector<float>& mean, const std::vector<float>& std_, uint64_t max_pixels,
                                uint64_t max_working_bytes, int max_scans, bool adaptive_order) {
  auto plan = std::make_shared<Plan>();
  plan->verbs = verbs_from(verbs);
  plan->decode = decode_options_from(decode);
  plan->size = {height, width};
  plan->channels = channels;
  plan->output.dtype = word<Dtype>("dtype", dtype,
                                   {{"uint8", Dtype::uint8},
                                    {"uint16", Dtype::uint16},
                                    {"float16", Dtype::float16},
                                    {"bfloat16", Dtype::bfloat16},
                                    {"float32", Dtype::float32}});
  plan->output.layout = word<Layout>("layout", layout, {{"NHWC", Layout::nhwc}, {"NCHW", Layout::nchw}});
  if (patch > 0) {
    plan->output.layout = Layout::patches;
    plan->output.patch = patch;
    plan->output.max_patches = max_patches;
  }
  if (!mean.empty()) {
    if (mean.size() != static_cast<size_t>(channels) || std_.size() != mean.size() || channels > 4) {
      throw nb::value_error("mean and std need a value a channel");
    }
    plan->output.normalizer = std::make_shared<Normalizer>(mean.data(), std_.data(), channels);
  }
  plan->limits.max_pixels = max_pixels;
  plan->limits.max_working_bytes = max_working_bytes;
  plan->limits.max_scans = max_scans;
  plan->adaptive_order = adaptive_order;
  return plan;
}

// NumPy has no bfloat16: its bits go out as uint16, and Python names them.
nb::dlpack::dtype array_dtype(Dtype dtype) {
  switch (dtype) {
    case Dtype::uint8:
      return nb::dtype<uint8_t>();
    case Dtype::uint16:
    case Dtype::bfloat16:
      return nb::dtype<uint16_t>();
    case Dtype::float16:
      return {static_cast<uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    case Dtype::float32:
      return nb::dtype<float>();
  }
  return nb::dtype<float>();
}

// An array over memory that `buffer` keeps alive; the buffer goes back to its provider when the last view has died.
nb::object array_over(const std::shared_ptr<Buffer>& buffer, const Plan& plan, Size size, int rows) {
  auto* holder = new std::shared_ptr<Buffer>(buffer);
  nb::capsule owner(holder, [](void* p) noexcept { delete static_cast<std::shared_ptr<Buffer>*>(p); });
  std::vector<size_t> shape;
  if (rows >= 0) shape.push_back(static_cast<size_t>(rows));
  const size_t height = static_cast<size_t>(size.height), width = static_cast<size_t>(size.width);
  const size_t channels = static_cast<size_t>(plan.channels), side = static_cast<size_t>(plan.output.patch);
  if (plan.output.layout == Layout::patches) {
    shape.insert(shape.end(), {static_cast<size_t>(plan.output.max_patches), side * side * channels});
  } else if (plan.output.layout == Layout::nchw) {
    shape.insert(shape.end(), {channels, height, width});
  } else {
    shape.insert(shape.end(), {height, width, channels});
  }
  return nb::cast(
      nb::ndarray<nb::numpy>(buffer->data, shape.size(), shape.data(), owner, nullptr, array_dtype(plan.output.dtype)));
}

template <typename Element>
nb::object column(const std::vector<Element>& values, std::vector<size_t> shape) {
  auto* copy = new std::vector<Element>(values);
  nb::capsule owner(copy, [](void* p) noexcept { delete static_cast<std::vector<Element>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, Element>(copy->data(), shape.size(), shape.data(), owner));
}

nb::tuple problem_tuple(const Problem& problem) {
  // The core says nothing more where memory was out: the sentence itself would have needed some.
  const bool silent = problem.message.empty() && problem.cause == "out of memory";
  const std::string text = silent ? "expected memory for the image, found none free" : problem.message;
  return nb::make_tuple(kStageNames[static_cast<int>(problem.stage)], problem.cause,
                        nb::bytes(text.data(), text.size()));
}

nb::dict result_dict(const ItemResult& result, const Plan& plan) {
  nb::dict out;
  const char* const names[] = {"clean", "damaged", "failed", "referee", "cancelled"};
  out["outcome"] = names[static_cast<int>(result.outcome)];
  out["problem"] = problem_tuple(result.problem);
  out["damage"] = result.damage;
  out["stored"] = nb::make_tuple(result.stored.height, result.stored.width);
  out["orientation"] = result.orientation;
  out["geometry"] = column(std::vector<double>(result.geometry.m, result.geometry.m + 6), {2, 3});
  out["notes"] = result.notes;
  out["times_ns"] =
      nb::make_tuple(result.times.read_ns, result.times.decode_ns, result.times.transform_ns, result.times.batch_ns);
  out["size"] = nb::make_tuple(result.size.height, result.size.width);
  out["asked"] = nb::make_tuple(result.asked.height, result.asked.width);
  out["image"] = result.own ? array_over(result.own, plan, result.size, -1) : nb::none();
  return out;
}

// A plan for one image alone: the same verbs, memory of its own.
Plan ragged(const Plan& plan) {
  Plan copy = plan;
  copy.size = {0, 0};
  return copy;
}

nb::dict run_input(const Plan& plan, const Input& input, uint64_t seed, uint64_t epoch, uint64_t index) {
  Plan single = ragged(plan);
  auto provider = std::make_shared<BufferProvider>(0);
  ItemResult result;
  {
    nb::gil_scoped_release released;
    Scratch scratch;
    std::atomic<bool> cancel{false};
    Holding unlimited;
    process_input(single, input, {seed, epoch, index}, nullptr, *provider, unlimited, scratch, cancel, result);
  }
  return result_dict(result, single);
}

std::vector<Affine> affines_from(const Matrices& matrices) {
  std::vector<Affine> affines(matrices.size());
  for (size_t i = 0; i < affines.size(); ++i) {
    if (matrices[i].size() != 6) throw nb::value_error("a matrix has six numbers");
    std::copy(matrices[i].begin(), matrices[i].end(), affines[i].m);
  }
  return affines;
}

nb::dict run_bytes(const Plan& plan, nb::bytes data, uint64_t seed, uint64_t epoch, uint64_t index,
                   const Matrices& matrices) {
  Input input;
  input.affines = affines_from(matrices);
  input.kind = Input::Kind::bytes;
  input.data = reinterpret_cast<const uint8_t*>(data.c_str());
  input.size = data.size();
  return run_input(plan, input, seed, epoch, index);
}

// Pixels of the format that the plan's chain begins with.
void check_pixels(const Plan& plan, const AnyPixels& pixels) {
  const Format format = plan.decode.format();
  if (pixels.shape(2) != static_cast<size_t>(format.channels) || pixels.itemsize() != sample_bytes(format.sample)) {
    throw nb::value_error("pixels of the plan's own channels and dtype are needed");
  }
}

ptrdiff_t row_stride(const Plan& plan, const AnyPixels& pixels) {
  return static_cast<ptrdiff_t>(pixels.shape(1) * plan.decode.format().pixel_bytes());
}

nb::dict run_pixels(const Plan& plan, AnyPixels pixels, nb::tuple stored, int orientation, uint64_t seed,
                    uint64_t epoch, uint64_t index, const Matrices& matrices) {
  check_pixels(plan, pixels);
  Plan single = ragged(plan);
  auto provider = std::make_shared<BufferProvider>(0);
  ItemResult result;
  result.stored = {nb::cast<int>(stored[0]), nb::cast<int>(stored[1])};
  result.orientation = orientation;
  Size size{static_cast<int>(pixels.shape(0)), static_cast<int>(pixels.shape(1))};
  const std::vector<Affine> affines = affines_from(matrices);
  {
    nb::gil_scoped_release released;
    Scratch scratch;
    const std::atomic<bool> never{false};
    process_pixels(single, static_cast<const uint8_t*>(pixels.data()), size, row_stride(plan, pixels), affines,
                   {seed, epoch, index}, nullptr, *provider, scratch, never, result);
  }
  return result_dict(result, single);
}

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

const char* wait_name(Pool::Wait wait) {
  const char* const names[] = {"timeout", "done", "referral", "closed"};
  return names[static_cast<int>(wait)];
}

// Blocks until the job is done, a referral needs a party, or the pool closes; raises what a signal handler raises.
const char* pool_wait(Pool& pool, const Job& job) {
  if (job.done()) return wait_name(Pool::Wait::done);
  for (;;) {
    Pool::Wait result;
    {
      nb::gil_scoped_release released;
      result = pool.wait(job, kSignalCheckMs);
    }
    if (result != Pool::Wait::timeout) return wait_name(result);
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

nb::object pool_take_referral(Pool& pool, int timeout_ms) {
  auto referral = std::make_unique<Referral>();
  Pool::Wait result;
  {
    nb::gil_scoped_release released;
    result = pool.take_referral(*referral, timeout_ms);
  }
  if (result == Pool::Wait::closed) return nb::none();
  if (result == Pool::Wait::timeout) return nb::bool_(false);
  return nb::cast(referral.release(), nb::rv_policy::take_ownership);
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

void referral_pixels(Pool& pool, Referral& referral, AnyPixels pixels, nb::tuple stored, int orientation,
                     const Matrices& matrices) {
  const Plan& plan = *referral.job->plan;
  check_pixels(plan, pixels);
  ItemResult& result = referral.job->results[referral.row];
  result.stored = {nb::cast<int>(stored[0]), nb::cast<int>(stored[1])};
  result.orientation = orientation;
  result.notes = 0;  // the party counts its own
  referral.job->inputs[referral.row].affines = affines_from(matrices);
  Size size{static_cast<int>(pixels.shape(0)), static_cast<int>(pixels.shape(1))};
  const ptrdiff_t stride = row_stride(plan, pixels);
  nb::gil_scoped_release released;
  static thread_local Scratch scratch;
  pool.return_pixels(referral, static_cast<const uint8_t*>(pixels.data()), size, stride, scratch);
}

bool referral_matrices(Pool& pool, Referral& referral, const Matrices& matrices) {
  std::vector<Affine> affines = affines_from(matrices);
  nb::gil_scoped_release released;
  static thread_local Scratch scratch;
  return pool.return_affines(referral, std::move(affines), scratch);
}

// What only some kinds of step have.
nb::dict step_extras(const Step& step) {
  nb::dict out;
  out["turns"] = step.turns;
  out["pad_mode"] = static_cast<int>(step.pad_mode);
  out["fill"] = std::vector<int>(step.fill, step.fill + 4);
  out["inverse"] = std::vector<double>(step.inverse, step.inverse + 6);
  out["op"] = static_cast<int>(step.op);
  out["amount"] = step.amount;
  out["quality"] = step.quality;
  out["float32"] = step.float32;
  return out;
}

nb::list resolve_steps(const nb::list& verbs, int height, int width, uint64_t seed, uint64_t epoch, uint64_t index,
                       const Matrices& matrices) {
  std::vector<Step> steps;
  Affine affine;
  Problem problem;
  nb::list out;
  if (!resolve(verbs_from(verbs), {height, width}, {seed, epoch, index}, affines_from(matrices), steps, affine,
               problem)) {
    throw nb::value_error((problem.cause + ": " + problem.message).c_str());
  }
  for (const Step& step : steps) {
    const char* const kinds[] = {"crop", "resize", "flip_x", "flip_y", "rotate90",
                                 "pad",  "warp",   "erase",  "color",  "jpeg"};
    nb::tuple common = nb::make_tuple(kinds[static_cast<int>(step.kind)], step.top, step.left, step.height, step.width,
                                      nb::make_tuple(step.box_top, step.box_left, step.box_bottom, step.box_right),
                                      filter_name(step.filter));
    out.append(is_frame_step(step) ? nb::object(common + nb::make_tuple(step_extras(step))) : nb::object(common));
  }
  out.append(column(std::vector<double>(affine.m, affine.m + 6), {2, 3}));
  return out;
}

// What a header says; no limit refuses anything here.
nb::dict inspect_bytes(nb::bytes data) {
  Limits limits;
  limits.max_pixels = limits.max_working_bytes = std::numeric_limits<uint64_t>::max();
  limits.max_scans = std::numeric_limits<int>::max();
  Header header;
  Problem problem;
  const char* const backends[] = {"jpeg", "png", "webp", "pillow"};
  if (!inspect(reinterpret_cast<const uint8_t*>(data.c_str()), data.size(), limits, header, problem)) {
    header.backend = Backend::pillow;
  }
  nb::dict out;
  out["backend"] = backends[static_cast<int>(header.backend)];
  out["reason"] = header.reason;
  out["stored"] = nb::make_tuple(header.stored_height, header.stored_width);
  out["orientation"] = header.orientation;
  out["pictures"] = header.pictures;
  out["has_alpha"] = header.has_alpha;
  out["has_icc"] = header.has_icc;
  return out;
}

nb::object inspect_paths(const std::vector<nb::bytes>& paths, int threads) {
  std::vector<std::string> names;
  for (const nb::bytes& path : paths) names.emplace_back(path.c_str(), path.size());
  std::vector<Size> sizes;
  {
    nb::gil_scoped_release released;
    sizes = upright_sizes(names, threads);
  }
  std::vector<int64_t> values;
  for (Size size : sizes) values.insert(values.end(), {size.height, size.width});
  return column(values, {sizes.size(), 2});
}

using ImageBytes = nb::ndarray<const uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using BatchBytes = nb::ndarray<uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

void pad_images(const nb::list& images, BatchBytes out) {
  const Block slot{nullptr, out.shape(1), out.shape(2), out.shape(3)};
  if (images.size() != out.shape(0)) throw nb::value_error("as many images as rows are needed");
  std::vector<ImageBytes> held;
  std::vector<Block> blocks;
  for (nb::handle entry : images) {
    Block block;
    if (!entry.is_none()) {
      const ImageBytes image = nb::cast<ImageBytes>(entry, false);
      block = {image.data(), image.shape(0), image.shape(1), image.shape(2)};
      if (block.planes > slot.planes || block.rows > slot.rows || block.row_bytes > slot.row_bytes) {
        throw nb::value_error("an image is larger than its slot");
      }
      held.push_back(image);
    }
    blocks.push_back(block);
  }
  nb::gil_scoped_release released;
  pad_blocks(blocks, slot, out.data());
}

}  // namespace
}  // namespace penstock

NB_MODULE(_native, m) {
  using namespace penstock;
  // A forked child, and a process with a thread stuck in a read, keep on purpose what they must not free.
  nb::set_leak_warnings(false);
  m.doc() = "Penstock's native core; not public.";

  nb::class_<Plan>(m, "Plan");
  m.def("make_plan", &make_plan, "verbs"_a, "decode"_a, "height"_a, "width"_a, "channels"_a, "dtype"_a, "layout"_a,
        "patch"_a, "max_patches"_a, "mean"_a, "std"_a, "max_pixels"_a, "max_working_bytes"_a, "max_scans"_a,
        "adaptive_order"_a);
  m.def("run_bytes", &run_bytes, "plan"_a, "data"_a, "seed"_a, "epoch"_a, "index"_a, "matrices"_a = Matrices());
  m.def("run_pixels", &run_pixels, "plan"_a, "pixels"_a, "stored"_a, "orientation"_a, "seed"_a, "epoch"_a, "index"_a,
        "matrices"_a = Matrices());

  nb::class_<Job>(m, "Job")
      .def("results", &job_results)
      .def_prop_ro("done", &Job::done)
      .def_ro("rows", &Job::rows)
      .def_rw("capacity", &Job::capacity);
  m.def("job_of_paths", &job_of_paths, "plan"_a, "indices"_a, "seed"_a, "epoch"_a, "rows"_a, "names"_a, "offsets"_a,
        "table_rows"_a, "prefix"_a);
  m.def("job_of_bytes", &job_of_bytes, "plan"_a, "indices"_a, "seed"_a, "epoch"_a, "rows"_a, "blobs"_a);
  m.def("job_of_arrays", &job_of_arrays, "plan"_a, "indices"_a, "seed"_a, "epoch"_a, "rows"_a, "arrays"_a);

  nb::class_<Referral>(m, "Referral")
      .def_prop_ro("row", [](const Referral& r) { return r.row; })
      .def_prop_ro("job", [](const Referral& r) { return r.job; })
      .def_prop_ro("asked", &referral_asked)
      .def("encoded", &referral_encoded);

  nb::class_<Pool>(m, "Pool")
      .def(nb::init<int, uint64_t, size_t>(), "threads"_a, "max_memory_bytes"_a, "keep_buffers"_a)
      .def_prop_ro("threads", &Pool::threads)
      // Keeps the GIL: no thread that holds the pool's mutex ever waits for it, and to take it back beside a thread
      // that spins in Python costs 5 ms.
      .def("submit", &Pool::submit, "job"_a, "more"_a)
      .def("wait", &pool_wait, "job"_a)
      .def(
          "wait_briefly",
          [](Pool& pool, const Job& job, int timeout_ms) {
            nb::gil_scoped_release released;
            return wait_name(pool.wait(job, timeout_ms));
          },
          "job"_a, "timeout_ms"_a)
      .def("cancel", &Pool::cancel, "job"_a, nb::call_guard<nb::gil_scoped_release>())
      .def("announce_parties", &Pool::announce_parties, "count"_a)
      .def("take_referral", &pool_take_referral, "timeout_ms"_a)
      .def("return_pixels", &referral_pixels, "referral"_a, "pixels"_a, "stored"_a, "orientation"_a,
           "matrices"_a = Matrices())
      .def("return_matrices", &referral_matrices, "referral"_a, "matrices"_a)
      .def(
          "return_failure",
          [](Pool& pool, Referral& referral, const std::string& stage, const std::string& cause,
             const std::string& message) {
            const Stage at = word<Stage>("stage", stage, {{"decode", Stage::decode}, {"transform", Stage::transform}});
            pool.return_failure(referral, Problem{at, cause, message});
          },
          "referral"_a, "stage"_a, "cause"_a, "message"_a)
      .def("times",
           [](const Pool& pool) {
             WorkerTimes t = pool.times();
             return nb::make_tuple(t.read_ns, t.decode_ns, t.transform_ns, t.batch_ns, t.starved_ns, t.blocked_ns,
                                   t.items);
           })
      .def(
          "close",
          [](Pool& pool, int timeout_ms) {
            std::vector<std::string> stuck;
            {
              nb::gil_scoped_release released;
              stuck = pool.close(timeout_ms);
            }
            nb::list paths;
            for (const std::string& path : stuck) paths.append(nb::bytes(path.data(), path.size()));
            return paths;
          },
          "timeout_ms"_a);

  m.def("resolve", &resolve_steps, "verbs"_a, "height"_a, "width"_a, "seed"_a, "epoch"_a, "index"_a,
        "matrices"_a = Matrices());
  m.def(
      "draw_bits",
      [](uint64_t seed, uint64_t epoch, uint64_t index, uint64_t ordinal, int count) {
        Draws draws({seed, epoch, index}, ordinal);
        std::vector<uint64_t> values;
        for (int i = 0; i < count; ++i) values.push_back(draws.bits());
        return values;
      },
      "seed"_a, "epoch"_a, "index"_a, "ordinal"_a, "count"_a);
  m.def(
      "inspect",
      [](nb::bytes data) {
        Header header;
        Problem problem;
        bool allowed = inspect(reinterpret_cast<const uint8_t*>(data.c_str()), data.size(), Limits{}, header, problem);
        nb::dict out;
        out["allowed"] = allowed;
        const char* const backends[] = {"jpeg", "png", "webp", "pillow"};
        out["backend"] = backends[static_cast<int>(header.backend)];
        out["reason"] = header.reason;
        out["stored"] = nb::make_tuple(header.stored_height, header.stored_width);
        out["orientation"] = header.orientation;
        out["working_bytes"] = header.working_bytes;
        out["problem"] = problem_tuple(problem);
        return out;
      },
      "data"_a);
  m.def("inspect_bytes", &inspect_bytes, "data"_a);
  m.def("inspect_paths", &inspect_paths, "paths"_a, "threads"_a);
  m.def("pad_images", &pad_images, "images"_a, "out"_a);
  m.def(
      "bare_decode",
      [](const std::vector<std::string>& paths, int threads) {
        nb::gil_scoped_release released;
        return bare_decode(paths, threads);
      },
      "paths"_a, "threads"_a);
  m.def(
      "bare_roundtrip",
      [](const std::vector<nb::ndarray<const uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>>& pictures,
         int quality, int threads) {
        Size size = {0, 0};
        std::vector<const uint8_t*> pixels;
        for (const auto& picture : pictures) {
          const Size own = {static_cast<int>(picture.shape(0)), static_cast<int>(picture.shape(1))};
          if (pixels.empty()) size = own;
          if (own.height != size.height || own.width != size.width || picture.shape(2) != 3) {
            throw nb::value_error("bare_roundtrip: expected pictures [H, W, 3] of one size.");
          }
          pixels.push_back(picture.data());
        }
        nb::gil_scoped_release released;
        return bare_roundtrip(pixels, size, quality, threads);
      },
      "pictures"_a, "quality"_a, "threads"_a);
  m.def(
      "jpeg_roundtrip",
      [](nb::ndarray<uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> rgb, int quality) {
        const Size size = {static_cast<int>(rgb.shape(0)), static_cast<int>(rgb.shape(1))};
        const ptrdiff_t stride = static_cast<ptrdiff_t>(size.width) * kChannels;
        std::vector<uint8_t> encoded;
        nb::gil_scoped_release released;
        return jpeg_roundtrip(rgb.data(), stride, size, quality, rgb.data(), stride, encoded);
      },
      "rgb"_a, "quality"_a);
  m.def("simd_name", [] { return kernels().name; });
  m.def("jpeg_version", &jpeg_version);
}
