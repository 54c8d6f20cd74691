// The cache's store: what is kept is found, by several threads and several stores; the table; the file systems refused.
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "../cache_folder.h"
#include "check.h"

using namespace penstock;

namespace {

std::string base;
const CacheKey kRecipe = {1, 2};

std::string fresh(const char* name) { return base + "/" + name; }

CacheKey key_of(uint32_t number) { return cache_key(&number, sizeof(number), kRecipe); }

std::vector<uint8_t> pixels_of(uint32_t number) {
  std::vector<uint8_t> pixels(100 + number * 37 % 5000);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * (2 * number + 1) >> 2);
  return pixels;
}

CacheStore::Kept keep(CacheStore& store, uint32_t number, uint64_t decoder = 0) {
  const std::vector<uint8_t> pixels = pixels_of(number);
  CacheRecord record;
  record.size = {1, static_cast<int>(pixels.size())};
  record.channels = 1;
  record.stored = {static_cast<int>(number), 5};
  record.orientation = 6;
  record.geometry.m[2] = 0.1 * number;
  record.notes = number;
  record.damaged = number % 3 == 0;
  record.damage = record.damaged ? "cut" : "";
  record.party_notes = number % 5 == 0 ? "one\ntwo" : "";
  record.decoder = decoder;
  record.data = pixels.data();
  record.bytes = pixels.size();
  return store.keep(key_of(number), record);
}

bool found_right(CacheStore& store, uint32_t number) {
  CacheHit hit;
  if (!store.find(key_of(number), hit)) return false;
  const std::vector<uint8_t> pixels = pixels_of(number);
  const CacheRecord& record = hit.record;
  return record.bytes == pixels.size() && std::memcmp(record.data, pixels.data(), pixels.size()) == 0 &&
         record.stored == Size{static_cast<int>(number), 5} && record.orientation == 6 && record.notes == number &&
         record.geometry.m[2] == 0.1 * number && record.damaged == (number % 3 == 0) &&
         record.damage == (number % 3 == 0 ? "cut" : "") && record.party_notes == (number % 5 == 0 ? "one\ntwo" : "");
}

std::shared_ptr<CacheStore> open(const std::string& folder, uint64_t max_bytes = 64 << 20) {
  CacheOptions options;
  options.folder = folder;
  options.max_bytes = max_bytes;
  options.recipe = kRecipe;
  std::string refusal;
  std::shared_ptr<CacheStore> store = CacheStore::open(options, refusal);
  CHECK(store != nullptr && refusal.empty());
  return store;
}

