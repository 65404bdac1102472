#include "engine/prepare/filters.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/error.h"

namespace eelsvae {

std::vector<float> gaussian_weights(double sigma) {
  constexpr double widest = 1e5;
  if (!(sigma >= 0 && sigma <= widest))
    throw UserError("preprocess.sigma is " + std::to_string(sigma) + "; a Gaussian filter takes 0 to 100000");
  if (sigma == 0) return {1};
  const auto radius = static_cast<int64_t>(4 * sigma + 0.5);
  std::vector<double> weights;
  double sum = 0;
  for (int64_t k = 0; k <= radius; ++k) {
    double distance = static_cast<double>(k) / sigma;
    weights.push_back(std::exp(-0.5 * distance * distance));
    sum += k == 0 ? weights.back() : 2 * weights.back();
  }
  std::vector<float> half;
  for (double weight : weights) half.push_back(static_cast<float>(weight / sum));
  return half;
}

std::vector<float> mean_weights(int64_t window) {
  if (window < 1 || window % 2 == 0)
    throw UserError("preprocess.xy_window is " + std::to_string(window) + "; it must be odd and positive");
  return std::vector<float>(static_cast<size_t>(window / 2 + 1),
                            static_cast<float>(1.0 / static_cast<double>(window)));
}

}  // namespace eelsvae
