// The store: a table of what is where, one segment of its own to append to, and the segments of others, mapped.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <thread>

#include "cache_folder.h"

namespace penstock {

namespace {

constexpr int64_t kRefreshMs = 500;
// While other processes write the same recipe's entries what they keep need not be kept again, and until it is known
// whether there are any. A look may take a twentieth of the time at most.
constexpr int64_t kRefreshBesideOthersMs = 2;
constexpr int64_t kRefreshAloneMs = 100;
constexpr int64_t kShareOfLooks = 20;
constexpr int kPatienceMs = 250;   // with a process that holds the folder's lock, and may be stopped
constexpr int64_t kFullMs = 1000;  // so long a full cache is not asked again whether there is room
constexpr size_t kMostWriters = 8;

// Of one process: one for each thread that may write at a time, so that none waits for another's bytes.
size_t writers_at_once() { return std::clamp<size_t>(std::thread::hardware_concurrency(), 2, kMostWriters); }

}  // namespace

// Locks are taken in this order: a writer's (of several the earlier first), surveying, table. Only the last is taken by
// a hit, and never while bytes are read, checked or written.
struct CacheStore::State {
  struct Adopted {
    std::string name;
    IndexReader index;
    bool complete = false;  // sealed, and all of it is in the table
    bool own = false;
  };
  // A segment of this process's own, while it is appended to.
  struct Writer {
    std::mutex lock;
    SegmentWriter file;
    uint32_t number = 0;
  };
  // A key that a thread is about to keep, for as long as this lives: no other thread keeps it then.
  class Claim {
   public:
    Claim(State& state, const CacheKey& key);
    ~Claim();
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    explicit operator bool() const { return has_; }

   private:
    State& state_;
    const CacheKey& key_;
    bool has_ = false;
  };

  CacheOptions options;
  pid_t process = 0;
  CacheFolder folder;

  std::array<Writer, kMostWriters> writers;
  const size_t writer_count = writers_at_once();
  std::atomic<size_t> turn{0};

  std::mutex surveying;
  CacheSurvey survey;
  std::vector<Adopted> adopted;               // by segment number
  std::map<std::string, uint32_t> number_of;  // of those that are there

  mutable std::mutex table_lock;
  CacheTable table;
  std::vector<std::shared_ptr<Segment>> segments;  // by number; nullptr where it was removed
  std::vector<CacheKey> claimed;
  CacheCounts seen;  // bytes, segments, recipes as of the last look

  std::atomic<bool> off{false}, closed{false}, told{false};
  std::atomic<bool> full{false}, told_full{false};  // not where only the folder's lock was not to be had
  std::atomic<int64_t> refresh_at_ms{0}, watched_ms{0};
  std::atomic<int64_t> full_until_ms{0}, no_more_until_ms{0};  // no more: segments beside those that are written
  std::atomic<uint64_t> hits{0}, misses{0}, stored{0}, present{0}, left_out{0}, corrupt{0}, rebuilt{0};
  std::mutex trouble_lock;
  std::string trouble;

