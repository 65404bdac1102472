#include "io/files/folder_lock.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/error.h"

namespace eelsvae {
namespace {

bool is_file(int descriptor, const std::filesystem::path& file) {
  struct stat open = {}, named = {};
  return ::fstat(descriptor, &open) == 0 && ::stat(file.c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder) : file_(folder / ".lock") {
  const std::string name = "output folder " + folder.string();
  for (;;) {
    // For writing, which network file systems want of an exclusive lock.
    descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw UserError(name + ": not writable: " + std::strerror(errno));
    int locked = 0;
    do {
      locked = ::flock(descriptor_, LOCK_EX | LOCK_NB);
    } while (locked != 0 && errno == EINTR);
    if (locked != 0 && errno == EWOULDBLOCK) {
      ::close(descriptor_);
      throw UserError(name +
                      ": another program is writing into it; wait until that has ended, or choose another "
                      "--output");
    }
    if (locked != 0) {
      warning_ = name + ": its file system has no locks (" + std::strerror(errno) +
                 "), so nothing keeps a second program from writing into it";
      return;
    }
    // Whoever had the lock before may have removed the file after it was opened here.
    if (is_file(descriptor_, file_)) return;
    ::close(descriptor_);
  }
}

FolderLock::~FolderLock() {
  ::unlink(file_.c_str());  // while it is locked, so that nobody has another of this name
  ::close(descriptor_);
}

}  // namespace eelsvae
