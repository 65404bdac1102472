#include "engine/detect/spectral_features.h"

#include <gtest/gtest.h>

#include <cmath>

namespace eelsvae {
namespace {

TEST(SpectralFeatures, ArePeaksAboveWhatIsBroad) {
  const Axis energy = {"Energy loss", "eV", 400, 0.5, 800};
  std::vector<double> spectrum;
  const auto peak = [](double ev, double centre, double height, double sigma) {
    return height * std::exp(-0.5 * std::pow((ev - centre) / sigma, 2));
  };
  for (int64_t e = 0; e < energy.size; ++e) {
    const double ev = energy.value(static_cast<double>(e));
    spectrum.push_back(1000 * std::pow(ev / 400, -3) + peak(ev, 500, 50, 1.5) + peak(ev, 512, 20, 1.5) +
                       peak(ev, 600, 1, 1.5) + peak(ev, 700, 50, 40));
  }
  const std::vector<SpectralFeature> features = find_features(spectrum, energy);
  ASSERT_EQ(features.size(), 2u) << "one is too small, and one as broad as a background";
  EXPECT_NEAR(energy.value(static_cast<double>(features[0].peak)), 500, 0.6);
  EXPECT_NEAR(energy.value(static_cast<double>(features[1].peak)), 512, 0.6);
  EXPECT_NEAR(energy.value(static_cast<double>(features[0].first)), 494, 2);
  EXPECT_LE(features[0].last, features[1].first);
  EXPECT_NEAR(energy.value(static_cast<double>(features[1].last)), 518, 2);
  EXPECT_TRUE(find_features(std::vector<double>(800, 1.0), energy).empty());
  EXPECT_TRUE(find_features(std::vector<double>(4, 1.0), energy).empty());
}

// An edge is broader than any filter there, but not than a quarter of the axis.
TEST(SpectralFeatures, AreFoundAtAnyDispersion) {
  std::vector<double> spectrum;
  for (int64_t e = 0; e < 400; ++e) {
    const auto u = static_cast<double>(e - 200) / 10;
    spectrum.push_back(100 + 50 * std::exp(-u * u / 2));
  }
  const std::vector<SpectralFeature> features =
      find_features(spectrum, {"Energy loss", "eV", 500, 1e-6, 400});
  ASSERT_EQ(features.size(), 1u);
  EXPECT_EQ(features[0].peak, 200);
}

}  // namespace
}  // namespace eelsvae
