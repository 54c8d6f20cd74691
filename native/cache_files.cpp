#include "cache_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#else
#include <sys/mount.h>
#include <sys/param.h>
#endif

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>

namespace penstock {

namespace {

// The most that one write takes. Larger ones save nothing, and cost several times as much where the kernel then takes
// memory in pieces so large that they have lain unused: a virtual machine has to fetch those from its host.
constexpr size_t kWrittenAtOnce = 512 << 10;

}  // namespace

void FileNumber::reset() {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

FileNumber open_beside(int folder, const std::string& name, int flags, int& error, mode_t mode) {
  int number;
  do {
    number = ::openat(folder, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode);
  } while (number < 0 && errno == EINTR);
  error = number < 0 ? errno : 0;
  FileNumber file(number);
  struct stat status;
  if (file && (::fstat(number, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))) {
    error = EINVAL;
    file.reset();
  }
  if (file && (flags & O_EXCL) != 0) ::fchmod(number, mode);  // whatever the process's umask takes away
  return file;
}

bool write_all(int file, std::vector<iovec> parts, uint64_t offset, int& error) {
  size_t first = 0;
  while (first < parts.size()) {
    if (parts[first].iov_len == 0) {
      ++first;
      continue;
    }
    size_t last = first, bytes = 0;
    while (last < parts.size() && bytes < kWrittenAtOnce) bytes += parts[last++].iov_len;
    const size_t over = bytes > kWrittenAtOnce ? bytes - kWrittenAtOnce : 0;
    parts[last - 1].iov_len -= over;
    const ssize_t wrote =
        ::pwritev(file, parts.data() + first, static_cast<int>(last - first), static_cast<off_t>(offset));
    parts[last - 1].iov_len += over;
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      error = wrote < 0 ? errno : ENOSPC;
      return false;
    }
    offset += static_cast<uint64_t>(wrote);
    auto left = static_cast<size_t>(wrote);
    while (first < parts.size() && left >= parts[first].iov_len) left -= parts[first++].iov_len;
    if (first < parts.size()) {
      parts[first].iov_base = static_cast<uint8_t*>(parts[first].iov_base) + left;
      parts[first].iov_len -= left;
    }
  }
  return true;
}

bool read_some(int file, void* into, size_t bytes, uint64_t offset, size_t& count, int& error) {
  count = 0;
  while (count < bytes) {
    const ssize_t got =
        ::pread(file, static_cast<uint8_t*>(into) + count, bytes - count, static_cast<off_t>(offset + count));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      error = errno;
      return false;
    }
    if (got == 0) break;
    count += static_cast<size_t>(got);
  }
  return true;
}

#ifdef __linux__

bool reserve(int file, uint64_t offset, uint64_t bytes) {
  constexpr uint64_t kTmpfs = 0x01021994, kRamfs = 0x858458F6;  // which would fill with zeros what is written anyway
  constexpr int64_t kQuickMs = 10;
  struct statfs status;
  if (::fstatfs(file, &status) != 0) return false;
  const auto number = static_cast<uint64_t>(static_cast<uint32_t>(status.f_type));
  if (number == kTmpfs || number == kRamfs) return false;
  const int64_t start = cache_steady_ms();
  const int done = ::fallocate(file, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  return done == 0 && cache_steady_ms() - start <= kQuickMs;
}

#else

bool reserve(int, uint64_t, uint64_t) { return false; }

#endif

void give_back_reserved(int file) {
  constexpr off_t kBlock = 512, kSlack = off_t{128} << 10;  // no less than what any file takes beyond its bytes
  struct stat status;
  if (::fstat(file, &status) != 0 || status.st_blocks * kBlock <= status.st_size + kSlack) return;
  // Where it fails, the room stays taken until the file goes.
  if (::ftruncate(file, status.st_size) != 0) return;
}

uint64_t size_beside(int folder, const std::string& name) {
  struct stat status;
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode)) return 0;
  return static_cast<uint64_t>(status.st_size);
}

