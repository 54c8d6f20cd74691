// The cache's store for Python: records as dicts, pixels as bytes. The loop itself uses the store without Python.
#include "../cache.h"
#include "python.h"

namespace penstock {
nb::dict dict_of(const CacheCounts& counts) {
  nb::dict out;
  out["entries"] = counts.entries;
  out["bytes"] = counts.bytes;
  out["segments"] = counts.segments;
  out["recipes"] = counts.recipes;
  out["hits"] = counts.hits;
  out["misses"] = counts.misses;
  out["stored"] = counts.stored;
  out["present"] = counts.present;
  out["left_out"] = counts.left_out;
  out["corrupt"] = counts.corrupt;
  out["rebuilt"] = counts.rebuilt;
  return out;
}

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

CacheKey key_of(const nb::tuple& pair) {
  if (pair.size() != 2) throw nb::value_error("a key is two numbers");
  return {nb::cast<uint64_t>(pair[0]), nb::cast<uint64_t>(pair[1])};
}

nb::tuple tuple_of(const CacheKey& key) { return nb::make_tuple(key.high, key.low); }

nb::tuple tuple_of(const Size& size) { return nb::make_tuple(size.height, size.width); }

Size size_of(const nb::handle& pair) {
  const auto given = nb::cast<std::vector<int>>(pair);
  if (given.size() != 2) throw nb::value_error("a size is two numbers");
  return {given[0], given[1]};
}

nb::bytes bytes_of(const void* data, size_t bytes) { return nb::bytes(static_cast<const char*>(data), bytes); }

// Sentences of a codec or of Pillow may hold any bytes.
nb::object text_of(const std::string& text) {
  return nb::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape"));
}

std::string text_from(const nb::handle& text) {
  const nb::object bytes = nb::steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape"));
  if (!bytes.is_valid()) throw nb::python_error();
  return {PyBytes_AsString(bytes.ptr()), static_cast<size_t>(PyBytes_Size(bytes.ptr()))};
}

nb::dict dict_of(const CacheRecord& record) {
  nb::dict out;
  out["encoded"] = record.encoded;
  out["size"] = tuple_of(record.size);
  out["channels"] = record.channels;
  out["stored"] = tuple_of(record.stored);
  out["orientation"] = record.orientation;
  nb::list geometry;
  for (const double number : record.geometry.m) geometry.append(number);
  out["geometry"] = geometry;
  out["notes"] = record.notes;
  out["damaged"] = record.damaged;
  out["damage"] = text_of(record.damage);
  out["party_notes"] = text_of(record.party_notes);
  out["decoder"] = record.decoder;
  return out;
}

CacheRecord record_of(const nb::dict& dict) {
  CacheRecord record;
  const auto given = [&](const char* name) { return dict.contains(name); };
  if (given("encoded")) record.encoded = nb::cast<bool>(dict["encoded"]);
  if (given("size")) record.size = size_of(dict["size"]);
  if (given("channels")) record.channels = nb::cast<int>(dict["channels"]);
  if (given("stored")) record.stored = size_of(dict["stored"]);
  if (given("orientation")) record.orientation = nb::cast<int>(dict["orientation"]);
  if (given("geometry")) {
    const auto numbers = nb::cast<std::vector<double>>(dict["geometry"]);
    if (numbers.size() != 6) throw nb::value_error("a geometry is six numbers");
    std::copy(numbers.begin(), numbers.end(), record.geometry.m);
  }
  if (given("notes")) record.notes = nb::cast<uint32_t>(dict["notes"]);
  if (given("damaged")) record.damaged = nb::cast<bool>(dict["damaged"]);
  if (given("damage")) record.damage = text_from(dict["damage"]);
  if (given("party_notes")) record.party_notes = text_from(dict["party_notes"]);
  if (given("decoder")) record.decoder = nb::cast<uint64_t>(dict["decoder"]);
  return record;
}

nb::dict dict_of(const CacheReport& report) {
  nb::dict out;
  out["segments"] = report.segments;
  out["entries"] = report.entries;
  out["bytes"] = report.bytes;
  out["corrupt"] = report.corrupt;
  out["torn"] = report.torn;
  out["unindexed"] = report.unindexed;
  out["damaged_indexes"] = report.damaged_indexes;
  nb::list recipes;
  for (const CachedRecipe& recipe : report.recipes) {
    nb::dict one;
    one["recipe"] = tuple_of(recipe.recipe);
    one["segments"] = recipe.segments;
    one["entries"] = recipe.entries;
    one["bytes"] = recipe.bytes;
    one["written_ns"] = recipe.written_ns;
    recipes.append(one);
  }
  out["recipes"] = recipes;
  nb::list problems;
  for (const std::string& problem : report.problems) problems.append(text_of(problem));
  out["problems"] = problems;
  nb::list made_again;
  for (const std::string& problem : report.made_again) made_again.append(text_of(problem));
  out["made_again"] = made_again;
  return out;
}

const char* word_of(CacheStore::Kept kept) {
  switch (kept) {
    case CacheStore::Kept::stored:
      return "stored";
    case CacheStore::Kept::present:
      return "present";
    case CacheStore::Kept::full:
      return "full";
    case CacheStore::Kept::too_large:
      return "too_large";
    case CacheStore::Kept::off:
      return "off";
  }
  return "off";
}

std::shared_ptr<CacheStore> open_store(const nb::bytes& folder, uint64_t max_bytes, const nb::tuple& recipe, bool evict,
                                       bool read_only, bool readable_by_others, bool network, bool volatile_,
                                       const std::string& about) {
  CacheOptions options;
  options.folder = std::string(folder.c_str(), folder.size());
  options.max_bytes = max_bytes;
  options.recipe = key_of(recipe);
  options.about = about;
  options.evict = evict;
  options.read_only = read_only;
  options.readable_by_others = readable_by_others;
  options.network = network;
  options.volatile_ = volatile_;
  std::string refusal;
  std::shared_ptr<CacheStore> store;
  {
    Released released;
    store = CacheStore::open(options, refusal);
  }
  if (store == nullptr) throw nb::value_error(refusal.c_str());
  return store;
}

nb::object find(CacheStore& store, const nb::tuple& key) {
  CacheHit hit;
  const CacheKey wanted = key_of(key);
  bool found = false;
  {
    Released released;
    found = store.find(wanted, hit);
  }
  if (!found) return nb::none();
  return nb::make_tuple(bytes_of(hit.record.data, hit.record.bytes), dict_of(hit.record));
}

const char* keep(CacheStore& store, const nb::tuple& key, const nb::dict& fields, const Bytes& data) {
  CacheRecord record = record_of(fields);
  record.data = data.data();
  record.bytes = data.size();
  const CacheKey wanted = key_of(key);
  Released released;
  return word_of(store.keep(wanted, record));
}

// Work on a folder from outside; a problem is a ValueError with the sentence's tail.
template <typename Function>
auto on_folder(Function function, const nb::bytes& folder) {
  const std::string path(folder.c_str(), folder.size());
  std::string problem;
  auto result = [&] {
    Released released;
    return function(path, problem);
  }();
  if (!problem.empty()) throw nb::value_error(problem.c_str());
  return result;
}

}  // namespace

