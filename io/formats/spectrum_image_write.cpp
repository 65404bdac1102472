#include "io/formats/spectrum_image_write.h"

#include <algorithm>
#include <iterator>

#include "io/files/npy.h"
#include "io/formats/gatan_write.h"
#include "io/formats/hspy.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

void write_counts(const std::string& path, const SpectrumImage& image) {
  write_npy(path, {image.y.size, image.x.size, image.energy.size}, image.counts.data());
}

struct Writer {
  const char* extension;
  void (*write)(const std::string& path, const SpectrumImage& image);
};

constexpr Writer writers[] = {{".hspy", write_hspy}, {".dm4", write_dm4}, {".npy", write_counts}};

const Writer* writer_of(const std::string& path) {
  const auto* writer = std::find_if(std::begin(writers), std::end(writers), [&](const Writer& w) {
    return path.size() > std::string(w.extension).size() && path.ends_with(w.extension);
  });
  return writer == std::end(writers) ? nullptr : writer;
}

}  // namespace

std::string written_extensions() {
  std::string text;
  for (const Writer& writer : writers)
    text += (&writer == writers                 ? ""
             : &writer == std::end(writers) - 1 ? " or "
                                                : ", ") +
            std::string(writer.extension);
  return text;
}

void check_image_name(const std::string& option, const std::string& path) {
  if (!writer_of(path)) throw UserError(option + " " + path + " must end in " + written_extensions());
}

void write_spectrum_image(const std::string& path, const SpectrumImage& image) {
  check_image_name("an image to write,", path);
  writer_of(path)->write(path, image);
}

}  // namespace eelsvae
