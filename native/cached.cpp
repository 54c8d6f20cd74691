#include "cached.h"

// Plain <png.h> would be our own header.
#include <libpng16/png.h>
#include <webp/decode.h>

#include <chrono>
#include <cstring>

#include "job.h"

namespace penstock {
namespace {

constexpr int64_t kSecond = 1000000000;
// A file that was written this lately may be written again without its times telling: clocks of file systems tick.
constexpr int64_t kYoung = 2 * kSecond;
constexpr int64_t kTick = kSecond / 20;  // of times that are finer than a second
constexpr int kReads = 2;                // of a file that changes while it is read

int64_t clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Whether a file's times can be trusted to tell this content from a later one; not where they lie in the future.
bool settled(const FileIdentity& file) {
  const int64_t now = clock_ns();
  const int64_t tick = file.ctime_ns % kSecond == 0 ? kYoung : kTick;
  return now - file.mtime_ns >= kYoung && now - file.ctime_ns >= tick;
}

// A name that no two kinds of item share: what follows the first letter is of one length, but for the path at the end.
// The device is not in it: its number changes from mount to mount, and what it told apart the path does.
CacheKey key_of_file(const Input& input, const FileIdentity& file, const CacheKey& recipe) {
  const uint64_t numbers[] = {input.offset,
                              input.length,
                              file.bytes,
                              static_cast<uint64_t>(file.mtime_ns),
                              static_cast<uint64_t>(file.ctime_ns),
                              file.inode};
  static thread_local std::string name;
  name.assign("f");
  name.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  name.append(input.path);
  return cache_key(name.data(), name.size(), recipe);
}

CacheKey key_of_content(char kind, const uint8_t* data, size_t bytes, Size size, const CacheKey& recipe) {
  const CacheKey content = cache_key(data, bytes, recipe);
  char name[1 + sizeof content + sizeof size];
  name[0] = kind;
  std::memcpy(name + 1, &content, sizeof content);
  std::memcpy(name + 1 + sizeof content, &size, sizeof size);
  return cache_key(name, sizeof name, recipe);
}

// Whether what was found is what this line keeps; a key that says so is not enough to read memory by.
bool fits(const Caching& cache, const Plan& plan, const CacheRecord& record) {
  if (record.encoded != cache.encoded) return false;
  if (record.encoded) return record.data != nullptr;
  const Plan& part = *plan.parts[cache.part];
  if (record.size.height < 1 || record.size.width < 1 || record.channels != part.channels) return false;
  if (record.decoder != 0 && record.decoder != cache.decoder) return false;
  return record.bytes == part.image_bytes(record.size);
}

bool find(const Caching& cache, const Plan& plan, CachedTicket& ticket, CacheHit& hit) {
  const bool has = cache.store->find(ticket.key, hit) && fits(cache, plan, hit.record);
  ticket.asked = has ? CachedTicket::Asked::hit : CachedTicket::Asked::miss;
  return has;
}

// Makes the part that result.part says of rows that the cache has, or that were kept in it; `held` owns them.
void make_next(Job& job, size_t row, const uint8_t* rows, Size size, std::shared_ptr<const void> held,
               const std::vector<Affine>& affines, const Workplace& at) {
  ItemResult& result = job.results[row];
  const Plan& part = job.part(row);
  process_mapped(part, rows, size, affines, job.key(row), job.target(row), part.goes_on ? at.pictures : at.batches,
                 at.scratch, job.cancelled, result);
  CachedTicket& ticket = job.tickets[row];
  ticket.rows = nullptr;
  if (result.outcome != Outcome::referee) return;
  ticket.rows = rows;
  ticket.size = size;
  ticket.held = std::move(held);
}

void use(Job& job, size_t row, CacheHit& hit, const Workplace& at) {
  ItemResult& result = job.results[row];
  const CacheRecord& record = hit.record;
  result.stored = record.stored;
  result.orientation = record.orientation;
  result.geometry = record.geometry;
  result.notes = record.notes;
  result.damage = record.damaged ? record.damage : std::string();
  job.tickets[row].party_notes = record.party_notes;
  result.part = static_cast<int>(job.cache->part) + 1;
  job.tickets[row].present = true;
  if (job.cache->fill) {
    result.size = record.size;
    result.outcome = record.damaged ? Outcome::damaged : Outcome::clean;
    return;
  }
  make_next(job, row, record.data, record.size, hit.held, {}, at);
}

void keep(const Caching& cache, CachedTicket& ticket, const CacheRecord& record) {
  const CacheStore::Kept kept = cache.store->keep(ticket.key, record);
  ticket.stored = kept == CacheStore::Kept::stored;
  ticket.present = kept == CacheStore::Kept::present;
}

void keep_bytes(const Caching& cache, CachedTicket& ticket, const uint8_t* data, size_t bytes) {
  if (!ticket.keep) return;
  CacheRecord record;
  record.encoded = true;
  record.data = data;
  record.bytes = bytes;
  keep(cache, ticket, record);
}

void keep_image(const Caching& cache, CachedTicket& ticket, const ItemResult& result, const Plan& part,
                const uint8_t* rows) {
  if (!ticket.keep) return;
  CacheRecord record;
  record.size = result.size;
  record.channels = part.channels;
  record.stored = result.stored;
  record.orientation = result.orientation;
  record.geometry = result.geometry;
  record.notes = result.notes;
  record.damaged = result.outcome == Outcome::damaged;
  record.damage = result.damage;
  record.party_notes = ticket.party_notes;
  record.decoder = ticket.decoder;
  record.data = rows;
  record.bytes = part.image_bytes(result.size);
  keep(cache, ticket, record);
}

// One ticket on its way through a cache that is asked first.
class Way {
 public:
  Way(Job& job, size_t row, Holding& holding, const Workplace& at)
      : job_(job),
        row_(row),
        holding_(holding),
        at_(at),
        cache_(*job.cache),
        ticket_(job.tickets[row]),
        result_(job.results[row]) {}

