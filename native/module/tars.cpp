// The index of tars, as dicts of columns.
#include "../tar.h"
#include "python.h"

namespace penstock {
namespace {

nb::bytes bytes_of(const std::string& text) { return nb::bytes(text.data(), text.size()); }

template <typename Element>
nb::object whole_column(const std::vector<Element>& values) {
  return column(values, {values.size()});
}

nb::dict dict_of(const TarIndex& index) {
  nb::dict out;
  out["problem"] = problem_tuple(index.problem);
  out["file"] = nb::make_tuple(index.file_bytes, index.mtime_ns, index.ctime_ns);
  out["keys"] = bytes_of(index.keys);
  out["key_offsets"] = whole_column(index.key_offsets);
  nb::list extensions;
  for (const std::string& extension : index.extensions) extensions.append(bytes_of(extension));
  out["extensions"] = extensions;
  out["sample"] = whole_column(index.sample);
  out["extension"] = whole_column(index.extension);
  out["offset"] = whole_column(index.offset);
  out["size"] = whole_column(index.size);
  out["state"] = whole_column(index.state);
  out["classes"] = bytes_of(index.classes);
  out["class_offsets"] = whole_column(index.class_offsets);
  std::vector<int64_t> damage;
  for (const TarDamage& each : index.damage) {
    damage.insert(damage.end(), {static_cast<int64_t>(each.fault), each.at, each.first, each.second});
  }
  out["damage"] = column(damage, {index.damage.size(), 4});
  const TarCounts& counts = index.counts;
  out["counts"] = whole_column(
      std::vector<int64_t>{counts.links, counts.folders, counts.devices, counts.others, counts.hidden, counts.unnamed});
  return out;
}

nb::list index_paths(const std::vector<nb::bytes>& paths, int threads) {
  std::vector<std::string> names;
  for (const nb::bytes& path : paths) names.emplace_back(path.c_str(), path.size());
  std::vector<TarIndex> indices;
  {
    Released released;
    indices = index_tars(names, threads);
  }
  nb::list out;
  for (const TarIndex& index : indices) out.append(dict_of(index));
  return out;
}

}  // namespace

void bind_tars(nb::module_& m) { m.def("index_tars", &index_paths, "paths"_a, "threads"_a); }

}  // namespace penstock
