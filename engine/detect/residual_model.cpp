#include "engine/detect/residual_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include <Eigen/Dense>

#include "engine/detect/leading_eigenvectors.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_pixels = 16384;  // the covariance of so many is exact enough
constexpr int64_t most_components = 16;
constexpr double outlying_share = 0.02;

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Every n-th pixel that takes part, n such that there are not too many.
std::vector<int64_t> sample_of(const SpectrumImageView& image) {
  std::vector<int64_t> pixels, sample;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    if (image.excluded.empty() || !image.excluded[static_cast<size_t>(pixel)]) pixels.push_back(pixel);
  const int64_t step = std::ssize(pixels) / most_pixels + 1;
  for (int64_t i = 0; i < std::ssize(pixels); i += step) sample.push_back(pixels[static_cast<size_t>(i)]);
  return sample;
}

// What many pixels have in common shows in their mean long before it shows in any of them: residuals averaged
// over `coherent` pixels, in stretches of a scan line (drift, stripes) and in squares (composition), times
// the square root of their number, so that white noise has variance 1 as in a pixel. Every n-th of them, n
// such that there are not too many.
Rows coherent_residuals(const SpectrumImageView& observed, std::span<const float> expected,
                        const ResidualModel& model) {
  constexpr int64_t side = 4, coherent = side * side;
  constexpr float most_of_one = 3;  // so that a single anomaly does not speak for its neighbours
  const int64_t channels = observed.energy.size, height = observed.y.size, width = observed.x.size;
  struct Block {
    int64_t y, x, height, width;
  };
  std::vector<Block> blocks;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x + coherent <= width; x += coherent) blocks.push_back({y, x, 1, coherent});
  for (int64_t y = 0; y + side <= height; y += side)
    for (int64_t x = 0; x + side <= width; x += side) blocks.push_back({y, x, side, side});
  std::erase_if(blocks, [&](const Block& block) {
    if (observed.excluded.empty()) return false;
    for (int64_t y = block.y; y < block.y + block.height; ++y)
      for (int64_t x = block.x; x < block.x + block.width; ++x)
        if (observed.excluded[static_cast<size_t>(y * width + x)]) return true;
    return false;
  });
  const int64_t step = std::ssize(blocks) / most_pixels + 1;
  Rows sums = Rows::Zero((std::ssize(blocks) + step - 1) / step, channels);
#pragma omp parallel
  {
    Eigen::RowVectorXf z(channels);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < sums.rows(); ++i) {
      const Block& block = blocks[static_cast<size_t>(i * step)];
      for (int64_t y = block.y; y < block.y + block.height; ++y)
        for (int64_t x = block.x; x < block.x + block.width; ++x) {
          const int64_t pixel = y * width + x;
          model.whiten(pixel, observed.spectrum(pixel), expected.data() + pixel * channels, z.data());
          sums.row(i) += z.cwiseMax(-most_of_one).cwiseMin(most_of_one);
        }
      sums.row(i) /= std::sqrt(static_cast<float>(coherent));
    }
  }
  return sums;
}

// Subtracts the rows' mean and zeroes those that depart most from it. The centre that departures are counted
// from is the mean of the others, so a second look finds what the first, from zero, could not. Returns the
// mean and how many rows are left.
std::pair<Eigen::VectorXd, int64_t> drop_outlying(Rows& z) {
  Eigen::VectorXd mean = Eigen::VectorXd::Zero(z.cols());
  std::vector<uint8_t> kept(static_cast<size_t>(z.rows()), 1);
  int64_t count = 0;
  for (int round = 0; round < 2; ++round) {
    std::vector<double> departure(static_cast<size_t>(z.rows()));
    const Eigen::RowVectorXf centre = mean.cast<float>().transpose();
    for (int64_t i = 0; i < z.rows(); ++i)
      departure[static_cast<size_t>(i)] = static_cast<double>((z.row(i) - centre).squaredNorm());
    std::vector<double> sorted = departure;
    const auto limit = sorted.begin() + static_cast<std::ptrdiff_t>((1 - outlying_share) *
                                                                    static_cast<double>(sorted.size() - 1));
    std::nth_element(sorted.begin(), limit, sorted.end());
    mean.setZero();
    count = 0;
    for (int64_t i = 0; i < z.rows(); ++i) {
      kept[static_cast<size_t>(i)] = departure[static_cast<size_t>(i)] <= *limit;
      if (!kept[static_cast<size_t>(i)]) continue;
      mean += z.row(i).cast<double>().transpose();
      ++count;
    }
    mean /= static_cast<double>(count);
  }
  const Eigen::RowVectorXf centre = mean.cast<float>().transpose();
  for (int64_t i = 0; i < z.rows(); ++i) {
    if (kept[static_cast<size_t>(i)])
      z.row(i) -= centre;
    else
      z.row(i).setZero();
  }
  return {mean, count};
}

// Some columns at a time, from the diagonal down, which the threads share.
Eigen::MatrixXd covariance_of(const Rows& z, int64_t count) {
  constexpr int64_t columns = 64;
  const int64_t channels = z.cols();
  Eigen::MatrixXd covariance(channels, channels);
#pragma omp parallel for schedule(dynamic)
  for (int64_t begin = 0; begin < channels; begin += columns) {
    const int64_t width = std::min(columns, channels - begin), height = channels - begin;
    const Eigen::MatrixXf part = z.rightCols(height).transpose() * z.middleCols(begin, width);
    covariance.block(begin, begin, height, width) =
        part.cast<double>() / static_cast<double>(std::max<int64_t>(count, 1));
  }
  covariance.triangularView<Eigen::StrictlyUpper>() = covariance.transpose();
  return covariance;
}

