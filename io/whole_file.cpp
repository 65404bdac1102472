#include "io/whole_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "kernels/error.h"

namespace eelsvae {

void write_whole_file(const std::string& path, std::string_view bytes) {
  const std::string beside = path + "." + std::to_string(getpid()) + ".part";
  int file = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  auto fail = [&](int error) {
    if (file >= 0) close(file);
    unlink(beside.c_str());
    throw UserError("cannot write " + path + ": " + std::strerror(error));
  };
  if (file < 0) fail(errno);
  while (!bytes.empty()) {
    ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (fsync(file) != 0) fail(errno);
  int closed = close(file);
  file = -1;
  if (closed != 0 || std::rename(beside.c_str(), path.c_str()) != 0) fail(errno);
}

}  // namespace eelsvae
