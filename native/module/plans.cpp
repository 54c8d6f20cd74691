// Plans, one image through a plan, and what a plan resolves to.
#include <nanobind/stl/pair.h>

#include "frame.h"
#include "python.h"

namespace penstock {
namespace {

const char* filter_name(Filter filter) {
  const char* const names[] = {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"};
  return names[static_cast<int>(filter)];
}

// (channels, dtype) of the pixels that a map answers.
Format format_from(const nb::tuple& given) {
  return {nb::cast<int>(given[0]),
          word<Sample>("dtype", nb::cast<std::string>(given[1]),
                       {{"uint8", Sample::uint8}, {"uint16", Sample::uint16}, {"float32", Sample::float32}})};
}

std::shared_ptr<Plan> make_plan(const nb::list& verbs, const nb::dict& decode, int height, int width, int channels,
                                const std::string& dtype, const std::string& layout, int patch, int max_patches,
                                const std::vector<float>& mean, const std::vector<float>& std_, uint64_t max_pixels,
                                uint64_t max_working_bytes, int max_scans, bool adaptive_order,
                                const std::vector<std::shared_ptr<Plan>>& parts, const nb::object& given, bool goes_on,
                                bool cut, bool in_slot,
                                const std::vector<std::pair<std::shared_ptr<Plan>, int>>& views) {
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
  plan->parts = parts;
  if (!given.is_none()) plan->given = format_from(nb::cast<nb::tuple>(given));
  plan->goes_on = goes_on;
  plan->cut = cut;
  plan->in_slot = in_slot;
  for (const auto& [each, copies] : views) plan->views.push_back({each, copies});
  return plan;
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
  copy.views.clear();  // the first of them alone
  return copy;
}

nb::dict run_input(const Plan& plan, const Input& input, uint64_t seed, uint64_t epoch, uint64_t index) {
  Plan single = ragged(plan);
  auto provider = std::make_shared<BufferProvider>(0);
  ItemResult result;
  {
    Released released;
    Scratch scratch;
    std::atomic<bool> cancel{false};
    Holding unlimited;
    process_input(single, input, {seed, epoch, index}, nullptr, *provider, unlimited, scratch, cancel, result);
  }
  return result_dict(result, single);
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
    Released released;
    Scratch scratch;
    const std::atomic<bool> never{false};
    process_pixels(single, static_cast<const uint8_t*>(pixels.data()), size, row_stride(plan, pixels), affines,
                   {seed, epoch, index}, nullptr, *provider, scratch, never, result);
  }
  return result_dict(result, single);
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

std::vector<uint64_t> draw_bits(uint64_t seed, uint64_t epoch, uint64_t index, uint64_t ordinal, int count) {
  Draws draws({seed, epoch, index}, ordinal);
  std::vector<uint64_t> values;
  for (int i = 0; i < count; ++i) values.push_back(draws.bits());
  return values;
}

}  // namespace

void bind_plans(nb::module_& m) {
  nb::class_<Plan>(m, "Plan").def_ro("parts", &Plan::parts);
  m.def("make_plan", &make_plan, "verbs"_a, "decode"_a, "height"_a, "width"_a, "channels"_a, "dtype"_a, "layout"_a,
        "patch"_a, "max_patches"_a, "mean"_a, "std"_a, "max_pixels"_a, "max_working_bytes"_a, "max_scans"_a,
        "adaptive_order"_a, "parts"_a = std::vector<std::shared_ptr<Plan>>(), "given"_a = nb::none(),
        "goes_on"_a = false, "cut"_a = false, "in_slot"_a = false,
        "views"_a = std::vector<std::pair<std::shared_ptr<Plan>, int>>());
  m.def("run_bytes", &run_bytes, "plan"_a, "data"_a, "seed"_a, "epoch"_a, "index"_a, "matrices"_a = Matrices());
  m.def("run_pixels", &run_pixels, "plan"_a, "pixels"_a, "stored"_a, "orientation"_a, "seed"_a, "epoch"_a, "index"_a,
        "matrices"_a = Matrices());
  m.def("resolve", &resolve_steps, "verbs"_a, "height"_a, "width"_a, "seed"_a, "epoch"_a, "index"_a,
        "matrices"_a = Matrices());
  m.def("draw_bits", &draw_bits, "seed"_a, "epoch"_a, "index"_a, "ordinal"_a, "count"_a);
}

}  // namespace penstock
