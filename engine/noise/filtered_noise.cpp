#include "engine/noise/filtered_noise.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "engine/per_thread.h"
#include "engine/prepare/filters.h"
#include "kernels/image_operations.h"

namespace eelsvae {
namespace {

template <typename Use>
void for_weights(const std::vector<float>& half, Use&& use) {
  for (int64_t k = 1 - std::ssize(half); k < std::ssize(half); ++k)
    use(k, static_cast<double>(half[static_cast<size_t>(std::abs(k))]));
}

// Far from borders the filters are one, separable filter: along one axis, what pixels 0, 1, 2, ... apart have
// in common, the sum of the products of their weights.
std::vector<double> shared_weights(const std::vector<float>& first, const std::vector<float>& second) {
  const int64_t reach = std::ssize(first) + std::ssize(second) - 2;
  std::vector<double> both(static_cast<size_t>(2 * reach + 1)), shared(both.size());
  for_weights(first, [&](int64_t i, double a) {
    for_weights(second, [&](int64_t k, double b) { both[static_cast<size_t>(reach + i + k)] += a * b; });
  });
  for (size_t distance = 0; distance < shared.size(); ++distance)
    for (size_t i = 0; i + distance < both.size(); ++i) shared[distance] += both[i] * both[i + distance];
  return shared;
}

// The two filters on an image's pixels, one after the other.
class Filters {
 public:
  Filters(const PixelMask& image, double sigma, int64_t window)
      : image_(image),
        first_(gaussian_weights(sigma)),
        second_(mean_weights(window)),
        reach_(std::ssize(first_) + std::ssize(second_) - 2) {
    if (has_excluded()) {
      const uint8_t* excluded = image.excluded.data();
      first_factors_ = normalizing_factors(image.height, image.width, excluded, first_);
      second_factors_ = normalizing_factors(image.height, image.width, excluded, second_);
    }
  }

  int64_t reach() const { return reach_; }

  double interior() const {
    const double squares = shared_weights(first_, second_).front();
    return squares * squares;
  }

  bool is_interior(int64_t y, int64_t x) const {
    if (std::min(y, x) < reach_ || y + reach_ >= image_.height || x + reach_ >= image_.width) return false;
    if (!has_excluded()) return true;
    for (int64_t v = y - reach_; v <= y + reach_; ++v)
      for (int64_t u = x - reach_; u <= x + reach_; ++u)
        if (excluded(v, u)) return false;
    return true;
  }

  // Sum of squared weights of the pixel (y, x), with room for (2 reach + 1)^2 weights.
  double squares(int64_t y, int64_t x, std::vector<double>& weights) const {
    const int64_t side = 2 * reach_ + 1;
    std::fill(weights.begin(), weights.end(), 0);
    for_square(second_, y, x, [&](int64_t v, int64_t u, double outer) {
      outer *= factor(second_factors_, y, x) * factor(first_factors_, v, u);
      for_square(first_, v, u, [&](int64_t t, int64_t s, double inner) {
        if (!excluded(t, s))
          weights[static_cast<size_t>((t - y + reach_) * side + s - x + reach_)] += outer * inner;
      });
    });
    double sum = 0;
    for (double weight : weights) sum += weight * weight;
    return sum;
  }

  bool excluded(int64_t y, int64_t x) const {
    return has_excluded() && image_.excluded[static_cast<size_t>(y * image_.width + x)];
  }

 private:
  bool has_excluded() const { return !image_.excluded.empty(); }
  // 0 in excluded pixels, which then give nothing to the second filter either.
  double factor(const std::vector<float>& factors, int64_t y, int64_t x) const {
    return factors.empty() ? 1 : static_cast<double>(factors[static_cast<size_t>(y * image_.width + x)]);
  }
  template <typename Use>
  void for_square(const std::vector<float>& half, int64_t y, int64_t x, Use&& use) const {
    for_weights(half, [&](int64_t dy, double a) {
      for_weights(half, [&](int64_t dx, double b) {
        use(reflected(y + dy, image_.height), reflected(x + dx, image_.width), a * b);
      });
    });
  }

  PixelMask image_;
  std::vector<float> first_, second_, first_factors_, second_factors_;
  int64_t reach_;
};

}  // namespace

std::vector<float> filtered_noise(const PixelMask& image, double sigma, int64_t window, int64_t first,
                                  int64_t last) {
  const Filters filters(image, sigma, window);
  const int64_t width = image.width, side = 2 * filters.reach() + 1;
  const double interior = filters.interior();
  std::vector<float> factors(static_cast<size_t>((last - first) * width), 1.0f);
  PerThread<std::vector<double>> room(static_cast<size_t>(side * side));
#pragma omp parallel
  {
    std::vector<double>& weights = room.own();
#pragma omp for schedule(dynamic)
    for (int64_t y = first; y < last; ++y)
      for (int64_t x = 0; x < width; ++x) {
        float& value = factors[static_cast<size_t>((y - first) * width + x)];
        if (!filters.excluded(y, x) && !filters.is_interior(y, x))
          value = static_cast<float>(filters.squares(y, x, weights) / interior);
      }
  }
  return factors;
}

std::vector<float> filtered_noise(const SpectrumImageView& image, double sigma, int64_t window) {
  return filtered_noise({image.y.size, image.x.size, image.excluded}, sigma, window, 0, image.y.size);
}

double noise_of_mean(std::span<const int64_t> pixels, int64_t width, double sigma, int64_t window) {
  const std::vector<double> shared = shared_weights(gaussian_weights(sigma), mean_weights(window));
  const auto farthest = std::ssize(shared) - 1;
  double sum = 0;
  for (const int64_t pixel : pixels)
    for (int64_t dy = -farthest; dy <= farthest; ++dy)
      for (int64_t dx = -farthest; dx <= farthest; ++dx) {
        const int64_t x = pixel % width + dx;
        if (x < 0 || x >= width || !std::ranges::binary_search(pixels, pixel + dy * width + dx)) continue;
        sum += shared[static_cast<size_t>(std::abs(dy))] * shared[static_cast<size_t>(std::abs(dx))];
      }
  const auto count = static_cast<double>(pixels.size());
  return sum / (shared[0] * shared[0]) / (count * count);
}

int64_t noise_lag(double sigma, int64_t window) {
  return window + 2 * static_cast<int64_t>(std::ceil(2 * sigma));
}

}  // namespace eelsvae
