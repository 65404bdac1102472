#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"
#include "engine/stop_token.h"

namespace eelsvae {

// Marks the pixels that data.exclude_path and data.exclude name in image.excluded, besides those that it
// names already; where there are none, image.excluded stays as it is. UserError if the mask cannot be read or
// has not the image's shape, a rectangle reaches beyond the image, or no pixel is left.
void exclude_pixels(SpectrumImage& image, const DataConfig& data);

// The image that a program works on: read from the file (not from data.data_path) as the configuration tells,
// with its excluded pixels marked. Counts may be no numbers: reduce() (engine/prepare/preprocess.h) says
// which matter. UserError as read_spectrum_image and exclude_pixels.
SpectrumImage read_image_data(const std::string& path, const Config& config, const StopToken& stop = {});

// Every file that work on this image reads as the configuration tells: the image's own, those of its low-loss
// image, its mask. Who records what a result was made from, asks here. Errors as image_files.
std::vector<std::string> input_files(const std::string& path, const Config& config);

// The image of preprocess.align_path, if there is one; the calibration that the configuration gives is not
// meant for it.
std::optional<SpectrumImage> read_drift_image(const Config& config, const StopToken& stop = {});

}  // namespace eelsvae
