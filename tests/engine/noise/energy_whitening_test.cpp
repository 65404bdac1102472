#include "engine/noise/energy_whitening.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace eelsvae {
namespace {

constexpr int64_t channels = 96;

// Correlation at lags 0, 1, ... of what a Gaussian filter of `sigma` channels makes of white noise.
std::vector<double> after_gaussian(double sigma) {
  std::vector<double> correlation;
  for (int64_t lag = 0; lag < channels; ++lag)
    correlation.push_back(std::exp(-std::pow(static_cast<double>(lag) / (2 * sigma), 2)));
  return correlation;
}

std::vector<double> of_two_neighbours(double correlation) {
  std::vector<double> all(channels);
  all[0] = 1;
  all[1] = correlation;
  return all;
}

EnergyWhitening from(const std::vector<double>& correlation) {
  return EnergyWhitening(std::span(correlation).subspan(1, 4));
}

// The covariance that noise of such a correlation has afterwards, W R W^T: rows of W R are columns of R.
std::vector<std::vector<double>> covariance_after(const std::vector<double>& correlation) {
  const EnergyWhitening whitening = from(correlation);
  std::vector<std::vector<float>> once(channels, std::vector<float>(channels));
  for (int64_t i = 0; i < channels; ++i) {
    for (int64_t e = 0; e < channels; ++e)
      once[static_cast<size_t>(i)][static_cast<size_t>(e)] =
          static_cast<float>(correlation[static_cast<size_t>(std::abs(e - i))]);
    whitening.apply(once[static_cast<size_t>(i)].data(), 0, channels);
  }
  std::vector<std::vector<double>> twice(channels, std::vector<double>(channels));
  for (size_t i = 0; i < channels; ++i) {
    std::vector<float> column;
    for (const std::vector<float>& row : once) column.push_back(row[i]);
    whitening.apply(column.data(), 0, channels);
    for (size_t e = 0; e < channels; ++e) twice[i][e] = static_cast<double>(column[e]);
  }
  return twice;
}

struct Spread {
  double least = 1, most = 1, beside = 0;  // variances, and the largest covariance
};

Spread spread_after(const std::vector<double>& correlation) {
  const auto covariance = covariance_after(correlation);
  Spread spread;
  for (size_t i = 0; i < channels; ++i)
    for (size_t e = 0; e < channels; ++e) {
      if (i == e) {
        spread.least = std::min(spread.least, covariance[i][i]);
        spread.most = std::max(spread.most, covariance[i][i]);
      } else {
        spread.beside = std::max(spread.beside, std::abs(covariance[i][e]));
      }
    }
  return spread;
}

// At both ends, too. What is left besides rounding (1e-6) is what eight channels do not know of those beyond:
// least where correlations are small. Without whitening `beside` is the correlation itself.
TEST(EnergyWhitening, MakesNoiseWhite) {
  for (auto [correlation, remainder] : {std::tuple{0.1, 1e-5}, {0.3, 1e-3}, {-0.3, 1e-3}, {0.4, 3e-3}}) {
    const Spread after = spread_after(of_two_neighbours(correlation));
    EXPECT_NEAR(after.least, 1, remainder) << correlation;
    EXPECT_NEAR(after.most, 1, remainder) << correlation;
    EXPECT_LT(after.beside, remainder) << correlation;
  }
  const Spread after = spread_after(after_gaussian(0.5));
  EXPECT_NEAR(after.least, 1, 1e-3);
  EXPECT_NEAR(after.most, 1, 1e-3);
  EXPECT_LT(after.beside, 1e-3);
}

// Of the highest frequencies next to nothing is left: they may come out weaker, but nothing much stronger
// than white noise. What is beyond four channels, 1 and 10 % after these Gaussians, goes by the same measure
// unseen.
TEST(EnergyWhitening, DoesNotBlowUpWhatFiltersTookAway) {
  std::mt19937 generator(1);
  std::normal_distribution<double> normal;
  for (const std::vector<double>& correlation :
       {of_two_neighbours(0.5), after_gaussian(1), after_gaussian(1.5)}) {
    const auto covariance = covariance_after(correlation);
    // The largest eigenvalue, by power iteration.
    std::vector<double> v(channels), next(channels);
    for (double& value : v) value = normal(generator);
    double largest = 0;
    for (int round = 0; round < 500; ++round) {
      double norm = 0;
      for (size_t i = 0; i < channels; ++i) {
        next[i] = 0;
        for (size_t e = 0; e < channels; ++e) next[i] += covariance[i][e] * v[e];
        norm += next[i] * next[i];
      }
      largest = std::sqrt(norm);
      for (size_t i = 0; i < channels; ++i) v[i] = next[i] / largest;
    }
    EXPECT_GT(largest, 0.95) << correlation[1];
    EXPECT_LT(largest, 1.3) << correlation[1];
    // Roundings, which are white, grow by no more than 1 over the least power, a tenth.
    std::vector<float> one(channels);
    one[channels / 2] = 1;
    from(correlation).apply(one.data(), 0, channels);
    double squares = 0;
    for (float value : one) squares += static_cast<double>(value) * static_cast<double>(value);
    EXPECT_LT(squares, 10) << correlation[1];
  }
}

TEST(EnergyWhitening, LeavesSpectraAsTheyAreWithoutCorrelation) {
  const EnergyWhitening none;
  EXPECT_FALSE(none.changes_spectra());
  EXPECT_EQ(none.reach(), 0);
  std::vector<float> spectrum = {1, -2, 3e-30f};
  none.apply(spectrum.data(), 0, 3);
  EXPECT_EQ(spectrum, (std::vector<float>{1, -2, 3e-30f}));
}

// The second channel is foretold by 0.4 of the first, and 0.84 of its variance are left.
TEST(EnergyWhitening, OfOneCorrelationIsWhatOneCanSee) {
  const std::vector<double> correlation = {0.4};
  const EnergyWhitening whitening(correlation);
  std::vector<float> spectrum = {4, 5};
  whitening.apply(spectrum.data(), 0, 2);
  EXPECT_FLOAT_EQ(spectrum[0], 4);
  EXPECT_FLOAT_EQ(spectrum[1], static_cast<float>(3.4 / std::sqrt(0.84)));
}

// As shapes are whitened: with zeros around, only where something comes of them.
TEST(EnergyWhitening, OfAPartIsThatOfAllWhereTheRestIsZero) {
  const EnergyWhitening whitening = from(after_gaussian(1));
  for (int64_t first : {0, 3, 40, 90}) {
    std::vector<float> all(channels), part;
    for (int64_t e = first; e < std::min(first + 10, channels); ++e)
      all[static_cast<size_t>(e)] = static_cast<float>(e % 7) - 3;
    part = all;
    whitening.apply(all.data(), 0, channels);
    whitening.apply(part.data(), first, std::min(first + 10 + whitening.reach(), channels));
    EXPECT_EQ(part, all) << first;
  }
}

// No noise has such correlations; chance in few spectra may.
TEST(EnergyWhitening, IsFiniteWhateverWasMeasured) {
  for (const std::vector<double>& impossible :
       {std::vector<double>{0.9, -0.9, 0.9}, {1, 1, 1, 1}, {-1.2}, {0, 0, 0.9}}) {
    const EnergyWhitening whitening(impossible);
    std::vector<float> spectrum(channels);
    spectrum[50] = 1;
    whitening.apply(spectrum.data(), 0, channels);
    double squares = 0;
    for (float value : spectrum) squares += static_cast<double>(value) * static_cast<double>(value);
    EXPECT_GE(squares, 1) << impossible[0];
    EXPECT_LE(squares, 10) << impossible[0];
  }
}

}  // namespace
}  // namespace eelsvae
