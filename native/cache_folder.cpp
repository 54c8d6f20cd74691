#include "cache_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace penstock {

namespace {

constexpr const char* kFormatFile = "penstock-cache.json";
constexpr const char* kFormat = "{\"format\": \"penstock cache\", \"version\": 1}\n";
constexpr const char* kLockFile = "lock";
constexpr const char* kUsersFile = "users";

bool ends_in(const std::string& name, const std::string& tail) {
  return name.size() >= tail.size() && name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
}

bool is_ours(const std::string& name) {
  if (name.rfind(kFormatFile, 0) == 0 || name == kLockFile || name == kUsersFile) return true;
  for (const char* tail : {kPixels, kIndex, kAbout}) {
    if (ends_in(name, tail) || ends_in(name, std::string(tail) + ".new")) return true;
  }
  return false;
}

FileNumber open_folder(const std::string& path, int& error) {
  const int number = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  error = number < 0 ? errno : 0;
  return FileNumber(number);
}

std::string read_text(int folder, const std::string& name, int& error) {
  const FileNumber file = open_beside(folder, name, O_RDONLY, error);
  if (!file) return "";
  char text[4096];
  size_t count = 0;
  if (!read_some(file.get(), text, sizeof(text), 0, count, error)) return "";
  return {text, count};
}

// Whether it is the format file's text, or what a loss of power may have left of it: a part, or zeros.
bool half_written(const std::string& text) {
  return std::string(kFormat).rfind(text, 0) == 0 || text.find_first_not_of('\0') == std::string::npos;
}

// Whether a folder that goes with its last user has none. `users` is locked then.
bool unused(int folder, FileNumber& users) {
  int error = 0;
  users = open_beside(folder, kUsersFile, O_RDWR, error);
  return users && lock_file(users.get(), true, 0);
}

// Everything of ours in it, `users` last, and the folder where nothing else is in it.
void remove_all(const std::string& path, int folder) {
  int error = 0;
  for (const std::string& name : names_in(folder, error)) {
    if (is_ours(name) && name != kUsersFile) ::unlinkat(folder, name.c_str(), 0);
  }
  ::unlinkat(folder, kUsersFile, 0);
  ::rmdir(path.c_str());
}

void remove_orphans_beside(const std::string& path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  std::vector<std::string> orphans;
  for (auto entry = std::filesystem::directory_iterator(parent, error); !error && entry != decltype(entry)();
       entry.increment(error)) {
    if (entry->path().filename().string().rfind(kVolatilePrefix, 0) == 0) orphans.push_back(entry->path().string());
  }
  for (const std::string& orphan : orphans) {
    int number = 0;
    const FileNumber folder = open_folder(orphan, number);
    struct stat status;
    if (!folder || ::fstat(folder.get(), &status) != 0 || status.st_uid != ::geteuid()) continue;
    FileNumber users;
    if (unused(folder.get(), users)) remove_all(orphan, folder.get());
  }
}

}  // namespace

bool CacheFolder::open(const CacheOptions& options, std::string& refusal, std::string& trouble) {
  path_ = options.folder;
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  readable_by_others_ = options.readable_by_others;
  volatile_ = options.volatile_;
  if (volatile_) remove_orphans_beside(path_);
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (!make(path_, options.read_only, options.network, refusal, trouble)) return false;
    if (!folder_) return true;
    if (!check_owner(options, refusal, trouble)) return false;
    // From here on its last user does not remove it; until then it may go away any moment.
    if (volatile_ && trouble.empty() && !use(options.read_only)) continue;
    return check_format(options.read_only || !trouble.empty(), refusal, trouble);
  }
  refusal = "expected a folder that stays, found one that others remove all the time";
  return false;
}

bool CacheFolder::make(const std::string& path, bool read_only, bool network, std::string& refusal,
                       std::string& trouble) {
  int error = 0;
  folder_ = open_folder(path, error);
  if (!folder_ && error == ENOENT && !read_only) {
    // The first folder above that exists says what file system it will be on; a refused cache leaves nothing behind.
    std::error_code failed;
    std::filesystem::path above = std::filesystem::absolute(path, failed).parent_path();
    while (!above.empty() && above != above.root_path() && !std::filesystem::exists(above, failed)) {
      above = above.parent_path();
    }
    int ignored = 0;
    const FileNumber parent = open_folder(above.string(), ignored);
    const std::string kind = parent && !network ? network_file_system(parent.get()) : "";
    if (!kind.empty()) {
      refusal = "expected a folder on a local file system, or network=True, found one on " + kind;
      return false;
    }
    std::filesystem::create_directories(std::filesystem::absolute(path, failed).parent_path(), failed);
    error = failed ? failed.value() : 0;
    if (!failed && ::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) error = errno;
    if (error == 0) folder_ = open_folder(path, error);
  }
  if (!folder_) {
    if (no_room_or_read_only(error)) {
      trouble = "expected a folder that can be written, found " + error_words(error);
      return true;
    }
    refusal = error == ENOTDIR ? std::string("expected a folder, found a file")
                               : "expected a folder that can be opened, found " + error_words(error);
    return false;
  }
  const std::string kind = network ? "" : network_file_system(folder_.get());
  if (kind.empty()) return true;
  refusal = "expected a folder on a local file system, or network=True, found one on " + kind;
  return false;
}

