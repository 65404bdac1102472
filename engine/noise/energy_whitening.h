#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace eelsvae {

// Makes noise white that is correlated along energy: of every channel, what the channels below it do not
// foretell, in units of the standard deviation of that. With the correlations of NoiseModel, and none beyond,
//   out[e] = (z[e] - sum over k = 1 ... m of a_k z[e - k]) / s,   m = min(e, 8),
// a_k and s^2 being the best linear prediction of order m and its error (Levinson, J. Math. Phys. 25, 261
// (1947); Durbin, Rev. Inst. Int. Stat. 28, 233 (1960)). This is z times the inverse Cholesky factor of the
// covariance of the autoregressive process of order 8 with these correlations, so noise becomes white at
// both ends, too. Shapes that are looked for in z go through the same, and stand where they stood.
//
// Filters leave next to nothing of high frequencies, a Gaussian of one channel 1/19,000 of the power. Divided
// by that, what else there is of them, roundings, shifts and detectors that are not the same everywhere,
// would be the strongest noise of all: on films that are filtered by two channels, false alarms. So as much
// white noise is added to the correlations as it takes for no frequency to hold less than a tenth of white
// noise's power; for a single correlation, from 0.45 on. Frequencies that hold less come out weaker than
// others, none stronger, and the variance is below 1: 0.86 where neighbours correlate by 0.5, 0.63 after a
// Gaussian of one channel.
class EnergyWhitening {
 public:
  // Without correlations spectra stay as they are.
  explicit EnergyWhitening(std::span<const double> correlation = {});

  bool changes_spectra() const { return !filters_.empty(); }
  // So many channels further up a channel still counts.
  int64_t reach() const { return order_; }
  // Channels [first, last) of a spectrum, in place; those below first count as they are.
  void apply(float* spectrum, int64_t first, int64_t last) const;

 private:
  int64_t order_ = 0;
  std::vector<float> filters_;  // (m, k): the weight of channel e - k where m = min(e, order)
};

}  // namespace eelsvae
