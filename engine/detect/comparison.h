#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/detect/expectation.h"
#include "engine/image/spectrum_image.h"
#include "engine/noise/prediction.h"

namespace eelsvae {

// How well the same spectra are predicted by a model and by two plain descriptions of the specimen
// (predictive_deviance(): 1 where nothing but noise is left).
struct Comparison {
  int64_t spectra = 0;        // that are predicted
  double mean = 0;            // by the mean spectrum, as bright as each of them
  std::optional<double> pca;  // by principal components; absent where they cannot be chosen
  int64_t components = 0;     // of these
  std::optional<double> model;
  bool operator==(const Comparison&) const = default;
};

// By the baselines, fitted to the image without the pixels left_out (y, x; nonzero), among them those that
// are predicted. Absent where too little is left to fit even a mean spectrum to.
std::optional<Comparison> compare_baselines(const PredictionSample& sample, const SpectrumImageView& image,
                                            std::span<const uint8_t> left_out);

// About a tenth of an image, in rectangles spread evenly over it, and where they lie (y, x; nonzero). tile:
// of the model that is to predict them, which wants rectangles of twice that side, and of once at least; 0:
// none. Absent as make_prediction_sample() has it, and where more than half of the image would be taken.
struct SpreadSample {
  PredictionSample sample;
  std::vector<uint8_t> pixels;
};
std::optional<SpreadSample> spread_sample(const SpectrumImageView& image, int64_t tile,
                                          const PreprocessConfig& preprocess);

// The predictive deviance of what a source makes of each rectangle of the sample.
double predictive_deviance(const PredictionSample& sample,
                           const std::function<Expectation(const SpectrumImageView&)>& source);

// "Predictive deviance of 1024 spectra (1: only noise is left): model 1.004, mean spectrum 1.031, PCA of 3
// components 1.006".
std::string describe(const Comparison& comparison);

}  // namespace eelsvae
