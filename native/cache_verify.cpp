// A cache's folder looked at from outside, by nobody who uses it: what is in it, whether it is right, and emptied.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "cache_folder.h"

namespace penstock {

namespace {

// The folder and all that is known of it; false with the sentence's tail.
bool look_at(const std::string& path, CacheFolder& folder, CacheSurvey& survey, std::string& problem) {
  if (!folder.open_existing(path, problem)) return false;
  if (survey.look(folder, true)) return true;
  problem = "expected a folder that can be listed, found one that cannot";
  return false;
}

// What a report begins with.
CacheReport counted(const CacheSurvey& survey) {
  CacheReport report;
  report.bytes = survey.bytes();
  report.segments = survey.segments().size();
  return report;
}

CachedRecipe& recipe_of(CacheReport& report, const CacheKey& recipe) {
  for (CachedRecipe& known : report.recipes) {
    if (known.recipe == recipe) return known;
  }
  report.recipes.push_back({recipe, 0, 0, 0, 0});
  return report.recipes.back();
}

void count_segment(CacheReport& report, const CacheFolder& folder, const std::string& name,
                   const CacheSurvey::Known& known, uint64_t entries) {
  CachedRecipe& recipe = recipe_of(report, known.header.recipe);
  ++recipe.segments;
  recipe.entries += entries;
  recipe.bytes += known.bytes;
  recipe.written_ns = std::max(recipe.written_ns, written_ns_beside(folder.number(), name + kPixels));
  report.entries += entries;
}

bool same(const IndexRecord& a, const IndexRecord& b) {
  return a.key == b.key && a.offset == b.offset && a.payload_bytes == b.payload_bytes &&
         a.payload_checksum == b.payload_checksum && a.decoder == b.decoder;
}

// What is wrong, in the order of time, until it is known whether it was made again.
class Findings {
 public:
  // Counted as a corrupt record; made again once each of the `keys` has come again, where there are any.
  void add_record(const std::string& text, const std::vector<CacheKey>& keys) {
    for (const CacheKey& key : keys) waiting_.emplace(std::make_pair(key.high, key.low), all_.size());
    all_.push_back({text, true, !keys.empty(), keys.size()});
  }
  void add(const std::string& text) { all_.push_back({text, false, false, 0}); }
  // A whole entry, later than all that was added so far.
  void take(const CacheKey& key) {
    if (waiting_.empty()) return;
    const auto [first, last] = waiting_.equal_range(std::make_pair(key.high, key.low));
    for (auto each = first; each != last; ++each) --all_[each->second].missing;
    waiting_.erase(first, last);
  }
  void tell(CacheReport& report) const {
    for (const Finding& each : all_) {
      const bool made_again = each.has_keys && each.missing == 0;
      (made_again ? report.made_again : report.problems).push_back(each.text);
      if (each.record && !made_again) ++report.corrupt;
    }
  }

