#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/config.h"
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
  // Average precision with which changes of single spectra, of a known size, are found by the configured
  // score (injected_changes.h).
  struct Finds {
    double mean = 0, model = 0;
    std::optional<double> pca;
    bool operator==(const Finds&) const = default;
  };
  std::optional<Finds> finds;
  bool operator==(const Comparison&) const = default;
};

// What a source of expectations is, for what is to be said of how well it predicts.
struct SourceDescription {
  enum class Kind { model, mean, local, pca, rx, other } kind = Kind::other;  // other: not made here
  // Of a model:
  int64_t tile = 0;                    // side of its tiles, pixels
  std::optional<Comparison> training;  // on the spectra that its training held out
  bool own_image = false;              // the image under test is the one that it was trained on
};

SourceDescription::Kind kind_of(const BaselineSpec& spec);

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

// How well normal spectra of an image under test are predicted, by its source if that is a model and by the
// baselines: on the spectra that the model's training held out where the image is its own, otherwise on a
// tenth of the image, which the baselines are then not fitted to. Absent as spread_sample() has it, and where
// the training held nothing out.
std::optional<Comparison> compare(const SpectrumImageView& image, const SourceDescription& description,
                                  const std::function<Expectation(const SpectrumImageView&)>& source,
                                  const PreprocessConfig& preprocess);

// What a model and the baselines find of changes that are put into the middle of an image, twice, a fiftieth
// of its spectra each time; the baselines are fitted to it as it is then. Absent as inject_changes() has it,
// and for a score that baselines do not have.
std::optional<Comparison::Finds> compare_finds(
    const SpectrumImageView& image, int64_t tile,
    const std::function<Expectation(const SpectrumImageView&)>& model, const PreprocessConfig& preprocess,
    const DetectionConfig& config);

// Why, after that comparison, a threshold for a false-discovery rate may not keep it, each with what to do
// about it: what is left over is not noise, or the model does not know this image as it knows its own.
std::vector<std::string> doubts_of(const Comparison& here, const SourceDescription& description,
                                   const DetectionConfig& config);

// What else there is to say of it: that a model tells no more than the mean spectrum does, or that less is
// found by it. "": nothing.
std::string remark_on(const Comparison& here);

// "Predictive deviance of 1024 spectra (1: only noise is left): model 1.004, mean spectrum 1.031, PCA of 3
// components 1.006".
std::string describe(const Comparison& comparison);

}  // namespace eelsvae
