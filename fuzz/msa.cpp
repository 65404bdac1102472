#include "io/formats/msa.h"

#include "fuzz/input_file.h"

using namespace eelsvae;

// A file that says what it is, whatever follows.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text = "#FORMAT      : EMSA/MAS Spectral Data File\r\n";
  text.append(reinterpret_cast<const char*>(data), size);
  const std::string path = input_file(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  unless_refused([&] {
    for (const StoredImage& image : open_images(path)) {
      CountArray counts(static_cast<size_t>(image.info.shape[0]));
      image.values->read(whole_of(image.info.shape), dense_strides(image.info.shape), counts.data());
      image.metadata();
    }
  });
  read_every_image(path);
  return 0;
}
