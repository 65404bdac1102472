#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/config.h"
#include "engine/detect/comparison.h"
#include "engine/detect/detection.h"
#include "engine/detect/detection_state.h"
#include "engine/detect/expectation.h"
#include "engine/image/spectrum_image.h"
#include "engine/stop_token.h"

// A detection from a prepared image to its result, whoever asks for it: a program, a study, another program
// that links this library.
namespace eelsvae {

// What is expected of every spectrum of a prepared image: expect_from() a model or a baseline, or anything
// else. Throws Interrupted where it is asked to stop.
using ExpectationSource = std::function<Expectation(const SpectrumImageView& prepared)>;

// Normal spectra that the source was not fitted to, for a conformal threshold.
struct NormalSpectra {
  SpectrumImageView image;      // prepared, as the source was fitted
  PreprocessConfig preprocess;  // how
  std::vector<uint8_t> pixels;  // (y, x), nonzero: one of them
};

struct DetectionResult {
  Expectation expectation;
  Detection found;
  std::optional<Comparison> comparison;  // how well normal spectra are predicted; absent as compare() has it
};

// Expectation, scores, threshold, mask and regions of an image, and how well the source predicts normal
// spectra beside the baselines, which may cast doubt on the threshold (found.doubts). held_out: ascending
// scores of normal spectra that the source was not fitted to, where the threshold asks for them. state,
// and UserError, as detect() has them, Interrupted as the source and detect() have it and between these
// steps.
DetectionResult run_detection(const SpectrumImageView& prepared, const ExpectationSource& source,
                              const SourceDescription& description, const PreprocessConfig& preprocess,
                              const DetectionConfig& config, std::span<const float> held_out = {},
                              const StopToken& stop = {}, const DetectionState* state = nullptr);

// Its parts, for who asks for several scores of one expectation. The maps (y, x) of the scores, in their
// order; errors as Scorer has them.
std::vector<std::vector<float>> score_maps(const SpectrumImageView& prepared, const Expectation& expectation,
                                           const PreprocessConfig& preprocess, const DetectionConfig& config,
                                           std::span<const Score> scores, const StopToken& stop = {});
// For each score those of the normal spectra, ascending. expectation: of their image.
std::vector<std::vector<float>> normal_scores(const NormalSpectra& normal, const Expectation& expectation,
                                              const DetectionConfig& config, std::span<const Score> scores,
                                              const StopToken& stop = {});

}  // namespace eelsvae
