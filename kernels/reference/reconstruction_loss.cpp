#include "kernels/reconstruction_loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_backend.h"

namespace eelsvae {
namespace {

double log_sum_exp(const double* x, int64_t count) {
  double largest = *std::max_element(x, x + count);
  double sum = 0;
  for (int64_t e = 0; e < count; ++e) sum += std::exp(x[e] - largest);
  return largest + std::log(sum);  // cppcheck-suppress invalidFunctionArg ; the largest gives a term of 1
}

double sum_of(const double* t, int64_t count) {
  double sum = 0;
  for (int64_t e = 0; e < count; ++e) sum += t[e];
  return sum;
}

}  // namespace

void ReferenceBackend::reconstruction_loss(ReconstructionLoss kind, int64_t tiles, int64_t pixels,
                                           int64_t energy, ConstArray logits, ConstArray targets,
                                           const StepScalars* scalars, Array loss, Array gradient) {
  int64_t count = tiles * pixels * energy;
  const double* all_x = elements(logits, count);
  const double* all_t = elements(targets, count);
  double* tile_loss = elements(loss, tiles);
  double* all_dx = gradient ? elements(gradient, count) : nullptr;
#pragma omp parallel for
  for (int64_t tile = 0; tile < tiles; ++tile) {
    double sum = 0;
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      int64_t start = (tile * pixels + pixel) * energy;
      const double *x = all_x + start, *t = all_t + start;
      if (std::all_of(t, t + energy, [](double target) { return target == 0; })) {
        if (all_dx) std::fill_n(all_dx + start, energy, 0.0);
        continue;
      }
      bool cross_entropy = kind == ReconstructionLoss::cross_entropy;
      double lse = cross_entropy ? log_sum_exp(x, energy) : 0;
      double total = cross_entropy ? sum_of(t, energy) : 0;
      for (int64_t e = 0; e < energy; ++e) {
        double term, slope;
        if (cross_entropy) {
          term = t[e] * (lse - x[e]);
          slope = std::exp(x[e] - lse) * total - t[e];
        } else if (kind == ReconstructionLoss::poisson) {
          term = std::exp(x[e]) - t[e] * x[e];
          slope = std::exp(x[e]) - t[e];
        } else {
          term = (x[e] - t[e]) * (x[e] - t[e]);
          slope = 2 * (x[e] - t[e]);
        }
        sum += term;
        if (all_dx) all_dx[start + e] = scalars->reconstruction_weight * slope;
      }
    }
    tile_loss[tile] = sum;
  }
}

void ReferenceBackend::reconstruct(ReconstructionLoss kind, int64_t spectra, int64_t energy,
                                   ConstArray logits, ConstArray targets, Array reconstruction) {
  int64_t count = spectra * energy;
  const double* all_x = elements(logits, count);
  double* r = elements(reconstruction, count);
  if (kind == ReconstructionLoss::mse) {
    std::copy_n(all_x, count, r);
    return;
  }
  if (kind == ReconstructionLoss::poisson) {
    std::transform(all_x, all_x + count, r, [](double x) { return std::exp(x); });
    return;
  }
  const double* all_t = elements(targets, count);
#pragma omp parallel for
  for (int64_t s = 0; s < spectra; ++s) {
    const double* x = all_x + s * energy;
    double lse = log_sum_exp(x, energy), total = sum_of(all_t + s * energy, energy);
    for (int64_t e = 0; e < energy; ++e) r[s * energy + e] = std::exp(x[e] - lse) * total;
  }
}

}  // namespace eelsvae
