#include "headers.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>

#include "header.h"
#include "io.h"
#include "plan.h"

namespace penstock {
namespace {

constexpr uint64_t kHeadBytes = 64 << 10;  // where nearly every JPEG's first scan begins

bool is_jpeg(const ByteBuffer& bytes) {
  return bytes.size() >= 3 && bytes.data()[0] == 0xFF && bytes.data()[1] == 0xD8 && bytes.data()[2] == 0xFF;
}

bool size_in(const ByteBuffer& bytes, const Limits& limits, Size& size) {
  Header header;
  Problem problem;
  if (!inspect(bytes.data(), bytes.size(), limits, header, problem) || header.backend == Backend::pillow) return false;
  size = upright_size({header.stored_height, header.stored_width}, header.orientation);
  return true;
}

Size size_of_file(const char* path, const Limits& limits, ByteBuffer& bytes) {
  Problem problem;
  Size size;
  // What turns a picture stands before the first scan of a JPEG; other formats may keep it at their end.
  if (read_file(path, 0, kHeadBytes, limits, bytes, problem) && is_jpeg(bytes) && size_in(bytes, limits, size)) {
    return size;
  }
  if (read_file(path, 0, kWholeFile, limits, bytes, problem)) size_in(bytes, limits, size);
  return size;
}

}  // namespace

std::vector<Size> upright_sizes(const std::vector<std::string>& paths, int threads) {
  Limits limits;  // a header costs nothing, however large the picture that it announces
  limits.max_pixels = limits.max_working_bytes = std::numeric_limits<uint64_t>::max();
  limits.max_scans = std::numeric_limits<int>::max();
  std::vector<Size> sizes(paths.size());
  std::atomic<size_t> next{0};
  auto work = [&] {
    ByteBuffer bytes;
    for (size_t i; (i = next.fetch_add(1)) < paths.size();) sizes[i] = size_of_file(paths[i].c_str(), limits, bytes);
  };
  std::vector<std::thread> workers;
  for (size_t i = 1; i < std::min(paths.size(), static_cast<size_t>(std::max(threads, 1))); ++i) {
    workers.emplace_back(work);
  }
  work();
  for (std::thread& worker : workers) worker.join();
  return sizes;
}

}  // namespace penstock