 private:
  struct Finding {
    std::string text;
    bool record, has_keys;
    size_t missing;  // of its keys
  };
  std::vector<Finding> all_;
  std::multimap<std::pair<uint64_t, uint64_t>, size_t> waiting_;  // keys to places in all_
};

struct NamedRecords {
  IndexReader::State state = IndexReader::State::good;
  uint64_t bad = 0;
  std::vector<IndexRecord> records;  // by offset
};

NamedRecords named_in_index(const CacheFolder& folder, const Segment& segment, bool living) {
  NamedRecords named;
  IndexReader reader;
  named.state = reader.read(folder.number(), segment, living, named.records);
  named.bad = reader.bad_records();
  return named;
}

// The keys of what is wrong: its own, or those that the index names in the stretch; none where that leaves a doubt.
std::vector<CacheKey> keys_of(const Segment::Wrong& wrong, const NamedRecords& named) {
  if (wrong.key != nullptr) return {*wrong.key};
  std::vector<CacheKey> keys;
  if (named.state != IndexReader::State::good) return keys;
  const auto before = [](const IndexRecord& record, uint64_t offset) { return record.offset < offset; };
  auto at = std::lower_bound(named.records.begin(), named.records.end(), wrong.from, before);
  if (at == named.records.end() || at->offset != wrong.from) return keys;
  for (; at != named.records.end() && at->offset < wrong.to; ++at) keys.push_back(at->key);
  return keys;
}

// What the index says against what lies in the segment.
void check_index(const NamedRecords& index, const Segment& segment, const std::vector<RecordHeader>& there, bool living,
                 Findings& findings, CacheReport& report) {
  const std::vector<IndexRecord>& named = index.records;
  const std::string name = segment.name() + kIndex;
  if (index.state == IndexReader::State::missing) {
    findings.add(name + ": expected the index of a segment, found none");
  } else if (index.state == IndexReader::State::damaged) {
    findings.add(name + ": expected whole records, found " + std::to_string(index.bad) + " damaged (0: its header is)");
  }
  if (index.state != IndexReader::State::good) ++report.damaged_indexes;
  uint64_t found = 0;
  for (const RecordHeader& header : there) {
    const IndexRecord wanted = index_record_of(header);
    const auto at = std::lower_bound(named.begin(), named.end(), wanted,
                                     [](const IndexRecord& a, const IndexRecord& b) { return a.offset < b.offset; });
    if (at != named.end() && same(*at, wanted)) ++found;
  }
  if (!living) report.unindexed += there.size() - found;
}

}  // namespace

CacheReport CacheStore::summary(const std::string& path, std::string& problem) {
  CacheFolder folder;
  CacheSurvey survey;
  if (!look_at(path, folder, survey, problem)) return {};
  CacheReport report = counted(survey);
  for (const auto& [name, known] : survey.segments()) {
    if (!known.whole) continue;
    const uint64_t index = size_beside(folder.number(), name + kIndex);
    count_segment(report, folder, name, known,
                  index < kIndexHeaderBytes ? 0 : (index - kIndexHeaderBytes) / kIndexRecordBytes);
  }
  return report;
}

CacheReport CacheStore::verify(const std::string& path, std::string& problem) {
  CacheFolder folder;
  CacheSurvey survey;
  if (!look_at(path, folder, survey, problem)) return {};
  CacheReport report = counted(survey);
  Findings findings;
  for (const auto& [name, known] : survey.segments()) {
    const std::shared_ptr<Segment> segment = Segment::open(folder.number(), name, folder.owner());
    if (segment == nullptr) {
      // A killed writer may have left less than a header, in which nothing was ever kept.
      if (known.bytes > kSegmentHeaderBytes)
        findings.add_record(name + kPixels + ": expected the header of a segment, found other bytes", {});
      continue;
    }
    const bool living = segment->living();
    const NamedRecords named = named_in_index(folder, *segment, living);
    std::vector<RecordHeader> there;
    const Segment::Walk walked = segment->walk(
        kSegmentHeaderBytes,
        [&](const RecordHeader& header) {
          there.push_back(header);
          findings.take(header.key);
        },
        [&](const Segment::Wrong& wrong) { findings.add_record(wrong.text, keys_of(wrong, named)); });
    if (walked.torn && !living) ++report.torn;
    count_segment(report, folder, name, known, there.size());
    check_index(named, *segment, there, living, findings, report);
  }
  findings.tell(report);
  return report;
}

uint64_t CacheStore::rebuild(const std::string& path, std::string& problem) {
  CacheFolder folder;
  CacheSurvey survey;
  if (!look_at(path, folder, survey, problem)) return 0;
  int error = 0;
  const FolderLock held = folder.lock(error);
  if (!held) {
    problem = "expected to lock the folder, found " + (error == 0 ? std::string("it locked") : error_words(error));
    return 0;
  }
  uint64_t made = 0;
  for (const auto& [name, known] : survey.segments()) {
    const std::shared_ptr<Segment> segment = Segment::open(folder.number(), name, folder.owner());
    if (segment == nullptr || segment->living()) continue;
    const SealedContent content = read_sealed(folder.number(), *segment);
    if (content.index_is_whole()) continue;
    if (write_index(folder.number(), *segment, content.records, folder.file_mode(), error)) {
      ++made;
    } else {
      problem = "expected to write an index, found " + error_words(error);
    }
  }
  return made;
}

uint64_t CacheStore::clear(const std::string& path, std::string& problem) {
  CacheFolder folder;
  CacheSurvey survey;
  if (!folder.open_existing(path, problem)) return 0;
  int error = 0;
  const FolderLock held = folder.lock(error);
  if (!held || !survey.look(folder, true)) {
    problem = "expected to lock the folder, found " + (error == 0 ? std::string("it locked") : error_words(error));
    return 0;
  }
  const uint64_t before = survey.bytes();
  survey.remove_rubbish(folder);
  std::vector<std::string> sealed;
  for (const auto& [name, known] : survey.segments()) {
    if (!known.living) sealed.push_back(name);
  }
  for (const std::string& name : sealed) survey.remove(folder, name);
  survey.remove_rubbish(folder);  // texts about recipes that have no segment any more
  const uint64_t after = survey.bytes();
  return before > after ? before - after : 0;
}

}  // namespace penstock