  bool usable() const { return !closed.load(std::memory_order_relaxed) && ::getpid() == process; }
  void turn_off(const std::string& why, bool removed = false);
  bool look_up(const CacheKey& key, CacheTable::Place& place, std::shared_ptr<Segment>& segment) const;
  bool has(const CacheKey& key, uint64_t decoder, uint64_t& created_ns) const;
  void put(const CacheKey& key, const CacheTable::Place& place);
  bool watch();  // whether the folder was removed; then all is let go that nobody reads
  bool refresh_if_due();
  void refresh();                                     // surveying is held by the caller
  uint32_t adopt(const std::string& name, bool own);  // as is it here; ~0 where it cannot be mapped
  void absorb(uint32_t number);                       // and here
  void repair_index(const Segment& segment, const std::vector<IndexRecord>& records);
  Kept write(RecordHeader& header, const CacheRecord& record, uint64_t created_ns);
  // In these the writer's lock is held by the caller. begin: stored where there is a segment now.
  bool takes(const Writer& writer, const RecordHeader& header, uint64_t created_ns);
  Kept begin(Writer& writer, const RecordHeader& header, bool beside);
  Kept append(Writer& writer, RecordHeader& header, const CacheRecord& record);
  void seal(Writer& writer);
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

void CacheStore::State::turn_off(const std::string& why, bool removed) {
  const std::lock_guard<std::mutex> guard(trouble_lock);
  if (off.exchange(true)) return;
  trouble = "cache '" + options.folder + "': " + why + "; nothing more is kept in it" +
            (removed ? "" : ", and what is there is still read");
}

std::string CacheStore::trouble() {
  if (::getpid() != state_->process) {  // another thread may have held the lock when the process forked
    if (state_->told.exchange(true)) return "";
    return "cache '" + state_->options.folder + "': expected the process that opened it, found a forked child of it; " +
           "the child opens its own";
  }
  state_->watch();
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

// Whether there is one of this decoder; of one of another decoder, the time of its segment.
bool CacheStore::State::has(const CacheKey& key, uint64_t decoder, uint64_t& created_ns) const {
  CacheTable::Place place;
  std::shared_ptr<Segment> segment;
  if (!look_up(key, place, segment)) return false;
  RecordHeader header;
  if (segment->record_at(place.offset, header) && header.key == key && header.record.decoder == decoder) return true;
  created_ns = segment->header().created_ns;
  return false;
}

CacheStore::State::Claim::Claim(State& state, const CacheKey& key) : state_(state), key_(key) {
  const std::lock_guard<std::mutex> guard(state.table_lock);
  if (std::find(state.claimed.begin(), state.claimed.end(), key) != state.claimed.end()) return;
  state.claimed.push_back(key);
  has_ = true;
}

CacheStore::State::Claim::~Claim() {
  if (!has_) return;
  const std::lock_guard<std::mutex> guard(state_.table_lock);
  state_.claimed.erase(std::find(state_.claimed.begin(), state_.claimed.end(), key_));
}

void CacheStore::State::put(const CacheKey& key, const CacheTable::Place& place) {
  CacheTable::Place old;
  if (segments[place.segment] == nullptr) return;
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
  if (cache_steady_ms() >= state.watched_ms.load(std::memory_order_relaxed) + kRefreshMs) state.watch();
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
  state.refresh_if_due();
  const State::Claim claim(state, key);
  uint64_t created_ns = 0;
  if (!claim || state.has(key, record.decoder, created_ns)) {
    ++state.present;
    return Kept::present;
  }
  if (record.bytes >= state.options.max_bytes || record.damage.size() + record.party_notes.size() > 1u << 20) {
    ++state.left_out;
    if (record.bytes >= state.options.max_bytes) state.full = true;
    return Kept::too_large;
  }
  if (cache_steady_ms() < state.full_until_ms) {  // before the bytes are looked at: a full cache costs nothing
    ++state.left_out;
    return Kept::full;
  }
  RecordHeader header = header_of(key, record);
  const Kept kept = state.write(header, record, created_ns);
  if (kept == Kept::stored) ++state.stored;
  if (kept == Kept::full || kept == Kept::too_large) ++state.left_out;
  if (kept == Kept::off) state.watch();
  return kept;
}

// Of two entries of a key the one in the later segment counts: what replaces another goes into no earlier one.
bool CacheStore::State::takes(const Writer& writer, const RecordHeader& header, uint64_t created_ns) {
  return writer.file.fits(header) && writer.file.created_ns() >= created_ns;
}

CacheStore::Kept CacheStore::State::write(RecordHeader& header, const CacheRecord& record, uint64_t created_ns) {
  // Whoever is free, or one more beside those that are busy.
  Writer* empty = nullptr;
  std::unique_lock<std::mutex> held;
  bool busy = false;
  for (size_t i = 0; i < writer_count; ++i) {
    Writer& each = writers[i];
    std::unique_lock<std::mutex> guard(each.lock, std::try_to_lock);
    if (!guard) busy = true;
    if (!guard) continue;
    if (takes(each, header, created_ns)) return append(each, header, record);
    if (each.file) seal(each);
    if (empty != nullptr) continue;
    empty = &each;
    held = std::move(guard);
  }
  Kept kept = Kept::full;
  if (empty != nullptr) {
    kept = begin(*empty, header, busy);
    if (kept == Kept::stored) return append(*empty, header, record);
    if (!busy || kept != Kept::full) return kept;
    held.unlock();  // nobody waits for one writer with another in hand
  }
  // Then whoever will be free; and where none has room, what they leave of theirs.
  const size_t first = turn.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < writer_count; ++i) {
    Writer& each = writers[(first + i) % writer_count];
    const std::lock_guard<std::mutex> guard(each.lock);
    if (takes(each, header, created_ns)) return append(each, header, record);
    if (each.file) seal(each);
  }
  Writer& last = writers[first % writer_count];
  const std::lock_guard<std::mutex> guard(last.lock);
  if (!takes(last, header, created_ns)) {
    if (last.file) seal(last);
    kept = begin(last, header, false);
    if (kept != Kept::stored) return kept;
  }
  return append(last, header, record);
}

CacheStore::Kept CacheStore::State::append(Writer& writer, RecordHeader& header, const CacheRecord& record) {
  if (closed || off) return Kept::off;
  if (writer.file.removed()) {
    turn_off("expected the files of the cache, found them removed", true);
    seal(writer);
    const std::lock_guard<std::mutex> guard(table_lock);
    table.drop_segment(writer.number);
    segments[writer.number] = nullptr;
    return Kept::off;
  }
  int error = 0;
  if (!writer.file.append(header, record, error)) {
    turn_off("expected to write " + std::to_string(header.whole_bytes()) + " bytes, found " + error_words(error));
    seal(writer);
    return Kept::off;
  }
  const std::lock_guard<std::mutex> guard(table_lock);
  if (segments[writer.number] == nullptr) return Kept::stored;  // it was removed meanwhile
  segments[writer.number]->reach(writer.file.end());
  table.put(header.key, {writer.number, header.offset, false});
  return Kept::stored;
}

void CacheStore::State::seal(Writer& writer) {
  writer.file.seal();
  const std::lock_guard<std::mutex> guard(surveying);
  adopted[writer.number].complete = true;
}

CacheStore::Kept CacheStore::State::begin(Writer& writer, const RecordHeader& header, bool beside) {
  if (closed || off) return Kept::off;
  const uint64_t needed = SegmentWriter::needed(header);
  if (needed > options.max_bytes) {
    full = true;
    return Kept::too_large;
  }
  std::atomic<int64_t>& until_ms = beside ? no_more_until_ms : full_until_ms;
  if (cache_steady_ms() < until_ms) return Kept::full;
  const std::lock_guard<std::mutex> guard(surveying);
  int error = 0;
  const FolderLock held = folder.lock(error, kPatienceMs);
  const bool looked = held && survey.look(folder, true);
  if (looked) {
    survey.remove_rubbish(folder);
    if (options.evict && !beside) survey.evict(folder, options.recipe, needed, options.max_bytes);
    survey.write_about(folder, options, needed);
    if (survey.begin_segment(folder, options, needed, beside, writer.file, error)) {
      writer.number = adopt(writer.file.name(), true);
      if (writer.number != ~uint32_t{0}) return Kept::stored;
      writer.file.seal();
      turn_off("expected to map the cache's files, found no way to");
      return Kept::off;
    }
  }
  if (folder.removed()) {
    turn_off("expected the folder of the cache, found it removed", true);
    return Kept::off;
  }
  if (error != 0) {
    turn_off("expected a folder that can be written, found " + error_words(error));
    return Kept::off;
  }
  if (looked && !beside) full = true;
  until_ms = cache_steady_ms() + kFullMs;
  return Kept::full;
}

bool CacheStore::State::watch() {
  watched_ms = cache_steady_ms();
  if (!folder.removed() || closed) return false;
  turn_off("expected the folder of the cache, found it removed", true);
  for (Writer& each : writers) {  // one that is busy is left to the next look
    const std::unique_lock<std::mutex> guard(each.lock, std::try_to_lock);
    if (guard) each.file.seal();
  }
  CacheTable empty;
  std::vector<std::shared_ptr<Segment>> unread;
  const std::lock_guard<std::mutex> guard(table_lock);
  std::swap(table, empty);
  unread.resize(segments.size());  // the numbers stay taken
  unread.swap(segments);
  return true;
}

bool CacheStore::became_full() {
  return ::getpid() == state_->process && state_->full && !state_->told_full.exchange(true);
}

bool CacheStore::removed() {
  if (::getpid() != state_->process) return false;
  return state_->closed ? state_->folder.removed() : state_->watch();
}

bool CacheStore::State::refresh_if_due() {
  if (cache_steady_ms() < refresh_at_ms.load(std::memory_order_relaxed)) return false;
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
  const int64_t begun_ms = cache_steady_ms();
  refresh_at_ms = begun_ms + kRefreshMs;
  if (closed || folder.number() < 0 || watch() || !survey.look(folder, false)) return;
  for (const auto& [name, known] : survey.segments()) {
    if (!known.whole || known.header.recipe != options.recipe || number_of.count(name) != 0) continue;
    adopt(name, false);
  }
  bool beside_others = false;
  for (auto each = number_of.begin(); each != number_of.end();) {
    const uint32_t number = each->second;
    if (survey.segments().count(each->first) != 0) {
      if (!adopted[number].complete && !adopted[number].own) {
        absorb(number);
        beside_others = beside_others || !adopted[number].complete;
      }
      ++each;
      continue;
    }
    // Whoever removed it wants its space: it is freed when the last map of it goes.
    const std::lock_guard<std::mutex> guard(table_lock);
    table.drop_segment(number);
    segments[number] = nullptr;
    each = number_of.erase(each);
  }
  const int64_t now_ms = cache_steady_ms();
  const int64_t least_ms = beside_others ? kRefreshBesideOthersMs : kRefreshAloneMs;
  refresh_at_ms = now_ms + std::min(kRefreshMs, std::max(least_ms, kShareOfLooks * (now_ms - begun_ms)));
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
  if (segment == nullptr) return;
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
  std::array<std::unique_lock<std::mutex>, kMostWriters> writing;
  for (size_t i = 0; i < kMostWriters; ++i) writing[i] = std::unique_lock<std::mutex>(state.writers[i].lock);
  const std::lock_guard<std::mutex> surveying(state.surveying);
  if (state.closed.exchange(true)) return;
  for (State::Writer& each : state.writers) each.file.seal();
  state.folder.leave();
  const std::lock_guard<std::mutex> guard(state.table_lock);
  state.table = CacheTable();
  state.segments.clear();
  state.segments.shrink_to_fit();
}

}  // namespace penstock
