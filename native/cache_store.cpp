// The store: a table of what is where, one segment of its own to append to, and the segments of others, mapped.
#include <unistd.h>

#include <mutex>

#include "cache_folder.h"

namespace penstock {

namespace {

constexpr int64_t kRefreshMs = 500;
constexpr int kPatienceMs = 250;   // with a process that holds the folder's lock, and may be stopped
constexpr int64_t kFullMs = 1000;  // so long a full cache is not asked again whether there is room

}  // namespace

// Locks are taken in this order: writing, surveying, table. Only the last is taken by a hit, and never while bytes are
// read, checked or written.
struct CacheStore::State {
  struct Adopted {
    std::string name;
    IndexReader index;
    bool complete = false;  // sealed, and all of it is in the table
    bool own = false;
  };

  CacheOptions options;
  pid_t process = 0;
  CacheFolder folder;

  std::mutex writing;
  SegmentWriter writer;
  uint32_t writing_to = 0;

  std::mutex surveying;
  CacheSurvey survey;
  std::vector<Adopted> adopted;               // by segment number
  std::map<std::string, uint32_t> number_of;  // of those that are there

  mutable std::mutex table_lock;
  CacheTable table;
  std::vector<std::shared_ptr<Segment>> segments;  // by number; nullptr where it was removed
  CacheCounts seen;                                // bytes, segments, recipes as of the last look

  std::atomic<bool> off{false}, closed{false}, told{false};
  std::atomic<int64_t> refreshed_ms{0}, full_until_ms{0};
  std::atomic<uint64_t> hits{0}, misses{0}, stored{0}, present{0}, left_out{0}, corrupt{0}, rebuilt{0};
  std::mutex trouble_lock;
  std::string trouble;

