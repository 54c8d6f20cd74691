// The provider of batch memory: 64-byte aligned, recycled when the last view of a batch has died.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <vector>

#include "types.h"

namespace penstock {

// Memory of one batch (or of one ragged image). Content is undefined when it is handed out.
struct Buffer {
  uint8_t* data = nullptr;
  size_t bytes = 0;
  size_t mapped = 0;  // length of its own mapping; 0: from the heap
};

// Hands out buffers and takes them back. A fresh 19 MB batch costs thousands of page faults, so the last few are kept.
// Thread-safe: a buffer may be dropped by any thread, long after the provider itself has gone.
class BufferProvider : public std::enable_shared_from_this<BufferProvider> {
 public:
  explicit BufferProvider(size_t keep);
  ~BufferProvider();
  void close();                                // keeps nothing from now on
  std::shared_ptr<Buffer> take(size_t bytes);  // nullptr: out of memory

 private:
  void give_back(Buffer buffer);

  std::mutex mutex_;
  std::vector<Buffer> free_;
  size_t keep_;
  pid_t
      owner_;  // a forked child frees the parent's buffers by itself: the mutex may be held by a thread it has not got
};

}  // namespace penstock
