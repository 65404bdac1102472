#include "io/formats/image_data.h"

#include <algorithm>
#include <iterator>

#include "engine/image/excluded.h"
#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "kernels/error.h"

namespace eelsvae {

void exclude_pixels(SpectrumImage& image, const DataConfig& data) {
  if (!data.exclude_path && data.exclude.empty()) return;
  image.excluded.resize(static_cast<size_t>(image.pixels()));
  if (data.exclude_path) {
    const std::vector<uint8_t> mask = read_npy_mask(*data.exclude_path, image.y.size, image.x.size);
    for (size_t pixel = 0; pixel < mask.size(); ++pixel)
      image.excluded[pixel] |= mask[pixel] != 0 ? by_request : 0;
  }
  for (const std::array<int64_t, 4>& rectangle : data.exclude) exclude_rectangle(image, rectangle);
  if (excluded_pixels(image.excluded) == image.pixels())
    throw UserError((data.exclude_path ? *data.exclude_path + ": " : "") +
                    "data.exclude_path and data.exclude leave none of the image's " +
                    std::to_string(image.pixels()) + " pixels");
}

ImageToRead open_image_data(const std::string& path, const Config& config, const StopToken& stop) {
  ReadOptions options = config.data;
  // The range then means energies that the image has only after it was aligned.
  if (config.preprocess.align == Align::zero_loss && !config.preprocess.align_path)
    options.energy_range.reset();
  ImageToRead image = open_spectrum_image(path, options, stop);
  exclude_pixels(image.image, config.data);
  return image;
}

std::vector<std::string> input_files(const std::string& path, const Config& config) {
  std::vector<std::string> files = image_files(path);
  for (const std::optional<std::string>& other : {config.preprocess.align_path, config.data.exclude_path})
    if (other) std::ranges::copy(image_files(*other), std::back_inserter(files));
  return files;
}

std::optional<ImageToRead> open_drift_image(const Config& config, const StopToken& stop) {
  if (!config.preprocess.align_path) return std::nullopt;
  ReadOptions options = config.data;
  options.dataset = config.preprocess.align_dataset;
  options.energy_offset.reset();
  options.dispersion.reset();
  options.energy_range.reset();
  if (options.dataset < 0) options.dataset = low_loss_image(*config.preprocess.align_path);
  return open_spectrum_image(*config.preprocess.align_path, options, stop);
}

}  // namespace eelsvae
