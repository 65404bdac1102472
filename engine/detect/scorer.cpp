#include "engine/detect/scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <utility>

#include <boost/math/special_functions/erf.hpp>

#include "engine/detect/empirical_null.h"
#include "engine/detect/pooling.h"
#include "engine/detect/scores.h"
#include "engine/noise/filtered_noise.h"
#include "engine/prepare/scaling.h"
#include "engine/score_head/shipped.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

void leave_out(std::span<const uint8_t> excluded, std::vector<float>& map) {
  for (size_t pixel = 0; pixel < excluded.size(); ++pixel)
    if (excluded[pixel]) map[pixel] = std::numeric_limits<float>::quiet_NaN();
}

// Pearson's correlation is normally distributed after Fisher's transformation, a mean of squares after Wilson
// and Hilferty's.
std::vector<float> fisher(std::vector<float> scores) {  // -artanh(r) = ln((1 - r) / (1 + r)) / 2
  for (float& score : scores) score = 0.5f * std::log(std::clamp(score / (2 - score), 1e-12f, 1e12f));
  return scores;
}
std::vector<float> wilson_hilferty(std::vector<float> scores) {
  for (float& score : scores) score = std::cbrt(score);
  return scores;
}

// The z with 1 - Phi(z) = p.
double normal_score(double p) {
  return std::sqrt(2.0) * boost::math::erfc_inv(2 * std::clamp(p, 1e-300, 1 - 1e-16));
}

struct Evidence {
  std::vector<float> scores;                                // (y, x)
  std::optional<EmpiricalNull::Family> law = std::nullopt;  // of normal ones, where it is known
};

// Cauchy's combination of p-values, which holds however they depend on each other (Liu and Xie, JASA 115, 393
// (2020)), as a normal score.
Evidence combine(const std::vector<Evidence>& maps, std::span<const uint8_t> excluded) {
  std::vector<double> sums(maps.front().scores.size());
  for (const Evidence& map : maps) {
    const EmpiricalNull null = fit_null(map.scores, excluded, map.law);
    for (size_t pixel = 0; pixel < sums.size(); ++pixel) {
      const double p = std::clamp(null.p_value(static_cast<double>(map.scores[pixel])), 1e-300, 1 - 1e-12);
      sums[pixel] += 1 / std::tan(std::numbers::pi * p) / static_cast<double>(maps.size());
    }
  }
  Evidence joined{{}, EmpiricalNull::Family::normal};
  for (double sum : sums) {
    const double p = sum > 1e8 ? 1 / (std::numbers::pi * sum) : 0.5 - std::atan(sum) / std::numbers::pi;
    joined.scores.push_back(static_cast<float>(normal_score(p)));
  }
  return joined;
}

// At both scales. They would be N(0, 1), were amounts normal; how far they are from it, the null of what they
// are joined to says.
Evidence of_amounts(const AmountScores& amounts, std::span<const uint8_t> excluded) {
  constexpr auto normal = EmpiricalNull::Family::normal;
  return amounts.of_probe.empty()
             ? Evidence{amounts.of_pixels, normal}
             : combine({{amounts.of_pixels, normal}, {amounts.of_probe, normal}}, excluded);
}

// Evidence as a standard normal variable, pooled over neighbours.
void pool(const SpectrumImageView& prepared, double sigma, std::vector<float>& scores) {
  const EmpiricalNull null = fit_null(scores, prepared.excluded);
  for (float& score : scores)
    score = static_cast<float>(normal_score(null.p_value(static_cast<double>(score))));
  leave_out(prepared.excluded, scores);
  scores = pool_evidence(scores, prepared.y.size, prepared.x.size, sigma);
}

}  // namespace

Scorer::Scorer(const SpectrumImageView& prepared, const Expectation& expectation,
               const PreprocessConfig& preprocess, const DetectionConfig& config, const ScoreState* state)
    : prepared_(prepared),
      expectation_(expectation),
      expected_(expectation.spectra),
      preprocess_(preprocess),
      config_(config),
      state_(state),
      window_(config.window ? channel_window(prepared.energy, *config.window)
                            : ChannelWindow{0, prepared.energy.size}),
      pixel_noise_(filtered_noise(prepared, preprocess.sigma, preprocess.xy_window)) {}

Scorer::Scorer(const SpectrumImageView& rows, const Expectation& expectation,
               const PreprocessConfig& preprocess, const DetectionConfig& config,
               const Surrounded& surrounded)
    : prepared_(rows),
      expectation_(expectation),
      expected_(surrounded.expected),
      preprocess_(preprocess),
      config_(config),
      state_(nullptr),
      surrounded_(surrounded),
      window_(surrounded.filters.window()),
      pixel_noise_(surrounded.residuals.noise.pixel_factor),
      residuals_(&surrounded.residuals),
      filters_(&surrounded.filters) {}

