#pragma once

#include <filesystem>
#include <string>

namespace eelsvae {

// Keeps other programs out of a folder that this one writes into, until it goes out of scope or the process
// ends, however that ends: the system takes the lock back. It is on the empty file ".lock" in the folder,
// which a process that was killed leaves behind without a lock on it.
class FolderLock {
 public:
  // The folder exists. UserError, that says what to do, if another program has the lock (this one, too, if it
  // locks a folder twice), or if no file can be made in the folder.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  // That the folder's file system has no locks, as some of clusters have not, so that nothing keeps others
  // out; "" if something does.
  const std::string& warning() const { return warning_; }

 private:
  std::filesystem::path file_;
  int descriptor_ = -1;
  std::string warning_;
};

}  // namespace eelsvae
