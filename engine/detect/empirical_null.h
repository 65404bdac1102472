#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace eelsvae {

// How the scores of normal spectra are distributed, found without labels from the bulk of an image's scores
// (Efron, "Large-scale simultaneous hypothesis testing: the choice of a null hypothesis", JASA 99, 96
// (2004)).
struct EmpiricalNull {
  // Of the score s:
  //   normal          F = Phi((s - location) / scale)
  //   largest         F = exp(-exp(-(s - location) / scale)), the Gumbel law of maxima whose tails are
  //                   exponential
  //   largest_normal  the same with s^2.05 in place of s: of the largest of many correlated normal variables
  //                   in absolute value. Far out such maxima go as s^2 (Worsley et al., Hum. Brain Mapp. 4,
  //                   58 (1996)), near the bulk faster. What the filters of whitened_score.h make of pure
  //                   white noise follows 2.25 (measured for 96 to 1312 channels); what they make of
  //                   simulated specimens, with all that is not quite known of them, 2 to 2.1.
  enum class Family { normal, largest, largest_normal };
  static constexpr double exponent = 2.05;  // of largest_normal
  Family family = Family::normal;
  double location = 0, scale = 1;
  double normal_share = 1;   // of spectra that follow it
  double low = 0, high = 0;  // bins lay between them
  double misfit = 0;         // chi^2 per degree of freedom there; about 1 for a good fit

  double below(double score) const;    // F
  double p_value(double score) const;  // 1 - F, without cancellation
  double density(double score) const;  // dF / ds
};

const char* name(EmpiricalNull::Family family);

// Fits family, location, scale and normal share to the scores below a cut above which nothing is assumed, by
// maximum likelihood of the counts in bins, given that scores lie below the cut; the lowest 5 % are one bin.
// The cut is the highest of a row of quantiles from 60 to 99.5 % up to which the fit is good, or where it
// never is, half as bad again as the best: so a few anomalies cost next to nothing, and up to 40 % of the
// spectra may be anomalous, if most of them score higher than normal ones do. Beyond the cut the family is
// extrapolated; where tails are heavier than exponential too much is found. left_out: pixels without a score
// (nonzero), or empty. family: where the law is known. UserError as check_enough_scores, or if most of them
// are equal.
EmpiricalNull fit_null(std::span<const float> scores, std::span<const uint8_t> left_out = {},
                       std::optional<EmpiricalNull::Family> family = {});

// UserError if so many scores tell nothing of their distribution.
constexpr int64_t fewest_scores = 100;
void check_enough_scores(int64_t scores);

}  // namespace eelsvae
