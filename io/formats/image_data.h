#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/image/image_to_read.h"
#include "engine/stop_token.h"

namespace eelsvae {

// Marks the pixels that data.exclude_path and data.exclude name in image.excluded, besides those that it
// names already; where there are none, image.excluded stays as it is. UserError if the mask cannot be read or
// has not the image's shape, a rectangle reaches beyond the image, or no pixel is left.
void exclude_pixels(SpectrumImage& image, const DataConfig& data);

// The image that a program works on, in the file (not that of data.data_path), as the configuration tells,
// with its excluded pixels marked. reduce() (engine/prepare/preprocess.h) reads what it needs of it, and says
// which counts have to be numbers. UserError as open_spectrum_image and exclude_pixels.
ImageToRead open_image_data(const std::string& path, const Config& config, const StopToken& stop = {});

// Every file that work on this image reads as the configuration tells: the image's own, those of its low-loss
// image, its mask. Who records what a result was made from, asks here. Errors as image_files.
std::vector<std::string> input_files(const std::string& path, const Config& config);

// The image of preprocess.align_path, if there is one; the calibration that the configuration gives is not
// meant for it.
std::optional<ImageToRead> open_drift_image(const Config& config, const StopToken& stop = {});

}  // namespace eelsvae