// (1 - b b^T) c (1 - b b^T) for a symmetric c and orthonormal columns b, by products as thin as b.
Eigen::MatrixXd without(const Eigen::MatrixXd& b, const Eigen::MatrixXd& c) {
  if (b.cols() == 0) return c;
  const Eigen::MatrixXd cb = c * b;
  // Half of what both sides take twice is given back to each.
  const Eigen::MatrixXd side = cb - 0.5 * b * (b.transpose() * cb);
  return c - b * side.transpose() - side * b.transpose();
}

// Eigenvectors (columns) of a covariance of `count` independent spectra that stand out of its noise, and the
// noise's variance along them.
struct Outstanding {
  Eigen::MatrixXd vectors;
  double level = 1;
};

Outstanding outstanding(const Eigen::MatrixXd& covariance, int64_t count) {
  const int64_t channels = covariance.rows();
  // Where pixels or channels are few, most of the eigenvectors are noise and the weaker ones say how strong.
  const int64_t wanted = std::min({most_components, channels / 4, count / 8}) + 1;
  const EigenPairs pairs = leading_eigenvectors(covariance, wanted);
  const double reference = pairs.values[wanted - 1];
  const double spread = 1 + std::sqrt(static_cast<double>(channels) / static_cast<double>(count));
  // The largest eigenvalue of white noise exceeds its variance by the square (Marchenko and Pastur 1967).
  const double least = std::max(1.15 * reference, 1.05 * spread * spread);
  int64_t found = 0;
  while (found + 1 < wanted && pairs.values[found] > least) ++found;
  return {pairs.vectors.leftCols(found), std::max(reference / (spread * spread), 1e-12)};
}

}  // namespace

void ResidualModel::whiten(int64_t pixel, const float* observed, const float* expected, float* z) const {
  const float factor_here = noise.pixel_factor.empty() ? 1 : noise.pixel_factor[static_cast<size_t>(pixel)];
  const auto floor = factor_here * static_cast<float>(noise.floor),
             gain = factor_here * static_cast<float>(noise.gain);
  const float* factor = noise.channel_factor.data();
  const auto channels = std::ssize(noise.channel_factor);
  const float* centre = mean.empty() ? nullptr : mean.data();
#pragma omp simd
  for (int64_t e = 0; e < channels; ++e) {
    const float variance = factor[e] * (floor + gain * std::max(expected[e], 0.0f));
    z[e] = (observed[e] - expected[e]) / std::sqrt(variance);
  }
  whitening.apply(z, 0, channels);
  if (centre)
    for (int64_t e = 0; e < channels; ++e) z[e] -= centre[e];
}

ResidualModel fit_residual_model(const SpectrumImageView& observed, std::span<const float> expected,
                                 int64_t lag, std::vector<float> pixel_noise) {
  ResidualModel model;
  model.noise = estimate_noise(observed, expected, lag, std::move(pixel_noise));
  model.whitening = EnergyWhitening(model.noise.correlation);
  const int64_t channels = observed.energy.size;
  const std::vector<int64_t> sample = sample_of(observed);
  Rows z(std::ssize(sample), channels);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < std::ssize(sample); ++i) {
    const int64_t pixel = sample[static_cast<size_t>(i)];
    model.whiten(pixel, observed.spectrum(pixel), expected.data() + pixel * channels, z.row(i).data());
  }

  const auto [mean, count] = drop_outlying(z);
  for (int64_t e = 0; e < channels; ++e) model.mean.push_back(static_cast<float>(mean[e]));
  const Eigen::MatrixXd covariance = covariance_of(z, count);

  // First the shapes that pixels have in common, then those that are left in single pixels.
  Eigen::MatrixXd basis(channels, 0);
  if (Rows sums = coherent_residuals(observed, expected, model); sums.rows() >= 64) {
    const int64_t independent = drop_outlying(sums).second / 2;  // squares and stretches share their pixels
    basis = outstanding(covariance_of(sums, 2 * independent), independent).vectors;
  }
  const Outstanding own = outstanding(without(basis, covariance), count);
  model.level = own.level;
  const int64_t both = std::min(basis.cols() + own.vectors.cols(), most_components);
  Eigen::MatrixXd all(channels, basis.cols() + own.vectors.cols());
  all << basis, own.vectors;

  std::vector<std::pair<double, int64_t>> order;
  for (int64_t k = 0; k < both; ++k)
    order.emplace_back(all.col(k).dot(covariance * all.col(k)) / model.level - 1, k);
  std::sort(order.begin(), order.end(), std::greater<>());
  for (auto [strength, k] : order) {
    model.strengths.push_back(std::max(strength, 0.0));
    // The sign that eigenvectors leave open: the largest element is positive.
    int64_t largest = 0;
    all.col(k).cwiseAbs().maxCoeff(&largest);
    const double sign = all(largest, k) < 0 ? -1 : 1;
    for (int64_t e = 0; e < channels; ++e) model.components.push_back(static_cast<float>(sign * all(e, k)));
  }
  return model;
}

}  // namespace eelsvae
