#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// The published threshold, in the scores' own units: Otsu's (1979) over 256 bins between the lowest and the
// highest score, with the between-class variance of each split multiplied by (bin centre in [0, 1])^0.95,
// which favours high thresholds. The threshold is the centre of the last bin of the lower class.
// left_out: pixels not to be fitted (nonzero), or empty. If all scores are equal, the threshold is that
// score, above which there is nothing. UserError if no pixel is left to fit.
double otsu_threshold(std::span<const float> scores, std::span<const uint8_t> left_out = {});

// 1 where the score is above the threshold, else 0.
std::vector<uint8_t> anomalous(std::span<const float> scores, double threshold);

}  // namespace eelsvae