  void go() {
    Input& input = job_.inputs[row_];
    switch (input.kind) {
      case Input::Kind::path:
        file(input);
        break;
      case Input::Kind::bytes:
        // Bytes in memory are not kept a second time.
        if (!cache_.encoded && content('b', input.data, input.size, {})) return;
        if (cache_.encoded && cache_.fill) return done();
        process_input_here();
        break;
      case Input::Kind::pixels: {
        const size_t bytes = static_cast<size_t>(input.pixels.height) * static_cast<size_t>(input.pixels.width);
        if (content('p', input.data, bytes * kChannels, input.pixels)) return;
        process_input_here();
        break;
      }
      case Input::Kind::problem:
        process_input_here();
        break;
    }
  }

 private:
  // Where nobody wants the image.
  void done() { result_.outcome = Outcome::clean; }

  bool given_up() const { return at_.scratch.watch != nullptr && at_.scratch.watch->given_up(); }

  BufferProvider& provider() const { return job_.part(row_).goes_on ? at_.pictures : at_.batches; }

  void process_input_here() {
    process_input(job_.part(row_), job_.inputs[row_], job_.key(row_), job_.target(row_), provider(), holding_,
                  at_.scratch, job_.cancelled, result_);
  }

  // Bytes that are in memory; `held` of them are counted in holding.
  void process_here(const uint8_t* data, size_t bytes, size_t held) {
    const Plan& part = job_.part(row_);
    const bool passes = part.cut && !part.in_slot && !cache_.fill;
    const Plan& next = passes ? *job_.plan->parts[cache_.part + 1] : part;
    Onward onward(next, next.goes_on && !next.in_slot ? nullptr : job_.slot(row_),
                  next.goes_on ? at_.pictures : at_.batches);
    process_bytes(part, data, bytes, job_.inputs[row_].affines, job_.key(row_), job_.target(row_), provider(), holding_,
                  held, at_.scratch, job_.cancelled, result_, passes ? &onward : nullptr);
    ticket_.made_next = onward.made && result_.outcome == Outcome::clean;
    if (!ticket_.made_next) return;
    ticket_.size = onward.size;
    ticket_.moved = onward.affine;
    ticket_.next = std::move(onward.own);
  }

  // What was found is used; true then.
  bool found() {
    const int64_t start = now_ns();
    CacheHit hit;
    const bool has = find(cache_, *job_.plan, ticket_, hit);
    result_.times.read_ns += now_ns() - start;
    if (!has) return false;
    if (!cache_.encoded) {
      use(job_, row_, hit, at_);
      return true;
    }
    ticket_.present = true;
    if (cache_.fill) {
      done();
      return true;
    }
    Input& input = job_.inputs[row_];  // whoever is asked for more, Pillow as well, finds the bytes where they are
    input.kind = Input::Kind::bytes;
    input.data = hit.record.data;
    input.size = hit.record.bytes;
    ticket_.held = std::move(hit.held);
    process_here(input.data, input.size, 0);
    return true;
  }