void bind_caches(nb::module_& m) {
  nb::class_<CacheStore>(m, "CacheStore")
      .def_static("open", &open_store, "folder"_a, "max_bytes"_a, "recipe"_a, "evict"_a = false, "read_only"_a = false,
                  "readable_by_others"_a = false, "network"_a = false, "volatile"_a = false, "about"_a = "")
      .def("find", &find, "key"_a)
      .def("keep", &keep, "key"_a, "record"_a, "data"_a)
      .def("refresh",
           [](CacheStore& store) {
             Released released;
             store.refresh();
           })
      .def("counts", [](const CacheStore& store) { return dict_of(store.counts()); })
      .def("trouble", [](CacheStore& store) { return text_of(store.trouble()); })
      .def("close",
           [](CacheStore& store) {
             Released released;
             store.close();
           })
      .def_static(
          "summary", [](const nb::bytes& folder) { return dict_of(on_folder(&CacheStore::summary, folder)); },
          "folder"_a)
      .def_static(
          "verify", [](const nb::bytes& folder) { return dict_of(on_folder(&CacheStore::verify, folder)); }, "folder"_a)
      .def_static(
          "rebuild", [](const nb::bytes& folder) { return on_folder(&CacheStore::rebuild, folder); }, "folder"_a)
      .def_static("clear", [](const nb::bytes& folder) { return on_folder(&CacheStore::clear, folder); }, "folder"_a);
  m.def(
      "cache_key",
      [](const nb::bytes& identity, const nb::tuple& recipe) {
        return tuple_of(cache_key(identity.c_str(), identity.size(), key_of(recipe)));
      },
      "identity"_a, "recipe"_a);
  m.def("xxh3", [](const Bytes& data) { return cache_checksum(data.data(), data.size()); }, "data"_a);
}

}  // namespace penstock
