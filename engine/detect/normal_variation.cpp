#include "engine/detect/normal_variation.h"

#include <algorithm>
#include <utility>

#include "engine/detect/surroundings.h"

namespace eelsvae {

NormalVariation::NormalVariation(const SpectrumImageView& observed, std::span<const float> expected,
                                 const ResidualModel& model, int64_t context)
    : observed_(observed), expected_(expected), model_(model) {
  for (int64_t pixel = 0; pixel < observed.pixels(); ++pixel)
    if (observed.excluded.empty() || !observed.excluded[static_cast<size_t>(pixel)]) pixels_.push_back(pixel);
  const auto count = static_cast<size_t>(model.count());
  amounts_.assign(count, std::vector<float>(static_cast<size_t>(observed.pixels())));
  weights_ = amounts_;
  foretold_.resize(count);
  measure_amounts();
  for (size_t k = 0; k < count; ++k) {
    if (context <= 1) {
      const double strength = model.strengths[k];
      std::fill(weights_[k].begin(), weights_[k].end(), static_cast<float>(strength / (1 + strength)));
      continue;
    }
    Foretold foretold = foretell(amounts_[k], observed.y.size, observed.x.size, context, observed.excluded);
    for (size_t pixel = 0; pixel < amounts_[k].size(); ++pixel) {
      const double spread = static_cast<double>(foretold.spread[pixel]);
      const double strength = std::max(spread * spread / model.level - 1, 0.0);
      weights_[k][pixel] = static_cast<float>(strength / (1 + strength));
      amounts_[k][pixel] -= foretold.value[pixel];
    }
    foretold_[k] = std::move(foretold.value);
  }
}

void NormalVariation::measure_amounts() {
  const int64_t channels = observed_.energy.size;
#pragma omp parallel
  {
    std::vector<float> z(static_cast<size_t>(channels));
#pragma omp for schedule(static)
    for (size_t i = 0; i < pixels_.size(); ++i) {
      const int64_t pixel = pixels_[i];
      model_.whiten(pixel, observed_.spectrum(pixel), expected_.data() + pixel * channels, z.data());
      for (int64_t k = 0; k < model_.count(); ++k) {
        const float* u = model_.component(k);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t e = 0; e < channels; ++e) sum += z[static_cast<size_t>(e)] * u[e];
        amounts_[static_cast<size_t>(k)][static_cast<size_t>(pixel)] = sum;
      }
    }
  }
}

void NormalVariation::residual(int64_t pixel, float* z) const {
  const int64_t channels = observed_.energy.size;
  model_.whiten(pixel, observed_.spectrum(pixel), expected_.data() + pixel * channels, z);
  for (int64_t k = 0; k < model_.count(); ++k) {
    const std::vector<float>& foretold = foretold_[static_cast<size_t>(k)];
    if (foretold.empty()) continue;
    const float known = foretold[static_cast<size_t>(pixel)], *u = model_.component(k);
    for (int64_t e = 0; e < channels; ++e) z[e] -= known * u[e];
  }
}

}  // namespace eelsvae