  bool content(char kind, const uint8_t* data, size_t bytes, Size size) {
    const int64_t start = now_ns();
    ticket_.key = key_of_content(kind, data, bytes, size, cache_.recipe);
    ticket_.keep = true;
    result_.times.read_ns += now_ns() - start;
    return found();
  }

  void file(const Input& input) {
    if (!cache_.by_content) {
      const int64_t start = now_ns();
      FileIdentity now;
      const bool known = identify(input.path.c_str(), now, at_.scratch.watch);
      if (given_up()) return;
      if (known) ticket_.key = key_of_file(input, now, cache_.recipe);
      result_.times.read_ns += now_ns() - start;
      if (known && found()) return;
    }
    FileWitness seen;
    for (int reads = 0; reads < kReads; ++reads) {
      if (!read_input(job_.part(row_), input, holding_, at_.scratch, job_.cancelled, result_, &seen)) return;
      if (seen.before == seen.after) break;
    }
    const uint8_t* data = at_.scratch.encoded.data();
    const size_t bytes = at_.scratch.encoded.size();
    if (cache_.by_content) {
      if (content('b', data, bytes, {})) return;
    } else {
      ticket_.key = key_of_file(input, seen.before, cache_.recipe);
      ticket_.keep = seen.before == seen.after && settled(seen.after);
    }
    if (cache_.encoded) keep_bytes(cache_, ticket_, data, bytes);
    if (cache_.encoded && cache_.fill) return done();
    process_here(data, bytes, bytes);
  }

  Job& job_;
  size_t row_;
  Holding& holding_;
  const Workplace& at_;
  const Caching& cache_;
  CachedTicket& ticket_;
  ItemResult& result_;
};

}  // namespace

std::string codec_versions() {
  const int webp = WebPGetDecoderVersion();
  return jpeg_version() + ", libpng " + png_get_libpng_ver(nullptr) + ", libwebp " + std::to_string(webp >> 16) + "." +
         std::to_string(webp >> 8 & 255) + "." + std::to_string(webp & 255);
}

void process_ticket(Job& job, size_t row, Holding& holding, const Workplace& at) noexcept {
  const Plan& part = job.part(row);
  if (!job.cache) {
    process_input(part, job.inputs[row], job.key(row), job.target(row), part.goes_on ? at.pictures : at.batches,
                  holding, at.scratch, job.cancelled, job.results[row]);
    return;
  }
  try {
    at.scratch.trim();
    Way(job, row, holding, at).go();
    if (at.scratch.watch != nullptr && at.scratch.watch->given_up()) return;
    job.results[row].times.blocked_ns = holding.waited_ns();
  } catch (...) {
    if (at.scratch.watch != nullptr && at.scratch.watch->given_up()) return;
    fail_for_memory(job.results[row], Stage::read);
  }
}

void pass_cache(Job& job, size_t row, const Workplace& at) noexcept {
  ItemResult& result = job.results[row];
  const Plan& part = job.part(row);
  if (!part.cut || result.outcome > Outcome::damaged) return;
  try {
    const std::shared_ptr<Buffer> made = std::move(result.own);  // alive while the next part reads it
    result.own.reset();
    const uint8_t* rows = part.in_slot ? static_cast<const uint8_t*>(job.slot(row)) : made->data;
    const int64_t start = now_ns();
    keep_image(*job.cache, job.tickets[row], result, part, rows);
    result.times.batch_ns += now_ns() - start;
    ++result.part;
    if (part.in_slot || job.cache->fill) return;  // what comes after would put the same pixels there, or is not wanted
    CachedTicket& ticket = job.tickets[row];
    if (ticket.made_next) {
      result.geometry = compose(result.geometry, ticket.moved);
      result.size = ticket.size;
      result.own = std::move(ticket.next);
      return;
    }
    make_next(job, row, rows, result.size, made, {}, at);
  } catch (...) {
    fail_for_memory(result, Stage::transform);
  }
}

bool go_on_with_matrices(Job& job, size_t row, const std::vector<Affine>& affines, const Workplace& at) noexcept {
  if (!job.cache || job.tickets[row].rows == nullptr) return false;
  CachedTicket& ticket = job.tickets[row];
  if (job.cancelled.load(std::memory_order_relaxed)) {
    job.results[row].outcome = Outcome::cancelled;
    return true;
  }
  try {
    make_next(job, row, ticket.rows, ticket.size, std::move(ticket.held), affines, at);
  } catch (...) {
    fail_for_memory(job.results[row], Stage::transform);
  }
  return true;
}

}  // namespace penstock
