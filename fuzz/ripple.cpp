// A .rpl text and, behind the first zero byte, its .raw file.

#include <algorithm>
#include <filesystem>

#include "fuzz/input_file.h"

using namespace eelsvae;

namespace {

// A folder of two links to files in memory.
struct Folder {
  std::filesystem::path path;
  MemoryFile rpl, raw;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "eelsvae-fuzz-XXXXXX").string();
    if (!mkdtemp(name.data())) std::abort();
    path = name;
    std::filesystem::create_symlink(rpl.path(), path / "input.rpl");
    std::filesystem::create_symlink(raw.path(), path / "input.raw");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  const uint8_t* end = std::find(data, data + size, 0);
  const uint8_t* raw = end == data + size ? end : end + 1;
  folder.rpl.write(data, static_cast<size_t>(end - data));
  folder.raw.write(raw, static_cast<size_t>(data + size - raw));
  read_every_image((folder.path / "input.rpl").string());
  return 0;
}
