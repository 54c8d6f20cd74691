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
  report.recipes.push_back({recipe, 0, 0, 0});
  return report.recipes.back();
}

void count_segment(CacheReport& report, const CacheSurvey::Known& known, uint64_t entries) {
  CachedRecipe& recipe = recipe_of(report, known.header.recipe);
  ++recipe.segments;
  recipe.entries += entries;
  recipe.bytes += known.bytes;
  report.entries += entries;
}

bool same(const IndexRecord& a, const IndexRecord& b) {
  return a.key == b.key && a.offset == b.offset && a.payload_bytes == b.payload_bytes &&
         a.payload_checksum == b.payload_checksum && a.decoder == b.decoder;
}

// What the index says against what lies in the segment.
void check_index(const CacheFolder& folder, const Segment& segment, const std::vector<RecordHeader>& there, bool living,
                 CacheReport& report) {
  IndexReader reader;
  std::vector<IndexRecord> named;
  const IndexReader::State state = reader.read(folder.number(), segment, living, named);
  const std::string name = segment.name() + kIndex;
  if (state == IndexReader::State::missing) {
    report.problems.push_back(name + ": expected the index of a segment, found none");
  } else if (state == IndexReader::State::damaged) {
    report.problems.push_back(name + ": expected whole records, found " + std::to_string(reader.bad_records()) +
                              " damaged (0: its header is)");
  }
  if (state != IndexReader::State::good) ++report.damaged_indexes;
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
    count_segment(report, known, index < kIndexHeaderBytes ? 0 : (index - kIndexHeaderBytes) / kIndexRecordBytes);
  }
  return report;
}

CacheReport CacheStore::verify(const std::string& path, std::string& problem) {
  CacheFolder folder;
  CacheSurvey survey;
  if (!look_at(path, folder, survey, problem)) return {};
  CacheReport report = counted(survey);
  const auto say = [&](const std::string& text) { report.problems.push_back(text); };
  for (const auto& [name, known] : survey.segments()) {
    const std::shared_ptr<Segment> segment = Segment::open(folder.number(), name, folder.owner());
    if (segment == nullptr) {
      // A killed writer may have left less than a header, in which nothing was ever kept.
      if (known.bytes > kSegmentHeaderBytes)
        say(name + kPixels + ": expected the header of a segment, found other bytes");
      if (known.bytes > kSegmentHeaderBytes) ++report.corrupt;
      continue;
    }
    const bool living = segment->living();
    std::vector<RecordHeader> there;
    const Segment::Walk walked =
        segment->walk(kSegmentHeaderBytes, [&](const RecordHeader& header) { there.push_back(header); }, say);
    report.corrupt += walked.corrupt + walked.skipped;
    if (walked.torn && !living) ++report.torn;
    count_segment(report, known, there.size());
    check_index(folder, *segment, there, living, report);
  }
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
  const uint64_t after = survey.bytes();
  return before > after ? before - after : 0;
}

}  // namespace penstock