  bool usable() const { return !closed.load(std::memory_order_relaxed) && ::getpid() == process; }
  void turn_off(const std::string& why);
  bool look_up(const CacheKey& key, CacheTable::Place& place, std::shared_ptr<Segment>& segment) const;
  bool has(const CacheKey& key, uint64_t decoder) const;
  void put(const CacheKey& key, const CacheTable::Place& place);
  bool refresh_if_due();
  void refresh();                                     // surveying is held by the caller
  uint32_t adopt(const std::string& name, bool own);  // as is it here; ~0 where it cannot be mapped
  void absorb(uint32_t number);                       // and here
  void repair_index(const Segment& segment, const std::vector<IndexRecord>& records);
  Kept room_for(const RecordHeader& header);  // writing is held by the caller; stored: there is room
};

CacheStore::CacheStore(std::unique_ptr<State> state) : state_(std::move(state)) {}

CacheStore::~CacheStore() { close(); }

std::shared_ptr<CacheStore> CacheStore::open(const CacheOptions& options, std::string& refusal) {
  auto state = std::make_unique<State>();
  state->options = options;
  state->process = ::getpid();
  std::string trouble;
  if (!state->folder.open(options, refusal, trouble)) return nullptr;
  if (!trouble.empty()) state->turn_off(trouble);
  if (options.read_only) state->off = true;
  std::shared_ptr<CacheStore> store(new CacheStore(std::move(state)));
  store->refresh();
  return store;
}

void CacheStore::State::turn_off(const std::string& why) {
  const std::lock_guard<std::mutex> guard(trouble_lock);
  if (off.exchange(true)) return;
  trouble = "cache '" + options.folder + "': " + why + "; nothing more is kept in it, and what is there is still read";
}

std::string CacheStore::trouble() {
  if (::getpid() != state_->process) {  // another thread may have held the lock when the process forked
    if (state_->told.exchange(true)) return "";
    return "cache '" + state_->options.folder + "': expected the process that opened it, found a forked child of it; " +
           "the child opens its own";
  }
  const std::lock_guard<std::mutex> guard(state_->trouble_lock);
  std::string text;
  text.swap(state_->trouble);
  return text;
}

bool CacheStore::State::look_up(const CacheKey& key, CacheTable::Place& place,
                                std::shared_ptr<Segment>& segment) const {
  const std::lock_guard<std::mutex> guard(table_lock);
  if (!table.find(key, place)) return false;
  segment = segments[place.segment];
  return segment != nullptr;
}

bool CacheStore::State::has(const CacheKey& key, uint64_t decoder) const {
  CacheTable::Place place;
  std::shared_ptr<Segment> segment;
  RecordHeader header;
  return look_up(key, place, segment) && segment->record_at(place.offset, header) && header.key == key &&
         header.record.decoder == decoder;
}

void CacheStore::State::put(const CacheKey& key, const CacheTable::Place& place) {
  CacheTable::Place old;
  if (table.find(key, old) && segments[old.segment] != nullptr) {
    const uint64_t then = segments[old.segment]->header().created_ns;
    const uint64_t now = segments[place.segment]->header().created_ns;
    if (then > now || (old.segment == place.segment && old.offset >= place.offset)) return;
  }
  table.put(key, place);
}

bool CacheStore::find(const CacheKey& key, CacheHit& hit) {
  State& state = *state_;
  if (!state.usable()) return false;
  CacheTable::Place place;
  std::shared_ptr<Segment> segment;
  if (state.look_up(key, place, segment) || (state.refresh_if_due() && state.look_up(key, place, segment))) {
    RecordHeader header;
    if (segment->record_at(place.offset, header) && header.key == key &&
        (place.checked || segment->payload_ok(header))) {
      if (!place.checked) {
        const std::lock_guard<std::mutex> guard(state.table_lock);
        state.table.set_checked(key, place);
      }
      hit.record = segment->whole(header);
      hit.held = std::move(segment);
      ++state.hits;
      return true;
    }
    const std::lock_guard<std::mutex> guard(state.table_lock);
    if (state.table.drop(key, place)) ++state.corrupt;
  }
  ++state.misses;
  return false;
}

CacheStore::Kept CacheStore::keep(const CacheKey& key, const CacheRecord& record) {
  State& state = *state_;
  if (!state.usable() || state.off) return Kept::off;
  if (state.has(key, record.decoder)) {
    ++state.present;
    return Kept::present;
  }
  if (record.bytes >= state.options.max_bytes || record.damage.size() + record.party_notes.size() > 1u << 20) {
    ++state.left_out;
    return Kept::too_large;
  }
  if (cache_steady_ms() < state.full_until_ms) {  // before the bytes are looked at: a full cache costs nothing
    ++state.left_out;
    return Kept::full;
  }
  RecordHeader header = header_of(key, record);
  const std::lock_guard<std::mutex> guard(state.writing);
  if (state.closed || state.off) return Kept::off;
  if (state.has(key, record.decoder)) {
    ++state.present;
    return Kept::present;
  }
  if (state.writer.removed()) {
    state.turn_off("expected the files of the cache, found them removed");
    state.writer.seal();
    return Kept::off;
  }
  const Kept room = state.room_for(header);
  if (room != Kept::stored) {
    if (room != Kept::off) ++state.left_out;
    return room;
  }
  int error = 0;
  if (!state.writer.append(header, record, error)) {
    state.turn_off("expected to write " + std::to_string(header.whole_bytes()) + " bytes, found " + error_words(error));
    state.writer.seal();
    return Kept::off;
  }
  ++state.stored;
  const std::lock_guard<std::mutex> table_guard(state.table_lock);
  state.segments[state.writing_to]->reach(state.writer.end());
  state.table.put(key, {state.writing_to, header.offset, false});
  return Kept::stored;
}

CacheStore::Kept CacheStore::State::room_for(const RecordHeader& header) {
  if (writer.fits(header)) return Kept::stored;
  const uint64_t needed = SegmentWriter::needed(header);
  if (needed > options.max_bytes) return Kept::too_large;
  if (cache_steady_ms() < full_until_ms) return Kept::full;
  const std::lock_guard<std::mutex> guard(surveying);
  if (writer) {
    writer.seal();
    adopted[writing_to].complete = true;
  }
  int error = 0;
  const FolderLock held = folder.lock(error, kPatienceMs);
  if (held && survey.look(folder, true)) {
    survey.remove_rubbish(folder);
    if (options.evict) survey.evict(folder, options.recipe, needed, options.max_bytes);
    if (survey.begin_segment(folder, options, needed, writer, error)) {
      writing_to = adopt(writer.name(), true);
      if (writing_to != ~uint32_t{0}) return Kept::stored;
      writer.seal();
      turn_off("expected to map the cache's files, found no way to");
      return Kept::off;
    }
  }
  if (error != 0 || folder.removed()) {
    turn_off(folder.removed() ? std::string("expected the folder of the cache, found it removed")
                              : "expected a folder that can be written, found " + error_words(error));
    return Kept::off;
  }
  full_until_ms = cache_steady_ms() + kFullMs;
  return Kept::full;
}

bool CacheStore::State::refresh_if_due() {
  if (cache_steady_ms() < refreshed_ms.load(std::memory_order_relaxed) + kRefreshMs) return false;
  const std::unique_lock<std::mutex> guard(surveying, std::try_to_lock);
  if (!guard) return false;
  refresh();
  return true;
}

void CacheStore::refresh() {
  if (!state_->usable()) return;
  const std::lock_guard<std::mutex> guard(state_->surveying);
  state_->refresh();
}

void CacheStore::State::refresh() {
  refreshed_ms = cache_steady_ms();
  if (closed || folder.number() < 0) return;
  if (folder.removed()) {
    turn_off("expected the folder of the cache, found it removed");
    return;
  }
  if (!survey.look(folder, false)) return;
  for (const auto& [name, known] : survey.segments()) {
    if (!known.whole || known.header.recipe != options.recipe || number_of.count(name) != 0) continue;
    adopt(name, false);
  }
  for (auto each = number_of.begin(); each != number_of.end();) {
    const uint32_t number = each->second;
    if (survey.segments().count(each->first) != 0) {
      if (!adopted[number].complete && !adopted[number].own) absorb(number);
      ++each;
      continue;
    }
    // Whoever removed it wants its space: it is freed when the last map of it goes.
    const std::lock_guard<std::mutex> guard(table_lock);
    table.drop_segment(number);
    if (!adopted[number].own || adopted[number].complete) segments[number] = nullptr;
    each = number_of.erase(each);
  }
  const std::lock_guard<std::mutex> guard(table_lock);
  seen.bytes = survey.bytes();
  seen.segments = survey.segments().size();
  seen.recipes = survey.recipes();
}

uint32_t CacheStore::State::adopt(const std::string& name, bool own) {
  std::shared_ptr<Segment> segment = Segment::open(folder.number(), name, folder.owner());
  if (segment == nullptr) return ~uint32_t{0};
  const std::lock_guard<std::mutex> guard(table_lock);
  const auto number = static_cast<uint32_t>(segments.size());
  segments.push_back(std::move(segment));
  adopted.emplace_back();
  adopted.back().name = name;
  adopted.back().own = own;
  number_of[name] = number;
  return number;
}

void CacheStore::State::absorb(uint32_t number) {
  std::shared_ptr<Segment> segment;
  {
    const std::lock_guard<std::mutex> guard(table_lock);
    segment = segments[number];
  }
  const auto take_in = [&](const std::vector<IndexRecord>& records) {
    const std::lock_guard<std::mutex> guard(table_lock);
    for (const IndexRecord& record : records) put(record.key, {number, record.offset, false});
  };
  if (segment->living()) {
    segment->grow();
    std::vector<IndexRecord> records;
    adopted[number].index.read(folder.number(), *segment, true, records);
    take_in(records);
    return;
  }
  const SealedContent content = read_sealed(folder.number(), *segment);
  take_in(content.records);
  adopted[number].complete = true;
  corrupt += content.corrupt;
  if (content.index_is_whole()) return;
  ++rebuilt;
  if (!off) repair_index(*segment, content.records);
}

void CacheStore::State::repair_index(const Segment& segment, const std::vector<IndexRecord>& records) {
  int error = 0;
  const FolderLock held = folder.lock(error, kPatienceMs);
  if (!held || !survey.look(folder, true)) return;
  const uint64_t bytes = kIndexHeaderBytes + records.size() * kIndexRecordBytes;
  if (survey.promised() + bytes <= options.max_bytes) {
    write_index(folder.number(), segment, records, folder.file_mode(), error);
  }
}

CacheCounts CacheStore::counts() const {
  if (::getpid() != state_->process) return {};
  const std::lock_guard<std::mutex> guard(state_->table_lock);
  CacheCounts counts = state_->seen;
  counts.entries = state_->table.size();
  counts.hits = state_->hits;
  counts.misses = state_->misses;
  counts.stored = state_->stored;
  counts.present = state_->present;
  counts.left_out = state_->left_out;
  counts.corrupt = state_->corrupt;
  counts.rebuilt = state_->rebuilt;
  return counts;
}

void CacheStore::close() {
  State& state = *state_;
  if (::getpid() != state.process) return;  // a forked child's copies of the files are closed with the object
  const std::lock_guard<std::mutex> writing(state.writing);
  const std::lock_guard<std::mutex> surveying(state.surveying);
  if (state.closed.exchange(true)) return;
  state.writer.seal();
  state.folder.leave();
  const std::lock_guard<std::mutex> guard(state.table_lock);
  state.table = CacheTable();
  state.segments.clear();
  state.segments.shrink_to_fit();
}

}  // namespace penstock
