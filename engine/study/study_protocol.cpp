#include "engine/study/study_protocol.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>

#include "engine/detect/empirical_null.h"
#include "engine/detect/metrics.h"
#include "engine/detect/thresholds.h"
#include "engine/image/tiling.h"
#include "engine/prepare/filters.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Grows a mask (y, x) by `reach` pixels along both axes.
std::vector<uint8_t> grown(const std::vector<uint8_t>& mask, int64_t height, int64_t width, int64_t reach) {
  std::vector<uint8_t> result(mask.size());
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      if (!mask[static_cast<size_t>(y * width + x)]) continue;
      for (int64_t v = std::max<int64_t>(0, y - reach); v <= std::min(height - 1, y + reach); ++v)
        for (int64_t u = std::max<int64_t>(0, x - reach); u <= std::min(width - 1, x + reach); ++u)
          result[static_cast<size_t>(v * width + u)] = 1;
    }
  return result;
}

}  // namespace

SimulationSettings parse_specimen(const std::string& text) {
  SimulationSettings s;
  std::istringstream words(text);
  std::string word;
  std::getline(words, word, ':');
  s.preset = preset_named(word);
  while (std::getline(words, word, ':')) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals),
                      value = equals == word.npos ? "" : word.substr(equals + 1);
    double* parameter = key == "vacuum"        ? &s.vacuum
                        : key == "unscanned"   ? &s.unscanned
                        : key == "correlation" ? &s.correlation
                                               : nullptr;
    const auto [end, error] = parameter
                                  ? std::from_chars(value.data(), value.data() + value.size(), *parameter)
                                  : std::from_chars_result{nullptr, std::errc::invalid_argument};
    if (error != std::errc() || end != value.data() + value.size())
      throw UserError(text + ": " + word + " is none of vacuum=SHARE, unscanned=SHARE, correlation=0 to 0.5");
  }
  return s;
}

SimulationSettings recording_settings(const EvaluationConfig& e, const std::string& preset, int64_t seed,
                                      int64_t recording, const std::optional<Defect>& defect, double amount) {
  constexpr uint64_t recordings = 65536;
  expect(recording >= 0 && static_cast<uint64_t>(recording) < recordings,
         "too many recordings of a specimen");
  SimulationSettings s = parse_specimen(preset);
  s.height = e.shape[0];
  s.width = e.shape[1];
  s.channels = e.shape[2];
  s.energy_offset_ev = e.energy_offset_ev;
  s.dispersion_ev = e.dispersion_ev;
  s.exposure = e.exposure;
  s.seed = static_cast<uint64_t>(seed);
  s.noise_seed = static_cast<uint64_t>(seed) * recordings + static_cast<uint64_t>(recording);
  if (!defect) return without_defects(s);
  s.defects = {*defect};
  s.anomalies = amount;
  return s;
}

int64_t reach_of(const PreprocessConfig& preprocess, const DetectionConfig& detection) {
  const auto gaussian = std::ssize(gaussian_weights(preprocess.sigma)) - 1;
  return gaussian + preprocess.xy_window / 2 + static_cast<int64_t>(std::ceil(3 * detection.pooling));
}

std::vector<uint8_t> margins(const std::vector<uint8_t>& truth, int64_t height, int64_t width,
                             int64_t reach) {
  std::vector<uint8_t> result = grown(truth, height, width, reach);
  for (size_t i = 0; i < truth.size(); ++i)
    if (truth[i]) result[i] = 0;
  return result;
}

StudyImage record(const SimulationSettings& settings, const Config& config, const FittedPreprocess* fitted,
                  Backend* backend) {
  SimulatedImage simulated = simulate(settings);
  const PreprocessConfig& preprocess = config.preprocess;
  StudyImage result;
  std::vector<uint8_t> hot(simulated.truth.size());
  hot[static_cast<size_t>(simulated.hot_pixel)] = 1;
  result.truth = reduce_mask(simulated.truth, settings.height, settings.width, preprocess);
  hot = reduce_mask(hot, settings.height, settings.width, preprocess);
  const SpectrumImage& scan = simulated.image;
  // Noise of neighbours that correlates by half has no inverse.
  if (settings.defects.size() == 1 && !changes_columns(settings.defects.front().kind) && settings.noise &&
      settings.correlation < 0.49 && std::ssize(result.truth) == scan.pixels() && preprocess.sigma == 0 &&
      preprocess.xy_window <= 1 && !preprocess.crop_y && !preprocess.crop_x)
    result.ceiling = known_defect_scores(settings, scan);
  result.prepared = prepare(std::move(simulated.image), preprocess,
                            fitted ? std::nullopt : config.data.energy_range, fitted, std::nullopt, backend);
  const SpectrumImage& image = result.prepared.image;
  const int64_t reach = reach_of(preprocess, config.detection);
  result.left_out = margins(result.truth, image.y.size, image.x.size, reach);
  hot = grown(hot, image.y.size, image.x.size, reach);
  if (!simulated.faint.empty()) {
    const std::vector<uint8_t> faint =
        reduce_mask(simulated.faint, settings.height, settings.width, preprocess);
    for (size_t i = 0; i < faint.size(); ++i) result.left_out[i] |= faint[i] && !result.truth[i];
  }
  for (size_t i = 0; i < hot.size(); ++i) result.left_out[i] |= hot[i];
  for (size_t i = 0; i < image.excluded.size(); ++i) result.left_out[i] |= image.excluded[i] != 0;
  return result;
}

