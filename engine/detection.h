#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/baselines.h"
#include "engine/config.h"
#include "engine/deviation.h"
#include "engine/empirical_null.h"
#include "engine/energy_axis.h"
#include "engine/model.h"
#include "engine/reconstruction.h"
#include "engine/regions.h"
#include "engine/residual_model.h"
#include "engine/spectrum_image.h"

namespace eelsvae {

// What is expected of every spectrum of an image, and what else its origin has to say.
struct Expectation {
  std::vector<float> spectra;     // (y, x, E), in the prepared image's units
  std::vector<float> own_scores;  // of a baseline that has its own (y, x); else empty
  std::optional<TileGrid> grid;   // of a model: where its tiles lay, and
  std::vector<float> latent;      // their latent vectors (tiles, latent)
};

// From a model built for inference; after_batch as in reconstruct_image, where it gives up there are no
// spectra. UserError if the image is smaller than a tile.
Expectation expect_from(Model& model, const SpectrumImage& prepared, const DetectionConfig& config,
                        const std::function<bool(int64_t, int64_t)>& after_batch);
Expectation expect_from(const Baseline& baseline, const SpectrumImage& prepared);

// What a detection found in a prepared image; maps are (y, x).
struct Detection {
  std::vector<float> scores;          // larger fits worse; NaN in excluded pixels, finite in all others
  std::vector<Deviation> deviations;  // what departs most, in each pixel
  double threshold = 0;
  std::optional<EmpiricalNull> null;  // of the scores; absent where too few or degenerate
  std::vector<uint8_t> mask;          // 1 where the score is above the threshold
  std::vector<Region> regions;        // of the mask
  ChannelWindow window;               // over which the score was taken

  int64_t anomalous_pixels() const;
  // Normal spectra that are above the threshold if the null holds; absent without one.
  std::optional<double> expected_false_alarms() const;
};

// UserError where detect() could not begin: its window is not on the energy axis, the image is smaller than a
// tile, or what is asked for needs a model and there is none (tile 0: no tiles, as with a baseline). For
// programs that ask before they write anything.
void check_detection(const SpectrumImage& prepared, int64_t tile, const DetectionConfig& config);

// The scores of every pixel, before any threshold. `own`: those of the baseline itself, in place of
// config.score.
struct Scored {
  std::vector<float> scores;
  std::vector<Deviation> deviations;
  ResidualModel residuals;
  ChannelWindow window;
};
Scored score_spectra(const SpectrumImage& prepared, const Expectation& expectation,
                     const PreprocessConfig& preprocess, const DetectionConfig& config);

// Scores, threshold, mask and regions. held_out: ascending scores of normal spectra for
// ThresholdMethod::conformal. UserError: as check_detection; the noise cannot be measured; the threshold
// cannot be found.
Detection detect(const SpectrumImage& prepared, const Expectation& expectation,
                 const PreprocessConfig& preprocess, const DetectionConfig& config,
                 std::span<const float> held_out = {});

}  // namespace eelsvae
