#include "io/files/output_folder.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "kernels/error.h"

namespace eelsvae {

namespace fs = std::filesystem;

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
  const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.95; ++unit) value /= 1024;  // 1023.95 would be printed as 1024.0
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, units[unit]);
  return text;
}

bool prepare_output_folder(const fs::path& folder, uint64_t required_bytes) {
  const std::string name = folder.string();
  if (folder.empty()) throw UserError("output folder: the name is empty");
  std::error_code error;
  fs::file_status status = fs::status(folder, error);
  if (fs::exists(status) && !fs::is_directory(status))
    throw UserError("output folder " + name + ": exists, but is not a folder");

  if (required_bytes > 0) {
    fs::path existing = fs::absolute(folder);
    while (!fs::is_directory(existing, error) && existing.has_relative_path())
      existing = existing.parent_path();
    fs::space_info space = fs::space(existing, error);
    if (error) throw UserError("output folder " + name + ": cannot ask for free space: " + error.message());
    if (space.capacity > 0 && space.available < required_bytes)  // /proc and the like have none at all
      throw UserError("output folder " + name + ": needs " + human_bytes(required_bytes) +
                      ", but its disk has only " + human_bytes(space.available) + " free");
  }

  // A name that ends with a slash names the folder in the one before it, which does not have to be made.
  const bool made = fs::create_directories(folder.has_filename() ? folder : folder.parent_path(), error);
  if (error) throw UserError("output folder " + name + ": cannot create: " + error.message());

  // Only making a file tells: permissions do not bind root, and disks can be mounted read-only.
  std::string probe = (folder / ".writable-XXXXXX").string();
  int file = ::mkostemp(probe.data(), O_CLOEXEC);
  if (file < 0) throw UserError("output folder " + name + ": not writable: " + std::strerror(errno));
  ::close(file);
  ::unlink(probe.c_str());
  return made;
}

}  // namespace eelsvae