std::vector<uint8_t> excluded_tiles(const TilesConfig& tiles, int64_t height, int64_t width) {
  std::vector<uint8_t> mask(static_cast<size_t>(height * width));
  const TileGrid grid = make_tile_grid(height, width, tiles.image_size, tiles.sliding_window_stride);
  for (int64_t index : tiles.anomaly_indices) {
    if (index >= grid.size()) continue;  // the trainer says so
    const TileOrigin origin = grid.origins[static_cast<size_t>(index)];
    for (int64_t y = origin.y; y < origin.y + grid.tile; ++y)
      std::fill_n(mask.begin() + y * width + origin.x, grid.tile, uint8_t{1});
  }
  return mask;
}

ShiftInjection published_injection(const std::string& subject, const SpectrumImage& prepared, double amount,
                                   int64_t seed) {
  ShiftInjection injection;
  const bool roll = subject.starts_with("roll ");
  expect(roll || subject.starts_with("move "), "not a published injection");
  injection.method = roll ? ShiftMethod::roll : ShiftMethod::move_peak;
  injection.shift = std::stoll(subject.substr(5));
  injection.centre = strongest_peak(prepared, published_peak_ev);
  injection.anomalies = amount;
  injection.seed = static_cast<uint64_t>(seed);
  return injection;
}

ScoreOutcome outcome_of(std::span<const float> scores, std::span<const uint8_t> truth,
                        std::span<const uint8_t> left_out, std::span<const uint8_t> not_scored,
                        const std::vector<double>& rates, std::span<const float> held_out) {
  constexpr double none = std::numeric_limits<double>::infinity();
  ScoreOutcome outcome;
  auto add = [&](ThresholdMethod method, double rate, double threshold) {
    const DetectionMetrics m = detection_metrics(scores, truth, threshold, left_out);
    static_cast<RankingMeasures<std::optional<double>>&>(outcome) = m;  // the same for every threshold
    outcome.thresholds.push_back(
        {method, rate, m.true_positives, m.false_positives, m.false_negatives, m.true_negatives});
  };
  std::optional<EmpiricalNull> null;
  try {
    null = fit_null(scores, not_scored);
  } catch (const UserError&) {
  }
  for (double rate : rates)
    add(ThresholdMethod::fdr, rate, null ? fdr_threshold(scores, *null, rate, not_scored) : none);
  if (!held_out.empty())
    for (double rate : rates)
      add(ThresholdMethod::conformal, rate, conformal_threshold(scores, held_out, rate, not_scored));
  add(ThresholdMethod::otsu, 0, otsu_threshold(scores, not_scored));
  return outcome;
}

QualityOutcome quality_of(const SpectrumImage& observed, std::span<const float> expected,
                          const NoiseModel& measured) {
  constexpr int64_t lags = 1;
  // Where shot noise is all that is measured, the floor is 0, which quality measures do not take.
  NoiseModel noise = measured;
  if (!(noise.floor > 0)) noise.floor = 1e-6 * noise.gain;
  const ReconstructionQuality all = reconstruction_quality(observed, expected, noise, lags);
  // The darkest quarter: all others are left out.
  std::vector<double> totals(static_cast<size_t>(observed.pixels()));
  for (int64_t pixel = 0; pixel < observed.pixels(); ++pixel)
    for (int64_t e = 0; e < observed.energy.size; ++e)
      totals[static_cast<size_t>(pixel)] += static_cast<double>(observed.spectrum(pixel)[e]);
  std::vector<double> sorted = totals;
  const auto quarter = sorted.begin() + std::ssize(sorted) / 4;
  std::nth_element(sorted.begin(), quarter, sorted.end());
  SpectrumImage dark = observed;
  dark.excluded.assign(totals.size(), 0);
  for (size_t i = 0; i < totals.size(); ++i) dark.excluded[i] = totals[i] > *quarter;
  const ReconstructionQuality in_the_dark = reconstruction_quality(dark, expected, noise, lags);
  QualityOutcome q;
  q.psnr_db = all.psnr_db;
  q.ssim_map = all.ssim_map;
  q.ssim_channels = all.ssim_channels;
  q.reduced_deviance = all.reduced_deviance;
  q.autocorrelation = all.residual_autocorrelation[0];
  q.dark_reduced_deviance = in_the_dark.reduced_deviance;
  q.dark_autocorrelation = in_the_dark.residual_autocorrelation[0];
  return q;
}

}  // namespace eelsvae
