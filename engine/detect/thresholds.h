#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/detect/empirical_null.h"

namespace eelsvae {

// The published threshold, in the scores' own units: Otsu's (1979) over 256 bins between the lowest and the
// highest score, with the between-class variance of each split multiplied by (bin centre in [0, 1])^0.95,
// which favours high thresholds. The threshold is the centre of the last bin of the lower class.
// left_out: pixels not to be fitted (nonzero), or empty. If all scores are equal, the threshold is that
// score, above which there is nothing. UserError if no pixel is left to fit.
double otsu_threshold(std::span<const float> scores, std::span<const uint8_t> left_out = {});

// The lowest threshold that keeps the false-discovery rate, the expected share of normal spectra among those
// found, at `rate`: with p_(1) <= ... <= p_(n) it finds the largest i with p_(i) <= rate * i / (n *
// normal_share) (Benjamini & Hochberg, J. R. Stat. Soc. B 57, 289 (1995); with the share of normal spectra
// estimated, Storey, J. R. Stat. Soc. B 64, 479 (2002)) and lies halfway to the next lower score. Where
// nothing is found it is the score that a spectrum would have to exceed to be found alone, or the highest
// score if that is more. left_out as above.
double fdr_threshold(std::span<const float> scores, const EmpiricalNull& null, double rate,
                     std::span<const uint8_t> left_out = {});

// The same with p-values that need no distribution: the share, among known normal spectra and the one in
// question, of scores at least as high, p = (1 + #{normal >= score}) / (1 + #normal) (conformal; Bates et
// al., Ann. Stat. 51, 149 (2023)). normal: scores of spectra that are normal and were not trained on,
// ascending. No p is below 1 / (1 + #normal), so with few of them, or many pixels and few anomalies, nothing
// can be found. UserError if normal is empty.
double conformal_threshold(std::span<const float> scores, std::span<const float> normal, double rate,
                           std::span<const uint8_t> left_out = {});

// 1 where the score is above the threshold, else 0.
std::vector<uint8_t> anomalous(std::span<const float> scores, double threshold);

}  // namespace eelsvae
