#include "io/files/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "io/files/mapped_file.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr size_t buffer_bytes = size_t{1} << 20;

// Makes a rename in this folder survive a power failure.
int sync_folder(const std::filesystem::path& folder) {
  const int descriptor = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return errno;
  const int error = fsync(descriptor) == 0 ? 0 : errno;
  close(descriptor);
  return error == EINVAL ? 0 : error;  // some network file systems cannot, and need not, sync a folder
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_path_(path) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (std::filesystem::is_symlink(status)) {
    target_path_ = std::filesystem::weakly_canonical(path, error).string();
    if (error) fail(error.value());
  }
  const auto target = std::filesystem::status(target_path_, error);
  if (std::filesystem::is_directory(target)) fail(EISDIR);
  if (std::filesystem::exists(target) && !std::filesystem::is_regular_file(target))
    throw UserError("cannot write " + path_ + ": not a regular file");

  static std::atomic<unsigned> counter{0};
  do {
    temporary_path_ =
        target_path_ + "." + std::to_string(getpid()) + "-" + std::to_string(counter++) + ".tmp";
    descriptor_ = open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);  // left behind by a killed process that had our id
  if (descriptor_ < 0) fail(errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_path_.empty()) unlink(temporary_path_.c_str());
}

void AtomicFile::write(const void* bytes, size_t size) {
  const char* begin = static_cast<const char*>(bytes);
  if (buffer_.size() + size > buffer_bytes) flush();
  if (size >= buffer_bytes) {
    write_through(begin, size);
  } else {
    buffer_.insert(buffer_.end(), begin, begin + size);
  }
}

void AtomicFile::commit() {
  flush();
  if (fsync(descriptor_) != 0) fail(errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (close(descriptor) != 0) fail(errno);
  if (rename(temporary_path_.c_str(), target_path_.c_str()) != 0) fail(errno);
  temporary_path_.clear();
  if (const int error = sync_folder(std::filesystem::path(target_path_).parent_path())) fail(error);
}

void AtomicFile::write_through(const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    bytes += written;
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::flush() {
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::fail(int error) const {
  throw UserError("cannot write " + path_ + ": " + std::generic_category().message(error));
}

void write_file(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

std::string read_text_file(const std::string& path) {
  const MappedFile file(path);
  return std::string(reinterpret_cast<const char*>(file.data()), file.size());
}

}  // namespace eelsvae
