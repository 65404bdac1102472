#include "engine/noise/energy_whitening.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

namespace eelsvae {

namespace {

// The power of the weakest frequency, of white noise it is 1. Sums of so few cosines are smooth: a fine grid
// does not miss it by much.
double least_power(std::span<const double> correlation) {
  constexpr int frequencies = 512;
  double least = 1;
  for (int f = 0; f <= frequencies; ++f) {
    double power = 1;
    for (size_t l = 0; l < correlation.size(); ++l)
      power += 2 * correlation[l] * std::cos(std::numbers::pi * static_cast<double>(l + 1) * f / frequencies);
    least = std::min(least, power);
  }
  return least;
}

}  // namespace

EnergyWhitening::EnergyWhitening(std::span<const double> correlation) {
  if (correlation.empty()) return;
  constexpr double least_allowed = 0.1;
  const double least = least_power(correlation),
               white = least < least_allowed ? (least_allowed - least) / (1 - least) : 0;
  // Channels that share nothing with one another foretell it through those between them, ever less: 0.6 of
  // what the next one does where the least power is a tenth.
  order_ = std::max<int64_t>(8, std::ssize(correlation));
  // Levinson and Durbin's recursion: the prediction of every order from that of the order below.
  filters_.resize(static_cast<size_t>((order_ + 1) * (order_ + 1)));
  std::vector<double> r, prediction;
  for (double value : correlation) r.push_back((1 - white) * value);
  r.resize(static_cast<size_t>(order_));
  double error = 1;
  for (size_t m = 0;; ++m) {
    float* filter = filters_.data() + static_cast<int64_t>(m) * (order_ + 1);
    filter[0] = static_cast<float>(1 / std::sqrt(error));
    for (size_t k = 0; k < m; ++k) filter[k + 1] = static_cast<float>(-prediction[k] / std::sqrt(error));
    if (m == r.size()) break;
    double sum = r[m];
    for (size_t k = 0; k < m; ++k) sum -= prediction[k] * r[m - 1 - k];
    const double reflection = sum / error;
    std::vector<double> longer = prediction;
    for (size_t k = 0; k < m; ++k) longer[k] -= reflection * prediction[m - 1 - k];
    longer.push_back(reflection);
    prediction = std::move(longer);
    error *= 1 - reflection * reflection;
  }
}

void EnergyWhitening::apply(float* spectrum, int64_t first, int64_t last) const {
  if (!changes_spectra()) return;
  // From the top down, so that the channels below are still as they were; some of them at a time.
  constexpr int64_t block = 64;
  std::array<float, block> sums;
  const float* weights = filters_.data() + order_ * (order_ + 1);
  const int64_t complete = std::max(first, order_);  // from here on
  for (int64_t end = last; end > complete;) {
    const int64_t begin = std::max(complete, end - block);
    for (int64_t i = 0; i < end - begin; ++i) sums[static_cast<size_t>(i)] = weights[0] * spectrum[begin + i];
    for (int64_t k = 1; k <= order_; ++k)
      for (int64_t i = 0; i < end - begin; ++i)
        sums[static_cast<size_t>(i)] += weights[k] * spectrum[begin + i - k];
    std::copy_n(sums.begin(), end - begin, spectrum + begin);
    end = begin;
  }
  for (int64_t e = std::min(last, order_) - 1; e >= first; --e) {
    const float* of_order = filters_.data() + e * (order_ + 1);
    float sum = 0;
    for (int64_t k = 0; k <= e; ++k) sum += of_order[k] * spectrum[e - k];
    spectrum[e] = sum;
  }
}

}  // namespace eelsvae