// A picture takes several writes, and they may end anywhere in it.
void large_pictures_are_kept_whole() {
  const std::string folder = fresh("large");
  for (const size_t bytes : {size_t{512} << 10, (size_t{512} << 10) - 200, (size_t{512} << 10) + 1, size_t{1300003}}) {
    std::vector<uint8_t> pixels(bytes);
    for (size_t i = 0; i < bytes; ++i) pixels[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
    CacheRecord record;
    record.size = {1, static_cast<int>(bytes)};
    record.channels = 1;
    record.damaged = true;
    record.damage = "cut";
    record.data = pixels.data();
    record.bytes = bytes;
    const CacheKey key = key_of(static_cast<uint32_t>(bytes));
    CHECK(open(folder)->keep(key, record) == CacheStore::Kept::stored);
    const std::shared_ptr<CacheStore> other = open(folder);
    CacheHit hit;
    CHECK(other->find(key, hit));
    CHECK(hit.record.bytes == bytes && hit.record.damage == "cut");
    CHECK(hit.record.data != nullptr && std::memcmp(hit.record.data, pixels.data(), bytes) == 0);
  }
  std::string problem;
  CHECK(CacheStore::verify(folder, problem).problems.empty());
}

void the_table_is_a_map() {
  CacheTable table;
  std::map<uint64_t, uint64_t> expected;
  uint64_t state = 1;
  for (int i = 0; i < 200000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t name = (state >> 33) % 500;
    const CacheKey key = {0, name % 7 * 64 + name};  // few different home slots
    const uint64_t offset = ((state >> 20) % 1000) * kCacheAlignment;
    CacheTable::Place place;
    const bool there = table.find(key, place);
    CHECK(there == (expected.count(key.low) != 0));
    if (there) CHECK(place.offset == expected[key.low]);
    if ((state >> 60) % 2 == 0) {
      table.put(key, {3, offset, false});
      expected[key.low] = offset;
    } else if (there) {
      CHECK(!table.drop(key, {4, place.offset, false}) && table.drop(key, place));
      expected.erase(key.low);
    }
    CHECK(table.size() == expected.size());
  }
}

void keeps_and_finds() {
  const std::string folder = fresh("plain");
  const std::shared_ptr<CacheStore> store = open(folder);
  for (uint32_t i = 0; i < 500; ++i) CHECK(keep(*store, i) == CacheStore::Kept::stored);
  for (uint32_t i = 0; i < 500; ++i) CHECK(found_right(*store, i));
  CHECK(keep(*store, 7) == CacheStore::Kept::present);
  CHECK(keep(*store, 7, 99) == CacheStore::Kept::stored);  // another decoder
  CHECK(!found_right(*store, 501));
  CacheCounts counts = store->counts();
  CHECK(counts.entries == 500 && counts.stored == 501 && counts.hits == 500 && counts.misses == 1);
  const std::shared_ptr<CacheStore> other = open(folder);  // while the first one writes
  CHECK(other->counts().entries == 500);
  CHECK(keep(*store, 600) == CacheStore::Kept::stored);
  other->refresh();
  CHECK(found_right(*other, 600));
  CacheHit hit;
  CHECK(other->find(key_of(600), hit));
  store->close();
  other->close();
  CHECK(!store->find(key_of(1), hit) && keep(*store, 1) == CacheStore::Kept::off);
  const std::vector<uint8_t> pixels = pixels_of(600);
  CHECK(std::memcmp(hit.record.data, pixels.data(), pixels.size()) == 0);  // what was found stays
  struct stat status;
  CHECK(stat(folder.c_str(), &status) == 0 && (status.st_mode & 0777) == 0700);
}

void many_threads() {
  const std::string folder = fresh("threads");
  const uint64_t many = uint64_t{1} << 30;  // enough for several segments at once
  const std::shared_ptr<CacheStore> store = open(folder, many), other = open(folder, many);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      CacheStore& mine = t % 2 == 0 ? *store : *other;
      for (uint32_t i = 0; i < 2000; ++i) {
        const uint32_t number = (i * 7 + t * 13) % 300;
        CacheHit hit;
        if (mine.find(key_of(number), hit)) {
          if (!found_right(mine, number)) ++wrong;
        } else if (keep(mine, number) > CacheStore::Kept::present) {
          ++wrong;
        }
        if (i % 200 == 0) mine.refresh();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(store->counts().corrupt == 0);
}

// What each of several threads keeps stays within the limit and is found by a later process.
void many_writers(uint64_t max_bytes) {
  const std::string folder = fresh("writers");
  constexpr uint32_t kThreads = 6, kEach = 400, kBytes = 100000;
  const std::vector<uint8_t> pixels(kBytes, 5);
  std::atomic<uint64_t> kept{0}, left{0}, wrong{0};
  {
    const std::shared_ptr<CacheStore> store = open(folder, max_bytes);
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (uint32_t i = 0; i < kEach; ++i) {
          CacheRecord record;
          record.size = {1, static_cast<int>(kBytes)};
          record.channels = 1;
          record.notes = t * kEach + i;
          record.data = pixels.data();
          record.bytes = kBytes;
          const CacheStore::Kept result = store->keep(key_of(record.notes), record);
          CacheHit hit;
          if (result == CacheStore::Kept::stored) {
            ++kept;
            if (!store->find(key_of(record.notes), hit) || hit.record.notes != record.notes) ++wrong;
          } else if (result == CacheStore::Kept::full) {
            ++left;
          } else {
            ++wrong;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    store->refresh();
    CHECK(store->counts().bytes <= max_bytes && store->counts().entries == kept);
  }
  CHECK(wrong == 0 && kept + left == kThreads * kEach);
  CHECK(left == 0 || kept * (kBytes + 512) > max_bytes * 7 / 8);
  std::string problem;
  const CacheReport report = CacheStore::verify(folder, problem);
  CHECK(problem.empty() && report.problems.empty() && report.entries == kept && report.torn == 0);
  CHECK(open(folder, max_bytes)->counts().entries == kept);
  std::filesystem::remove_all(folder);
}

void removed_folders_are_let_go() {
  const std::string folder = fresh("removed");
  const std::shared_ptr<CacheStore> store = open(folder, uint64_t{1} << 30);
  keep(*store, 1);
  CacheHit hit;
  CHECK(store->find(key_of(1), hit) && !store->removed());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 10 + t; !stop; i += 3) {
        keep(*store, i % 5000);
        found_right(*store, i % 5000);
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::filesystem::remove_all(folder);
  CHECK(store->removed());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  store->refresh();  // whether a thread has noticed it is a matter of luck
  CHECK(!found_right(*store, 1) && keep(*store, 1) == CacheStore::Kept::off && !store->trouble().empty());
  const std::vector<uint8_t> pixels = pixels_of(1);
  CHECK(std::memcmp(hit.record.data, pixels.data(), pixels.size()) == 0);  // what was found stays
}

std::vector<uint8_t> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_bytes(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// Whatever the files hold: nothing wrong is found, and what goes missing can be kept again.
void damaged_files_give_nothing_wrong() {
  const std::string folder = fresh("damaged");
  constexpr uint32_t kItems = 6;
  {
    const std::shared_ptr<CacheStore> store = open(folder);
    for (uint32_t i = 0; i < kItems; ++i) keep(*store, i);
  }
  std::string pixels, index;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == kPixels) pixels = entry.path();
    if (entry.path().extension() == kIndex) index = entry.path();
  }
  const std::vector<uint8_t> whole_pixels = read_bytes(pixels), whole_index = read_bytes(index);
  uint64_t state = 7;
  int missing = 0;
  for (int round = 0; round < 600; ++round) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::vector<uint8_t> bytes = round % 2 == 0 ? whole_pixels : whole_index;
    const size_t at = (state >> 20) % bytes.size();
    if (round % 6 < 4) {
      bytes[at] ^= static_cast<uint8_t>(1 + (state >> 40) % 255);
    } else {
      bytes.resize(at);
    }
    write_bytes(pixels, round % 2 == 0 ? bytes : whole_pixels);
    write_bytes(index, round % 2 == 0 ? whole_index : bytes);
    std::string problem;
    CacheStore::verify(folder, problem);
    CHECK(problem.empty());
    std::shared_ptr<CacheStore> store = open(folder);
    for (uint32_t i = 0; i < kItems; ++i) {
      CacheHit hit;
      if (!store->find(key_of(i), hit)) {
        ++missing;
        CHECK(keep(*store, i) == CacheStore::Kept::stored);
      }
      CHECK(found_right(*store, i));
    }
    store.reset();
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string path = entry.path();
      const bool segment = entry.path().extension() == kPixels || entry.path().extension() == kIndex;
      if (segment && path != pixels && path != index) std::filesystem::remove(path);
    }
  }
  CHECK(missing > 100);
}

// XXH3-64 has a way of its own for each range of lengths. Seeded with 0 it is not dispatched: the portable value.
void checksums_are_the_same_with_avx2() {
  if (checksum_avx2() == nullptr) return;
  std::vector<uint8_t> bytes(5000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  for (size_t count = 0; count < bytes.size() - 3; count += count < 600 ? 1 : 97) {
    const uint8_t* data = bytes.data() + count % 3;
    CHECK(checksum_avx2()(data, count) == cache_checksum_seeded(data, count, 0));
  }
}

void network_file_systems_have_names() {
  for (const uint64_t number : {0x6969u, 0xFF534D42u, 0x0BD00BD0u, 0x00C36400u, 0x47504653u, 0x01021997u}) {
    CHECK(network_file_system_name(number) != nullptr);
  }
  for (const uint64_t number : {0xEF53u, 0x01021994u, 0x58465342u, 0x9123683Eu, 0x794C7630u}) {  // ext4, tmpfs, ...
    CHECK(network_file_system_name(number) == nullptr);
  }
}

}  // namespace

int main() {
  char pattern[] = "/tmp/penstock_test_cache_XXXXXX";
  if (mkdtemp(pattern) == nullptr) return 1;
  base = pattern;
  the_table_is_a_map();
  keeps_and_finds();
  large_pictures_are_kept_whole();
  many_threads();
  many_writers(uint64_t{16} << 20);
  many_writers(uint64_t{1} << 30);
  removed_folders_are_let_go();
  damaged_files_give_nothing_wrong();
  checksums_are_the_same_with_avx2();
  network_file_systems_have_names();
  std::filesystem::remove_all(base);
  return penstock_test::report("test_cache");
}
