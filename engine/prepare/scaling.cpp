#include "engine/prepare/scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// A place among the sorted values: so far from rank `below` towards the next.
struct Position {
  int64_t below;
  double fraction;
};

std::vector<double> interpolate(DeviceImage& image, const std::vector<Position>& positions) {
  expect(image.count() > 0, "percentiles of nothing");
  const int64_t last = image.count() - 1;
  std::vector<int64_t> ranks;
  for (const Position& position : positions) {
    ranks.push_back(position.below);
    ranks.push_back(std::min(position.below + 1, last));
  }
  const std::vector<float> neighbours = image.order_statistics(ranks);
  std::vector<double> result;
  for (size_t i = 0; i < positions.size(); ++i) {
    const double below = neighbours[2 * i], above = neighbours[2 * i + 1];
    result.push_back(below + (above - below) * positions[i].fraction);
  }
  return result;
}

}  // namespace

std::vector<double> percentiles(DeviceImage& image, std::span<const double> percents) {
  const auto last = static_cast<double>(image.count() - 1);
  std::vector<Position> positions;
  for (double percent : percents) {
    expect(percent >= 0 && percent <= 100, "percentile outside 0 to 100");
    const double position = percent / 100 * last;
    positions.push_back({static_cast<int64_t>(position), position - std::floor(position)});
  }
  return interpolate(image, positions);
}

ScalingParameters ScalingParameters::fit(DeviceImage& image, const PreprocessConfig& config) {
  expect(image.count() > 0, "scaling of nothing");
  ScalingParameters fitted;
  fitted.method = config.scaling_method;
  switch (config.scaling_method) {
    case Scaling::none:
      return fitted;
    case Scaling::robust_minmax: {
      std::vector<double> limits = percentiles(image, config.percentiles);
      fitted.offset = limits[0];
      fitted.range = limits[1] - limits[0];
      break;
    }
    case Scaling::minmax: {
      std::vector<double> limits = percentiles(image, std::array<double, 2>{0, 100});
      fitted.offset = limits[0];
      fitted.range = limits[1] - limits[0];
      break;
    }
    case Scaling::zscore: {
      const auto n = static_cast<double>(image.count());
      const double mean = image.sum() / n;
      fitted.offset = mean;
      fitted.range = std::sqrt(image.squared_deviations(mean) / n);
      // Of equal counts the rounding of their mean is left.
      if (fitted.range <= 1e-12 * std::abs(mean)) fitted.range = 0;
      break;
    }
    case Scaling::quantile: {
      const int64_t last = image.count() - 1;
      const int64_t steps = std::clamp<int64_t>(last, 1, 999);
      // In whole numbers: counts are often whole, and a quantile that rounding moves off a run of equal
      // counts would count half of the run elsewhere.
      std::vector<Position> positions;
      for (int64_t i = 0; i <= steps; ++i)
        positions.push_back(
            {i * last / steps, static_cast<double>(i * last % steps) / static_cast<double>(steps)});
      fitted.quantiles = interpolate(image, positions);
      fitted.range = fitted.quantiles.back() - fitted.quantiles.front();
      break;
    }
  }
  if (!(fitted.range > 0)) {
    bool robust = config.scaling_method == Scaling::robust_minmax;
    throw UserError(
        std::string(robust ? "all counts between preprocess.percentiles are equal" : "all counts are equal") +
        ", so there is nothing to scale by; check the data and data.energy_range");
  }
  if (config.scaling_method == Scaling::quantile) fitted.range = 1;
  return fitted;
}

std::optional<LinearMap> ScalingParameters::linear() const {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  if (method == Scaling::quantile) return std::nullopt;
  if (method == Scaling::none) return LinearMap{0, 1, -infinity, infinity};
  LinearMap map{static_cast<float>(offset), static_cast<float>(1 / range), -infinity, infinity};
  if (method == Scaling::robust_minmax) {
    map.low = 0;
    map.high = 1;
  }
  return map;
}

void ScalingParameters::invert(std::span<float> scaled) const {
  const auto zero = static_cast<float>(offset), factor = static_cast<float>(range);
  float* data = scaled.data();
  const auto transform = [&](auto map) {
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < std::ssize(scaled); ++i) data[i] = map(data[i]);
  };
  switch (method) {
    case Scaling::none:
      return;
    case Scaling::robust_minmax:
    case Scaling::minmax:
    case Scaling::zscore:
      return transform([=](float x) { return zero + x * factor; });
    case Scaling::quantile:
      expect(quantiles.size() >= 2, "quantile scaling without quantiles");
      return transform([this](float x) {
        const auto last = static_cast<double>(quantiles.size() - 1);
        double position = std::clamp(static_cast<double>(x), 0.0, 1.0) * last;
        auto below = static_cast<size_t>(std::min(position, last - 1));
        double fraction = position - static_cast<double>(below);
        return static_cast<float>(quantiles[below] + fraction * (quantiles[below + 1] - quantiles[below]));
      });
  }
}

}  // namespace eelsvae