const ResidualModel& Scorer::residuals() {
  if (residuals_) return *residuals_;
  if (state_) {
    own_residuals_ = state_->residuals;
    own_residuals_->noise.pixel_factor = pixel_noise_;
  } else {
    own_residuals_ = fit_residual_model(prepared_, expected_,
                                        noise_lag(preprocess_.sigma, preprocess_.xy_window), pixel_noise_);
    // Where nothing clips, the lowest of few counts is a 0 that was counted.
    if (!clips(preprocess_.scaling_method)) own_residuals_->noise.clipped.clear();
  }
  residuals_ = &*own_residuals_;
  return *residuals_;
}

const AmountScores& Scorer::amounts() {
  if (!amounts_)
    amounts_ = expectation_.is_projection ? AmountScores{}
                                          : amount_scores(prepared_, expected_, residuals(), window_);
  return *amounts_;
}

const NormalVariation& Scorer::variation() {
  if (!variation_ && surrounded_)
    variation_.emplace(prepared_, expected_, residuals(), surrounded_->amounts, surrounded_->first);
  if (!variation_) variation_.emplace(prepared_, expected_, residuals(), config_.context);
  return *variation_;
}

const MatchedFilters& Scorer::filters() {
  if (!filters_) {
    if (state_)
      own_filters_.emplace(prepared_.energy, state_->mean_expected, state_->inverse_spreads, residuals(),
                           window_);
    else
      own_filters_.emplace(prepared_, expected_, variation(), window_);
    filters_ = &*own_filters_;
  }
  return *filters_;
}

const WhitenedScores& Scorer::whitened() {
  if (!whitened_) whitened_ = whitened_scores(prepared_, expected_, variation(), filters());
  return *whitened_;
}

ScoreState Scorer::state() {
  ScoreState state{residuals(), filters().mean_expected(), filters().inverse_spreads()};
  state.residuals.noise.pixel_factor.clear();
  return state;
}

std::vector<float> Scorer::scores(Score score) {
  std::vector<float> map = expectation_.own_scores.empty() ? raw_scores(score) : expectation_.own_scores;
  if (config_.pooling > 0) pool(prepared_, config_.pooling, map);
  leave_out(prepared_.excluded, map);
  return map;
}

std::vector<float> Scorer::raw_scores(Score score) {
  const std::span<const float> expected = expected_;
  // What an almost perfect correlation lacks is as large as the noise's variance, which is not the same
  // everywhere.
  auto in_units_of_noise = [&](std::vector<float> map) {
    for (size_t pixel = 0; pixel < map.size(); ++pixel) map[pixel] /= pixel_noise_[pixel];
    return map;
  };
  auto pearson = [&] { return in_units_of_noise(pearson_scores(prepared_, expected, window_)); };
  auto background = [&] {
    return in_units_of_noise(pearson_background_scores(prepared_, expected, window_,
                                                       std::max(2.0, edge_width / prepared_.energy.scale)));
  };
  switch (score) {
    case Score::joint:
      return amounts().of_pixels.empty()
                 ? whitened().scores
                 : combine({{whitened().scores}, of_amounts(amounts(), prepared_.excluded)},
                           prepared_.excluded)
                       .scores;
    case Score::learned:
      if (surrounded_) return surrounded_->head->scores(prepared_, expected, variation());
      return HeadScorer(prepared_.energy, window_, shipped_score_head())
          .scores(prepared_, expected, variation());
    case Score::whitened:
      return whitened().scores;
    case Score::amounts:
      if (amounts().of_pixels.empty())
        throw UserError(
            "detection.score=amounts: what is expected of the spectra foretells no amounts, as a model of a "
            "lattice does, by which they could be judged; use whitened");
      return of_amounts(amounts(), prepared_.excluded).scores;
    case Score::deviance:
      return deviance_scores(prepared_, expected, residuals(), window_);
    case Score::pearson:
      return pearson();
    case Score::pearson_background:
      return background();
    case Score::combined:
      return combine({{whitened().scores},
                      {wilson_hilferty(deviance_scores(prepared_, expected, residuals(), window_))},
                      {fisher(background())}},
                     prepared_.excluded)
          .scores;
    case Score::latent: {
      expect(expectation_.grid.has_value(), "a latent score without a model");
      const int64_t units = std::ssize(expectation_.latent) / expectation_.grid->size();
      return latent_scores(pearson(), prepared_, *expectation_.grid,
                           latent_rarity(expectation_.latent, units), config_.blend);
    }
  }
  throw std::logic_error("internal error: unknown score");
}

}  // namespace eelsvae