bool CacheFolder::check_owner(const CacheOptions& options, std::string& refusal, std::string& trouble) {
  struct stat status;
  if (::fstat(folder_.get(), &status) != 0) {
    refusal = "expected a folder that can be opened, found " + error_words(errno);
    return false;
  }
  owner_ = status.st_uid;
  const bool ours = owner_ == ::geteuid();
  if (!ours && !options.read_only) {
    refusal = "expected a folder of this user, or read_only=True, found one of user " + std::to_string(owner_);
    return false;
  }
  // Pixels that anybody may write are anybody's pixels.
  if ((status.st_mode & 022) != 0 && (!ours || options.read_only)) {
    refusal = "expected a folder that only its owner may write to, found one that others may";
    return false;
  }
  if (!options.read_only && ::faccessat(folder_.get(), ".", W_OK, AT_EACCESS) != 0) {
    trouble = "expected a folder that can be written, found " + error_words(errno);
  }
  return true;
}

bool CacheFolder::check_format(bool read_only, std::string& refusal, std::string& trouble) {
  int error = 0;
  std::string text = read_text(folder_.get(), kFormatFile, error);
  const size_t at = text.find("\"version\": ");
  if (at != std::string::npos && text.find("penstock cache") < at && text != kFormat) {
    refusal =
        "expected a cache of version 1, found version " + text.substr(at + 11, text.find_first_of(",}", at) - at - 11);
    return false;
  }
  const bool unreadable = error != 0 && error != ENOENT;
  if (unreadable || !half_written(text)) {
    refusal = "expected a cache, or a folder without a " + std::string(kFormatFile) + ", found one of something else" +
              (unreadable ? ": " + error_words(error) : "");
    return false;
  }
  if (text != kFormat) {  // new, or what a power cut left of it
    for (const std::string& name : names_in(folder_.get(), error)) {
      if (is_ours(name)) continue;
      refusal = "expected an empty folder, or a cache, found '" + name + "' in it";
      return false;
    }
    if (read_only) {
      if (!trouble.empty()) return true;
      refusal = "expected a cache, found a folder without " + std::string(kFormatFile);
      return false;
    }
  }
  if (read_only) return true;
  struct stat status;
  const mode_t wanted = readable_by_others_ ? 0755 : 0700;
  if (::fstat(folder_.get(), &status) == 0) {
    // A cache that others may read stays so; whatever was another kind of folder becomes this user's alone.
    if (text == kFormat && (status.st_mode & 022) == 0 && !readable_by_others_) {
      readable_by_others_ = (status.st_mode & 044) != 0;
    } else {
      ::fchmod(folder_.get(), wanted);
    }
  }
  const FolderLock held = lock(error);
  bool written = text == kFormat || (!held && error == 0);
  if (held && text != kFormat) {
    const std::string temporary = std::string(kFormatFile) + ".new";
    ::unlinkat(folder_.get(), temporary.c_str(), 0);
    const FileNumber file = open_beside(folder_.get(), temporary, O_WRONLY | O_CREAT | O_EXCL, error, file_mode());
    const iovec part = {const_cast<char*>(kFormat), std::string(kFormat).size()};
    written = file && write_all(file.get(), {part}, 0, error) &&
              ::renameat(folder_.get(), temporary.c_str(), folder_.get(), kFormatFile) == 0;
    if (!written) ::unlinkat(folder_.get(), temporary.c_str(), 0);
  }
  if (!written) trouble = "expected a folder that can be written, found " + error_words(error);
  return true;
}

bool CacheFolder::use(bool read_only) {
  int error = 0;
  const int flags = read_only ? O_RDONLY : O_RDWR | O_CREAT;
  users_ = open_beside(folder_.get(), kUsersFile, flags, error, 0600);
  if (!users_) return error != ENOENT;
  if (!lock_file(users_.get(), false, 2000)) return false;
  struct stat status;
  return ::fstat(users_.get(), &status) == 0 && status.st_nlink > 0;
}

bool CacheFolder::open_existing(const std::string& path, std::string& refusal) {
  int error = 0;
  path_ = path;
  folder_ = open_folder(path, error);
  struct stat status;
  if (!folder_ || ::fstat(folder_.get(), &status) != 0) {
    refusal = "expected a cache's folder, found " + (error == ENOTDIR ? std::string("a file") : error_words(error));
    return false;
  }
  owner_ = status.st_uid;
  readable_by_others_ = (status.st_mode & 044) != 0;
  if (read_text(folder_.get(), kFormatFile, error) == kFormat) return true;
  refusal = "expected a cache of version 1, found a folder without its " + std::string(kFormatFile);
  return false;
}

bool CacheFolder::removed() const {
  struct stat status;
  return folder_ && (::fstat(folder_.get(), &status) != 0 || status.st_nlink == 0);
}

FolderLock CacheFolder::lock(int& error, int patience_ms) const {
  const int64_t until = cache_steady_ms() + patience_ms;
  do {
    FileNumber file = open_beside(folder_.get(), kLockFile, O_RDWR | O_CREAT, error, file_mode());
    if (!file) return {};
    error = 0;
    if (!lock_file(file.get(), true, patience_ms)) return {};
    struct stat status;
    if (::fstat(file.get(), &status) == 0 && status.st_nlink > 0) return FolderLock(std::move(file));
    unlock_file(file.get());  // it was unlinked meanwhile: another one is the lock now
  } while (cache_steady_ms() < until);
  return {};
}

void CacheFolder::leave() {
  if (!users_) return;
  // Where two leave at once, one of them is last: a lock that cannot become exclusive is given up.
  if (lock_file(users_.get(), true, 0)) remove_all(path_, folder_.get());
  unlock_file(users_.get());
  users_.reset();
}

void CacheFolder::abandon() {
  users_.reset();
  folder_.reset();
}

}  // namespace penstock
