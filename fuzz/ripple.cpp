// A .rpl text and, behind the first zero byte, its .raw file.

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "fuzz/input_file.h"

using namespace eelsvae;

namespace {

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "eelsvae-fuzz-XXXXXX").string();
    if (!mkdtemp(name.data())) std::abort();
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  const char* text = reinterpret_cast<const char*>(data);
  const char* end = std::find(text, text + size, '\0');
  const char* raw = std::min(end + 1, text + size);
  std::ofstream(folder.path / "input.rpl", std::ios::binary).write(text, end - text);
  std::ofstream(folder.path / "input.raw", std::ios::binary).write(raw, text + size - raw);
  read_every_image((folder.path / "input.rpl").string());
  return 0;
}
