#include "io/files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "kernels/error.h"

namespace eelsvae {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const auto fail = [&](int error) {
    throw UserError("cannot read " + path + ": " + std::generic_category().message(error));
  };
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang; it means nothing to a regular file.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail(errno);
  struct stat status;
  int error = fstat(descriptor, &status) == 0 ? 0 : errno;
  if (!error && S_ISDIR(status.st_mode)) error = EISDIR;
  const bool regular = !error && S_ISREG(status.st_mode);
  if (regular && status.st_size > 0) {
    void* memory = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (memory == MAP_FAILED) {
      error = errno;
    } else {
      data_ = static_cast<std::byte*>(memory);
      size_ = static_cast<size_t>(status.st_size);
    }
  }
  close(descriptor);
  if (error) fail(error);
  if (!regular) throw UserError("cannot read " + path + ": not a regular file");
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, size_);
}

void MappedFile::release(const std::byte* begin, const std::byte* end) const {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t first = (static_cast<size_t>(begin - data_) + page - 1) / page * page;
  const size_t last =
      static_cast<size_t>(std::min<const std::byte*>(end, data_ + size_) - data_) / page * page;
  if (first < last) madvise(data_ + first, last - first, MADV_DONTNEED);  // a hint: no error matters
}

}  // namespace eelsvae
