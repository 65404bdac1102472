#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/reference/reference_backend.h"

namespace eelsvae {
namespace {

using Values = std::vector<double>;

// Along an axis of `length` samples that are `step` apart.
Values filtered(const Values& in, int64_t length, int64_t step, std::span<const float> half) {
  Values out(in.size());
  const int64_t radius = std::ssize(half) - 1;
#pragma omp parallel for
  for (int64_t at = 0; at < std::ssize(in); ++at)
    for (int64_t k = -radius; k <= radius; ++k) {
      const int64_t i = at / step % length;
      int64_t j = i + k;
      while (j < 0 || j >= length) j = j < 0 ? -1 - j : 2 * length - 1 - j;
      out[static_cast<size_t>(at)] += static_cast<double>(half[static_cast<size_t>(std::abs(k))]) *
                                      in[static_cast<size_t>(at + (j - i) * step)];
    }
  return out;
}

// The share of a sorted sample that is below x, 0 to 1, as np.interp finds it.
double share_of(const Values& sample, double x) {
  if (x <= sample.front()) return 0;
  if (x >= sample.back()) return 1;
  const auto above = std::upper_bound(sample.begin(), sample.end(), x);
  const double low = *(above - 1), rest = (x - low) / (*above - low);
  return (static_cast<double>(above - 1 - sample.begin()) + rest) / static_cast<double>(sample.size() - 1);
}

class ReferenceImage final : public DeviceImage {
 public:
  ReferenceImage(const ImageShape& shape, float* counts, const uint8_t* excluded)
      : DeviceImage(shape, counts, excluded), values_(counts, counts + shape.count()) {}

  // Excluded pixels weigh nothing, the others 1; what is filtered is divided by the filtered weights.
  void filter(std::span<const float> half, std::span<const float> half_of_channels,
              const std::optional<LinearMap>& map) override {
    Values weights(static_cast<size_t>(shape_.pixels()));
    for (int64_t i = 0; i < shape_.count(); ++i) {
      double& value = values_[static_cast<size_t>(i)];
      const bool out = is_excluded(i / shape_.channels);
      weights[static_cast<size_t>(i / shape_.channels)] = out ? 0 : 1;
      if (map) value = std::clamp<double>((value - map->zero) * map->factor, map->low, map->high);
      if (out) value = 0;
    }
    const auto over_pixels = [&](const Values& values, int64_t channels) {
      return filtered(filtered(values, shape_.height, shape_.width * channels, half), shape_.width, channels,
                      half);
    };
    values_ = over_pixels(values_, shape_.channels);
    weights = over_pixels(weights, 1);
    if (!half_of_channels.empty()) values_ = filtered(values_, shape_.channels, 1, half_of_channels);
    for (int64_t i = 0; any_excluded() && i < shape_.count(); ++i)
      values_[static_cast<size_t>(i)] *=
          is_excluded(i / shape_.channels) ? 0 : 1 / weights[static_cast<size_t>(i / shape_.channels)];
  }

  // The mean of the shares found from below and from above, so that ties are treated alike.
  void map_to_shares(std::span<const double> quantiles) override {
    const Values upwards(quantiles.begin(), quantiles.end());
    Values downwards;
    for (auto q = quantiles.rbegin(); q != quantiles.rend(); ++q) downwards.push_back(-*q);
    for (int64_t i = 0; i < shape_.count(); ++i)
      if (double& value = values_[static_cast<size_t>(i)]; !is_excluded(i / shape_.channels))
        value =
            value <= upwards.front() ? 0 : 0.5 * (share_of(upwards, value) + 1 - share_of(downwards, -value));
  }

  std::vector<float> order_statistics(std::span<const int64_t> ranks) override {
    Values sorted = kept();
    std::sort(sorted.begin(), sorted.end());
    std::vector<float> found;
    for (const int64_t rank : ranks)
      found.push_back(static_cast<float>(sorted.at(static_cast<size_t>(rank))) + 0.0f);
    return found;
  }
  double sum() override {
    const Values values = kept();
    return std::accumulate(values.begin(), values.end(), 0.0);
  }
  double squared_deviations(double mean) override {
    double sum = 0;
    for (const double value : kept()) sum += (value - mean) * (value - mean);
    return sum;
  }

  void finish() override { std::copy(values_.begin(), values_.end(), counts_); }

 private:
  Values kept() const {
    Values values;
    for (int64_t i = 0; i < shape_.count(); ++i)
      if (!is_excluded(i / shape_.channels)) values.push_back(values_[static_cast<size_t>(i)]);
    return values;
  }

  Values values_;
};

}  // namespace

std::unique_ptr<DeviceImage> ReferenceBackend::take_image(const ImageShape& shape, float* counts,
                                                          const uint8_t* excluded) {
  return std::make_unique<ReferenceImage>(shape, counts, excluded);
}

}  // namespace eelsvae
