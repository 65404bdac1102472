#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/prepare/preprocess.h"
#include "engine/specimen/injection.h"
#include "engine/specimen/simulate.h"
#include "engine/study/study.h"

// The parts of a study's protocol that can be looked at one by one.
namespace eelsvae {

// "interface", or with what its scans have besides (SimulationSettings), "bfo:vacuum=0.5:correlation=0.3".
// UserError where a word is not known.
SimulationSettings parse_specimen(const std::string& text);

// A recording of a specimen: the specimen follows from preset and seed, the noise from seed and `recording`.
// Recordings 0 to 2 are of the specimen without defects: what is fitted to, what is held out for conformal
// thresholds, and where every alarm is false; 3 and up, one for each scored image, have the defect.
SimulationSettings recording_settings(const EvaluationConfig& evaluation, const std::string& preset,
                                      int64_t seed, int64_t recording,
                                      const std::optional<Defect>& defect = std::nullopt, double amount = 0);

// Pixels of the prepared image that say nothing about a method (nonzero): normal ones to which a filter or
// the pooling spreads something of an anomalous one, and the hot pixel (index in the image as recorded) with
// its neighbours likewise. truth: of the prepared image.
std::vector<uint8_t> margins(const std::vector<uint8_t>& truth, int64_t height, int64_t width, int64_t reach);
// How many pixels away, along y or x, a spectrum can be felt after preprocessing and pooling.
int64_t reach_of(const PreprocessConfig& preprocess, const DetectionConfig& detection);

// A simulated recording as the methods see it.
struct StudyImage {
  PreparedImage prepared;
  std::vector<uint8_t> truth;     // (y, x) of the prepared image
  std::vector<uint8_t> left_out;  // (y, x): do not count
  // known_defect_scores() of a recording with a defect; empty where preprocessing leaves other pixels or
  // filters them.
  std::vector<float> ceiling = {};
};
// fitted: of the recording that is fitted to; null for that itself.
StudyImage record(const SimulationSettings& settings, const Config& config, const FittedPreprocess* fitted,
                  Backend* backend);

// The tiles of tiles.anomaly_indices (y, x).
std::vector<uint8_t> excluded_tiles(const TilesConfig& tiles, int64_t height, int64_t width);

// Window of the published score, eV, and where its strongest peak is looked for.
inline constexpr std::array<double, 2> published_window_ev = {693.3, 730.5};
inline constexpr std::array<double, 2> published_peak_ev = {710, 725};
// "roll 8" and "move 8" as what injects them.
ShiftInjection published_injection(const std::string& subject, const SpectrumImage& prepared, double amount,
                                   int64_t seed);

// What is made of scores by every threshold: fdr and, with held_out scores of normal spectra (ascending),
// conformal at each of the rates, and otsu. A threshold that cannot be found, such as fdr's where scores are
// all alike, finds nothing. not_scored: pixels that take no part in the threshold either.
ScoreOutcome outcome_of(std::span<const float> scores, std::span<const uint8_t> truth,
                        std::span<const uint8_t> left_out, std::span<const uint8_t> not_scored,
                        const std::vector<double>& rates, std::span<const float> held_out);

// Noise-aware and other measures of a source on an image without anomalies.
QualityOutcome quality_of(const SpectrumImage& observed, std::span<const float> expected,
                          const NoiseModel& measured);

}  // namespace eelsvae
