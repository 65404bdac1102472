// Zip archives: NumPy's and Nion's.

#include "fuzz/input_file.h"
#include "io/containers/zip_archive.h"

using namespace eelsvae;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = input_file(data, size);
  unless_refused([&] {
    const ZipArchive archive(std::make_shared<const MappedFile>(path));
    for (const ZipMember& member : archive.members())
      unless_refused([&] { archive.read(member, size_t{1} << 20); });
  });
  read_every_image(path);
  return 0;
}
