#include "buffer.h"

#include <unistd.h>

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace penstock {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

// Large buffers are mappings of their own, on huge pages where the kernel has them: one page fault instead of 512, and
// freed memory goes back to the system at once instead of fragmenting the heap.
bool allocate(size_t bytes, Buffer& buffer) {
  buffer.bytes = bytes;
#if defined(__linux__)
  if (bytes >= kHugePage) {
    size_t page = 4096, rounded = (bytes + page - 1) / page * page;
    void* memory = mmap(nullptr, rounded + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    uintptr_t start = reinterpret_cast<uintptr_t>(memory);
    uintptr_t aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
    if (aligned > start) munmap(memory, aligned - start);
    munmap(reinterpret_cast<void*>(aligned + rounded), start + kHugePage - aligned);
    buffer.data = reinterpret_cast<uint8_t*>(aligned);
    buffer.mapped = rounded;
    madvise(buffer.data, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);
    return true;
  }
#endif
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, bytes == 0 ? kAlignment : bytes) != 0) return false;
  buffer.data = static_cast<uint8_t*>(memory);
  buffer.mapped = 0;
  return true;
}

void release(const Buffer& buffer) {
#if defined(__linux__)
  if (buffer.mapped > 0) {
    munmap(buffer.data, buffer.mapped);
    return;
  }
#endif
  std::free(buffer.data);
}

}  // namespace

BufferProvider::BufferProvider(size_t keep) : keep_(keep), owner_(getpid()) {}

BufferProvider::~BufferProvider() {
  for (const Buffer& buffer : free_) release(buffer);
}

void BufferProvider::close() {
  std::vector<Buffer> kept;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    keep_ = 0;
    kept.swap(free_);
  }
  for (const Buffer& buffer : kept) release(buffer);
}

std::shared_ptr<Buffer> BufferProvider::take(size_t bytes) {
  Buffer found;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = free_.size(); i-- > 0;) {  // the newest first: it may still be in a cache
      if (free_[i].bytes == bytes) {
        found = free_[i];
        free_.erase(free_.begin() + static_cast<ptrdiff_t>(i));
        break;
      }
    }
  }
  if (found.data == nullptr && !allocate(bytes, found)) return nullptr;
  std::weak_ptr<BufferProvider> home = weak_from_this();
  return std::shared_ptr<Buffer>(new Buffer(found), [home](Buffer* buffer) {
    if (std::shared_ptr<BufferProvider> provider = home.lock(); provider && provider->owner_ == getpid()) {
      provider->give_back(*buffer);
    } else {
      release(*buffer);
    }
    delete buffer;
  });
}

void BufferProvider::give_back(Buffer buffer) {
  Buffer surplus = buffer;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (keep_ > 0) {
      free_.push_back(buffer);
      surplus = Buffer{};
      if (free_.size() > keep_) {  // the oldest goes: sizes may have changed since
        surplus = free_.front();
        free_.erase(free_.begin());
      }
    }
  }
  if (surplus.data != nullptr) release(surplus);
}

}  // namespace penstock
