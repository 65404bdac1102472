#include "engine/detect/normal_variation.h"

#include <omp.h>

#include <algorithm>

#include "engine/first_failure.h"
#include "engine/per_thread.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

std::vector<int64_t> counted_pixels(const SpectrumImageView& image) {
  std::vector<int64_t> pixels;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    if (image.excluded.empty() || !image.excluded[static_cast<size_t>(pixel)]) pixels.push_back(pixel);
  return pixels;
}

}  // namespace

AmountMaps::AmountMaps(int64_t height, int64_t width, const ResidualModel& model, int64_t context)
    : height_(height), width_(width), model_(model) {
  const auto count = static_cast<size_t>(model.count());
  amounts_.resize(count);
  if (context > 1) surroundings_.assign(count, Surroundings(height, width, context));
}

void AmountMaps::measure(int64_t first, const SpectrumImageView& observed, std::span<const float> expected,
                         const ResidualModel& model) {
  expect(first_ <= first && first + observed.y.size <= height_, "rows that are not there");
  const int64_t channels = observed.energy.size, before = (first - first_) * width_;
  const std::vector<int64_t> pixels = counted_pixels(observed);
  for (std::vector<float>& map : amounts_) {
    map.resize(static_cast<size_t>(before));
    map.resize(static_cast<size_t>(before + observed.pixels()), 0.0f);
  }
  PerThread<std::vector<float>> room(static_cast<size_t>(channels));
#pragma omp parallel
  {
    std::vector<float>& z = room.own();
#pragma omp for schedule(static)
    for (size_t i = 0; i < pixels.size(); ++i) {
      const int64_t pixel = pixels[i];
      model.whiten(pixel, observed.spectrum(pixel), expected.data() + pixel * channels, z.data());
      for (int64_t k = 0; k < model.count(); ++k) {
        const float* u = model.component(k);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t e = 0; e < channels; ++e) sum += z[static_cast<size_t>(e)] * u[e];
        amounts_[static_cast<size_t>(k)][static_cast<size_t>(before + pixel)] = sum;
      }
    }
  }
}

void AmountMaps::foretell_rows(std::span<const uint8_t> excluded, int64_t first, int64_t last, int64_t there,
                               int64_t settled) {
  const auto mask = excluded.empty() ? excluded : excluded.subspan(static_cast<size_t>(first_ * width_));
  FirstFailure failure;
  // Of a few rows there is not work for several threads.
  const bool together = std::ssize(surroundings_) >= omp_get_max_threads();
#pragma omp parallel for schedule(dynamic) if (together)
  for (size_t k = 0; k < surroundings_.size(); ++k)
    failure.guard([&] {
      surroundings_[k].foretell_rows(amounts_[k], mask, first - first_, last - first_, there - first_,
                                     settled - first_);
    });
  failure.rethrow();
}

void AmountMaps::forget_before(int64_t y) {
  if (y <= first_) return;
  for (std::vector<float>& map : amounts_) map.erase(map.begin(), map.begin() + (y - first_) * width_);
  for (Surroundings& surroundings : surroundings_) surroundings.forget_rows(y - first_);
  first_ = y;
}

float AmountMaps::weight(size_t k, size_t pixel) const {
  double strength = model_.strengths[k];
  if (foretells()) {
    const auto spread = static_cast<double>(surroundings_[k].foretold().spread[kept(pixel)]);
    strength = std::max(spread * spread / model_.level - 1, 0.0);
  }
  return static_cast<float>(strength / (1 + strength));
}

NormalVariation::NormalVariation(const SpectrumImageView& observed, std::span<const float> expected,
                                 const ResidualModel& model, int64_t context)
    : observed_(observed), expected_(expected), model_(model), pixels_(counted_pixels(observed)) {
  AmountMaps maps(observed.y.size, observed.x.size, model, context);
  maps.measure(0, observed, expected, model);
  maps.foretell_rows(observed.excluded, 0, observed.y.size, observed.y.size, observed.y.size);
  take(maps, 0);
}

NormalVariation::NormalVariation(const SpectrumImageView& observed, std::span<const float> expected,
                                 const ResidualModel& model, const AmountMaps& maps, int64_t first)
    : observed_(observed), expected_(expected), model_(model), pixels_(counted_pixels(observed)) {
  take(maps, first * observed.x.size);
}

void NormalVariation::take(const AmountMaps& maps, int64_t first) {
  const auto count = static_cast<size_t>(model_.count()), pixels = static_cast<size_t>(observed_.pixels());
  amounts_.assign(count, std::vector<float>(pixels));
  weights_ = amounts_;
  foretold_.resize(count);
  for (size_t k = 0; k < count; ++k) {
    if (maps.foretells()) foretold_[k].resize(pixels);
    for (size_t i = 0; i < pixels; ++i) {
      const size_t pixel = static_cast<size_t>(first) + i;
      amounts_[k][i] = maps.left(k, pixel);
      weights_[k][i] = maps.weight(k, pixel);
      if (maps.foretells()) foretold_[k][i] = maps.foretold(k, pixel);
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
