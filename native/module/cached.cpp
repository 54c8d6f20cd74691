// Caches as lines open them, and what jobs are told of them.
#include "python.h"

namespace penstock {
namespace {

// An open store. shared_from_this: as Plan, which see.
struct OpenCache : std::enable_shared_from_this<OpenCache> {
  std::shared_ptr<CacheStore> store;
  CacheKey recipe;
};

// `fingerprint` says what is kept. Raises ValueError with the tail of a sentence where the folder is refused.
std::shared_ptr<OpenCache> open_cache(const nb::bytes& folder, const std::string& fingerprint, uint64_t max_bytes,
                                      bool evict, bool read_only, bool readable_by_others, bool network, bool ram,
                                      const std::string& about) {
  auto opened = std::make_shared<OpenCache>();
  opened->recipe = cache_key(fingerprint.data(), fingerprint.size(), {});
  CacheOptions options;
  options.folder = std::string(folder.c_str(), folder.size());
  options.max_bytes = max_bytes;
  options.recipe = opened->recipe;
  options.evict = evict;
  options.read_only = read_only;
  options.readable_by_others = readable_by_others;
  options.network = network;
  options.volatile_ = ram;
  options.about = about;
  std::string refusal;
  {
    Released released;
    opened->store = CacheStore::open(options, refusal);
  }
  if (!opened->store) throw nb::value_error(refusal.c_str());
  return opened;
}

nb::dict counts_of(const OpenCache& cache) {
  CacheCounts counts;
  {
    Released released;
    cache.store->refresh();
    counts = cache.store->counts();
  }
  return dict_of(counts);
}

void close_cache(OpenCache& cache) {
  Released released;
  cache.store->close();
}

std::shared_ptr<Caching> caching_of(const OpenCache& cache, bool encoded, bool by_content, uint64_t decoder,
                                    size_t part) {
  auto made = std::make_shared<Caching>();
  made->store = cache.store;
  made->recipe = cache.recipe;
  made->encoded = encoded;
  made->by_content = by_content;
  made->decoder = decoder;
  made->part = part;
  return made;
}

}  // namespace

void bind_cached(nb::module_& m) {
  nb::class_<OpenCache>(m, "OpenCache")
      .def("counts", &counts_of)
      .def("trouble", [](const OpenCache& cache) { return cache.store->trouble(); })
      .def("became_full", [](const OpenCache& cache) { return cache.store->became_full(); })
      .def("removed",
           [](const OpenCache& cache) {
             Released released;
             return cache.store->removed();
           })
      .def("close", &close_cache);
  nb::class_<Caching>(m, "Caching").def("filling", [](const Caching& cache) {
    auto made = std::make_shared<Caching>(cache);
    made->fill = true;
    return made;
  });
  m.def("open_cache", &open_cache, "folder"_a, "fingerprint"_a, "max_bytes"_a, "evict"_a, "read_only"_a,
        "readable_by_others"_a, "network"_a, "ram"_a, "about"_a);
  m.def("codec_versions", &codec_versions);
  m.def("caching_of", &caching_of, "cache"_a, "encoded"_a, "by_content"_a, "decoder"_a, "part"_a);
}

}  // namespace penstock
