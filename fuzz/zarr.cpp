// Zarr, in a folder of HyperSpy: the JSON of an array, a zero, and the bytes of its first chunk. The array is
// the image, and once more among the metadata, in versions 2 and 3 of Zarr.

#include <filesystem>
#include <fstream>
#include <string_view>

#include "fuzz/input_file.h"

using namespace eelsvae;

namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "eelsvae-fuzz-XXXXXX").string();
    if (!mkdtemp(name.data())) std::abort();
    path_ = name;
    group("");
    group("Experiments");
    write("json", "");
    write("chunk", "");
    image("2", ".zarray", {"0.0.0", "0/0/0"}, "0");
    image("3", "zarr.json", {"c/0/0/0", "c.0.0.0", "0.0.0"}, "c/0");
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path() const { return path_.string(); }

  void set(std::string_view json, std::string_view chunk) const {
    write("json", json);
    write("chunk", chunk);
  }

 private:
  // Whose array has the folder's JSON and chunk, under the names that it looks for.
  void image(const std::string& title, const std::string& json, std::initializer_list<const char*> chunks,
             const char* list_chunk) const {
    const std::string experiment = "Experiments/" + title, list = experiment + "/original_metadata/_list_b/";
    for (const char* name : {"", "/original_metadata", "/axis-0", "/axis-1", "/axis-2", "/axis-3"})
      group(experiment + name);
    write(experiment + "/axis-2/.zattrs", "{\"units\": \"eV\", \"navigate\": false}");
    for (const char* chunk : chunks) link("chunk", experiment + "/data/" + chunk);
    link("json", experiment + "/data/" + json);
    link("json", list + json);
    link("chunk", list + list_chunk);
  }
  void group(const std::string& name) const { write(name + "/.zgroup", "{\"zarr_format\": 2}"); }
  void link(const std::string& from, const std::string& name) const {
    fs::create_directories((path_ / name).parent_path());
    fs::create_hard_link(path_ / from, path_ / name);
  }
  void write(const std::string& name, std::string_view content) const {
    const fs::path file = path_.string() + "/" + name;
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }

  fs::path path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;  // as an image may be 65536 times as large
  static const Folder folder;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  folder.set(input.substr(0, end), input.substr(std::min(end + 1, size)));
  read_every_image(folder.path());
  return 0;
}
