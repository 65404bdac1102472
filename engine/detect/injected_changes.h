#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/detect/expectation.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// An image with changes of a known size in single spectra, to compare by what sources of expectations find
// where nobody knows the truth.
struct InjectedChanges {
  SpectrumImage image;
  std::vector<uint8_t> truth;     // (y, x), 1 where changed
  std::vector<uint8_t> left_out;  // (y, x), nonzero: excluded
};

// A rectangle from the middle of a prepared image, `side` pixels wide and high or what the image has, in
// which a fiftieth of the pixels is changed, 20 at least: in a Gaussian window anywhere on the energy axis,
// what is expected of the pixel (the mean of its neighbours, as bright as itself) is shifted, broadened,
// scaled, or has a peak added. Each change is 5 to 8 standard deviations of the noise large, in the norm over
// all channels; noise stays where it is. The same seed gives the same changes. Absent where fewer than 500
// pixels are not excluded, or the noise cannot be measured.
std::optional<InjectedChanges> inject_changes(const SpectrumImageView& prepared, int64_t side,
                                              const PreprocessConfig& preprocess, uint64_t seed);

// Average precision with which the configured score finds the changes, given what a source expects of their
// image. UserError as Scorer has it.
double precision_on(const InjectedChanges& changes,
                    const std::function<Expectation(const SpectrumImageView&)>& source,
                    const PreprocessConfig& preprocess, const DetectionConfig& config);

}  // namespace eelsvae
