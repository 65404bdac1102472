#include "engine/detect/pooling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/philox.h"

namespace eelsvae {
namespace {

const float nan_score = std::numeric_limits<float>::quiet_NaN();

std::vector<float> normal_scores(int64_t pixels, uint64_t seed) {
  std::vector<float> z(static_cast<size_t>(pixels));
  for (size_t i = 0; i < z.size(); ++i) {
    const Philox4 draw = philox(seed, i, 7);
    z[i] = static_cast<float>(normal_pair(draw.v[0], draw.v[1]).first);
  }
  return z;
}

TEST(Pooling, IsTheWeightedSumOverItsNorm) {
  const int64_t height = 7, width = 9;
  const double sigma = 0.8;  // two rows and columns
  std::vector<float> z = normal_scores(height * width, 1);
  z[10] = z[31] = nan_score;
  const std::vector<float> pooled = pool_evidence(z, height, width, sigma);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      double sum = 0, squares = 0;
      for (int64_t v = 0; v < height; ++v)
        for (int64_t u = 0; u < width; ++u) {
          const float value = z[static_cast<size_t>(v * width + u)];
          if (std::abs(v - y) > 2 || std::abs(u - x) > 2 || std::isnan(value)) continue;
          const double w =
              std::exp(-static_cast<double>((v - y) * (v - y) + (u - x) * (u - x)) / (2 * sigma * sigma));
          sum += w * static_cast<double>(value);
          squares += w * w;
        }
      const auto i = static_cast<size_t>(y * width + x);
      if (std::isnan(z[i]))
        EXPECT_TRUE(std::isnan(pooled[i]));
      else
        EXPECT_NEAR(pooled[i], sum / std::sqrt(squares), 1e-6) << y << ' ' << x;
    }
}

TEST(Pooling, LeavesIndependentNormalScoresStandardNormal) {
  // Mean square over many maps, in the middle, in a corner and beside excluded pixels.
  const int64_t size = 12, maps = 4000;
  double middle = 0, corner = 0, beside = 0, mean = 0;
  for (int64_t map = 0; map < maps; ++map) {
    std::vector<float> z = normal_scores(size * size, 100 + static_cast<uint64_t>(map));
    for (int64_t x = 0; x < size; ++x) z[static_cast<size_t>(9 * size + x)] = nan_score;
    const std::vector<float> pooled = pool_evidence(z, size, size, 1.5);
    auto square = [&](int64_t y, int64_t x) {
      return std::pow(pooled[static_cast<size_t>(y * size + x)], 2);
    };
    middle += square(4, 6) / maps;
    corner += square(0, 0) / maps;
    beside += square(10, 3) / maps;
    mean += pooled[4 * size + 6] / static_cast<double>(maps);
  }
  const double tolerance = 4.5 * std::sqrt(2.0 / maps);
  EXPECT_NEAR(middle, 1, tolerance);
  EXPECT_NEAR(corner, 1, tolerance);
  EXPECT_NEAR(beside, 1, tolerance);
  EXPECT_NEAR(mean, 0, 4.5 / std::sqrt(maps));
}

TEST(Pooling, RaisesWhatIsExtendedAndLowersWhatIsSingle) {
  const int64_t size = 41;
  const double sigma = 2, root_pi = std::sqrt(3.14159265358979);
  const std::vector<float> everywhere(size * size, 1);
  EXPECT_NEAR(pool_evidence(everywhere, size, size, sigma)[20 * size + 20], 2 * root_pi * sigma, 0.05);
  std::vector<float> single(size * size, 0);
  single[20 * size + 20] = 1;
  EXPECT_NEAR(pool_evidence(single, size, size, sigma)[20 * size + 20], 1 / (root_pi * sigma), 1e-3);
}

TEST(Pooling, OfNoSigmaOfAHugeOneAndOfOnePixel) {
  std::vector<float> z = normal_scores(12, 4);
  z[3] = nan_score;
  std::vector<float> same = pool_evidence(z, 3, 4, 0);
  double sum = 0;
  for (size_t i = 0; i < z.size(); ++i)
    if (i != 3) {
      EXPECT_EQ(same[i], z[i]);
      sum += static_cast<double>(z[i]);
    }
  EXPECT_TRUE(std::isnan(same[3]));
  EXPECT_NEAR(pool_evidence(z, 3, 4, 1e12)[11], sum / std::sqrt(11.0), 1e-6);
  EXPECT_EQ(pool_evidence(std::vector<float>{2.5f}, 1, 1, 3)[0], 2.5f);
  EXPECT_TRUE(pool_evidence({}, 0, 0, 1).empty());
  EXPECT_TRUE(std::isnan(pool_evidence(std::vector<float>{nan_score}, 1, 1, 3)[0]));
}

TEST(Pooling, RefusesBrokenPreconditions) {
  const std::vector<float> z(4);
  EXPECT_THROW(pool_evidence(z, 2, 3, 1), std::logic_error);
  EXPECT_THROW(pool_evidence(z, 2, 2, -1), std::logic_error);
  EXPECT_THROW(pool_evidence(z, 2, 2, std::nan("")), std::logic_error);
  EXPECT_THROW(pool_evidence(std::vector<float>{0, INFINITY}, 1, 2, 1), std::logic_error);
}

}  // namespace
}  // namespace eelsvae