int64_t written_ns(const struct stat& status) {
#ifdef __APPLE__
  const timespec& time = status.st_mtimespec;
#else
  const timespec& time = status.st_mtim;
#endif
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

int64_t written_ns_beside(int folder, const std::string& name) {
  struct stat status;
  return ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ? written_ns(status) : 0;
}

std::vector<std::string> names_in(int folder, int& error) {
  std::vector<std::string> names;
  error = 0;
  const int number = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = number < 0 ? nullptr : ::fdopendir(number);
  if (listing == nullptr) {
    error = errno;
    if (number >= 0) ::close(number);
    return names;
  }
  errno = 0;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  error = errno;
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

bool lock_file(int file, bool exclusive, int patience_ms) {
  const int64_t until = cache_steady_ms() + patience_ms;
  while (::flock(file, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return false;
    if (cache_steady_ms() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

void unlock_file(int file) { ::flock(file, LOCK_UN); }

std::string error_words(int error) {
  switch (error) {
    case ENOSPC:
      return "no space left on the device";
    case EDQUOT:
      return "the disk quota used up";
    case EFBIG:
      return "the limit of a file's size reached";
    case EROFS:
      return "a read-only file system";
    case EACCES:
    case EPERM:
      return "permission denied";
    case ENOENT:
      return "no such file or folder";
    default:
      return "the error '" + std::generic_category().message(error) + "'";
  }
}

bool no_room_or_read_only(int error) { return error == ENOSPC || error == EDQUOT || error == EROFS; }

const char* network_file_system_name(uint64_t number) {
  switch (number) {
    case 0x6969:
      return "NFS";
    case 0x517B:
    case 0xFF534D42:
    case 0xFE534D42:
      return "SMB";
    case 0x0BD00BD0:
      return "Lustre";
    case 0x00C36400:
      return "Ceph";
    case 0x47504653:
      return "GPFS";
    case 0x01021997:
      return "9p";
    case 0x5346414F:
    case 0x6B414653:
      return "AFS";
    case 0x19830326:
      return "BeeGFS";
    case 0xAAD7AAEA:
      return "PanFS";
    case 0x73757245:
      return "Coda";
    case 0x564C:
      return "NCP";
    case 0x7461636F:
      return "OCFS2";
    case 0x01161970:
      return "GFS2";
    default:
      return nullptr;
  }
}

#ifdef __linux__

namespace {

// What a FUSE file system calls itself: "fuse.sshfs". The number of all of them is one.
std::string fuse_type(int file) {
  struct stat status;
  if (::fstat(file, &status) != 0) return "";
  std::ostringstream wanted;
  wanted << major(status.st_dev) << ':' << minor(status.st_dev);
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {  // 36 35 98:0 /root /mount options - type source ...
    std::istringstream words(line);
    std::string id, parent, device, word, type;
    words >> id >> parent >> device;
    if (device != wanted.str()) continue;
    while (words >> word && word != "-") {
    }
    words >> type;
    return type;
  }
  return "";
}

}  // namespace

std::string network_file_system(int file) {
  struct statfs status;
  if (::fstatfs(file, &status) != 0) return "";
  const auto number = static_cast<uint64_t>(static_cast<uint32_t>(status.f_type));
  if (const char* name = network_file_system_name(number)) return name;
  if (number != 0x65735546) return "";
  // Of FUSE's, those known to be of this machine pass; any other may be a server's.
  const std::string type = fuse_type(file);
  for (const char* local : {"fuseblk", "virtiofs", "fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.lxcfs", ""}) {
    if (type == local) return "";
  }
  return "FUSE (" + type + ")";
}

#else

std::string network_file_system(int file) {
  struct statfs status;
  if (::fstatfs(file, &status) != 0) return "";
  const std::string type = status.f_fstypename;
  for (const char* name : {"nfs", "smbfs", "afpfs", "webdav", "ftp", "macfuse", "osxfuse", "lifs"}) {
    if (type.rfind(name, 0) == 0) return type;
  }
  return "";
}

#endif

int64_t cache_clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

int64_t cache_steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace penstock
