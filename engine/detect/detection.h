#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/detect/deviation.h"
#include "engine/detect/empirical_null.h"
#include "engine/detect/expectation.h"
#include "engine/detect/regions.h"
#include "engine/detect/scorer.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"
#include "engine/stop_token.h"

namespace eelsvae {

struct DetectionState;

// So many regions are explained, those of the highest scores, which takes seconds; the others have no words.
inline constexpr int64_t most_explained = 50;

// What a detection found in a prepared image; maps are (y, x).
struct Detection {
  std::vector<float> scores;          // larger fits worse; NaN in excluded pixels, finite in all others
  std::vector<Deviation> deviations;  // what departs most, in each pixel
  double threshold = 0;
  std::optional<EmpiricalNull> null;  // of the scores; absent where too few or degenerate
  std::vector<uint8_t> mask;          // 1 where the score is above the threshold
  std::vector<Region> regions;        // of the mask
  ChannelWindow window;               // over which the score was taken
  // What the score measured in the image; absent where can_be_kept() is not.
  std::optional<ScoreState> measured = {};
  // Why the threshold may not keep what was asked of it, each with what to do about it. Empty: nothing here
  // speaks against it.
  std::vector<std::string> doubts;

  int64_t anomalous_pixels() const;
  bool trusted() const { return doubts.empty(); }
  // Normal spectra that are above the threshold if the null holds; absent without one.
  std::optional<double> expected_false_alarms() const;
};

// UserError where detect() could not begin: its window is not on the energy axis, the image is smaller than a
// tile, or what is asked for needs a model and there is none (tile 0: no tiles, as with a baseline). For
// programs that ask before they write anything.
void check_detection(const SpectrumImageView& prepared, int64_t tile, const DetectionConfig& config);

// Scores, threshold, mask and regions. held_out: ascending scores of normal spectra for
// ThresholdMethod::conformal. state: of another image (detection_state.h), to take in place of what would be
// measured in this one; config is then the state's. UserError: as check_detection; the noise cannot be
// measured; the threshold cannot be found. Interrupted while regions are explained.
Detection detect(const SpectrumImageView& prepared, const Expectation& expectation,
                 const PreprocessConfig& preprocess, const DetectionConfig& config,
                 std::span<const float> held_out = {}, const StopToken& stop = {},
                 const DetectionState* state = nullptr);

// The same without regions, which take the longest, for what is only to be set beside another detection.
Detection detect_pixels(const SpectrumImageView& prepared, const Expectation& expectation,
                        const PreprocessConfig& preprocess, const DetectionConfig& config);
Detection detect_pixels(Scorer& scorer, const SpectrumImageView& prepared, const DetectionConfig& config,
                        std::span<const float> held_out = {}, const DetectionState* state = nullptr);

// Threshold, mask and doubts of a detection that has its scores. excluded: pixels without (nonzero), or
// empty. As of detect().
void judge(Detection& found, const DetectionConfig& config, std::span<const uint8_t> excluded,
           std::span<const float> held_out = {}, const DetectionState* state = nullptr);

}  // namespace eelsvae
