#pragma once

#include "engine/image/spectrum_image.h"
#include "engine/prepare/scaling.h"
#include "kernels/backend.h"

namespace eelsvae {

// smooth_and_scale() (engine/prepare/preprocess.h) on a device that has image operations: the image crosses
// the bus once in each direction. Results are those of the host but for rounding. UserError as there, and if
// the device has less memory than smooth_and_scale_bytes().
ScalingParameters smooth_and_scale_on_device(Backend& backend, SpectrumImage& image,
                                             const PreprocessConfig& config, const ScalingParameters* fitted);

// Device memory that it takes at most.
size_t smooth_and_scale_bytes(const SpectrumImage& image);

}  // namespace eelsvae
