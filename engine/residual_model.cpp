#include "engine/residual_model.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Dense>

#include "engine/leading_eigenvectors.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_pixels = 16384;  // the covariance of so many is exact enough
constexpr int64_t most_components = 16;
constexpr double outlying_share = 0.02;

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Every n-th pixel that takes part, n such that there are not too many.
std::vector<int64_t> sample_of(const SpectrumImage& image) {
  std::vector<int64_t> pixels, sample;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    if (image.excluded.empty() || !image.excluded[static_cast<size_t>(pixel)]) pixels.push_back(pixel);
  const int64_t step = std::ssize(pixels) / most_pixels + 1;
  for (int64_t i = 0; i < std::ssize(pixels); i += step) sample.push_back(pixels[static_cast<size_t>(i)]);
  return sample;
}

}  // namespace

void ResidualModel::whiten(const float* observed, const float* expected, float* z) const {
  const auto floor = static_cast<float>(noise.floor), gain = static_cast<float>(noise.gain);
  const float* factor = noise.channel_factor.data();
  const auto channels = std::ssize(noise.channel_factor);
  const float* centre = mean.empty() ? nullptr : mean.data();
#pragma omp simd
  for (int64_t e = 0; e < channels; ++e) {
    const float variance = factor[e] * (floor + gain * std::max(expected[e], 0.0f));
    z[e] = (observed[e] - expected[e]) / std::sqrt(variance);
  }
  if (centre)
    for (int64_t e = 0; e < channels; ++e) z[e] -= centre[e];
}

ResidualModel fit_residual_model(const SpectrumImage& observed, std::span<const float> expected,
                                 int64_t noise_lag) {
  ResidualModel model;
  model.noise = estimate_noise(observed, expected, noise_lag);
  const int64_t channels = observed.energy.size;
  const std::vector<int64_t> sample = sample_of(observed);
  Rows z(std::ssize(sample), channels);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < std::ssize(sample); ++i) {
    const int64_t pixel = sample[static_cast<size_t>(i)];
    model.whiten(observed.spectrum(pixel), expected.data() + pixel * channels, z.row(i).data());
  }

  // Pixels that depart most go. The centre that departures are counted from is the mean of the others, so
  // a second look finds what the first, from zero, could not.
  std::vector<uint8_t> kept(sample.size(), 1);
  Eigen::VectorXd mean = Eigen::VectorXd::Zero(channels);
  int64_t count = 0;
  for (int round = 0; round < 2; ++round) {
    std::vector<double> departure(sample.size());
    const Eigen::RowVectorXf centre = mean.cast<float>().transpose();
    for (int64_t i = 0; i < std::ssize(sample); ++i)
      departure[static_cast<size_t>(i)] = static_cast<double>((z.row(i) - centre).squaredNorm());
    std::vector<double> sorted = departure;
    const auto limit = sorted.begin() + static_cast<std::ptrdiff_t>((1 - outlying_share) *
                                                                    static_cast<double>(sorted.size() - 1));
    std::nth_element(sorted.begin(), limit, sorted.end());
    mean.setZero();
    count = 0;
    for (int64_t i = 0; i < std::ssize(sample); ++i) {
      kept[static_cast<size_t>(i)] = departure[static_cast<size_t>(i)] <= *limit;
      if (!kept[static_cast<size_t>(i)]) continue;
      mean += z.row(i).cast<double>().transpose();
      ++count;
    }
    mean /= static_cast<double>(count);
  }
  for (int64_t e = 0; e < channels; ++e) model.mean.push_back(static_cast<float>(mean[e]));
  const Eigen::RowVectorXf centre = mean.cast<float>().transpose();
  for (int64_t i = 0; i < std::ssize(sample); ++i) {
    if (kept[static_cast<size_t>(i)])
      z.row(i) -= centre;
    else
      z.row(i).setZero();
  }

  const Eigen::MatrixXd covariance =
      (z.transpose() * z).cast<double>() / static_cast<double>(std::max<int64_t>(count, 1));
  // Where pixels or channels are few, most of the eigenvectors are noise and the weaker ones say how strong.
  const int64_t wanted = std::min({most_components, channels / 4, count / 8}) + 1;
  const auto [values, vectors] = leading_eigenvectors(covariance, wanted);
  const double reference = values[wanted - 1];
  const double spread = 1 + std::sqrt(static_cast<double>(channels) / static_cast<double>(count));
  // The largest eigenvalue of white noise exceeds its variance by the square (Marchenko and Pastur 1967).
  model.level = std::max(reference / (spread * spread), 1e-12);
  const double least = std::max(1.15 * reference, 1.05 * spread * spread);
  for (int64_t k = 0; k + 1 < wanted && values[k] > least; ++k) {
    model.strengths.push_back(std::max(values[k] / model.level - 1, 0.0));
    // The sign that eigenvectors leave open: the largest element is positive.
    int64_t largest = 0;
    vectors.col(k).cwiseAbs().maxCoeff(&largest);
    const double sign = vectors(largest, k) < 0 ? -1 : 1;
    for (int64_t e = 0; e < channels; ++e)
      model.components.push_back(static_cast<float>(sign * vectors(e, k)));
  }
  return model;
}

}  // namespace eelsvae
