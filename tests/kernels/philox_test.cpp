#include "kernels/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/latent.h"

namespace eelsvae {
namespace {

// kat_vectors of the Random123 distribution, philox4x32 with 10 rounds.
struct KnownAnswer {
  uint32_t counter[4], key[2], answer[4];
};
constexpr KnownAnswer known_answers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

uint64_t joined(uint32_t low, uint32_t high) {
  return (static_cast<uint64_t>(high) << 32) | low;
}

TEST(Philox, KnownAnswers) {
  for (const KnownAnswer& known : known_answers) {
    Philox4 words = philox(joined(known.key[0], known.key[1]), joined(known.counter[0], known.counter[1]),
                           joined(known.counter[2], known.counter[3]));
    for (int i = 0; i < 4; ++i)
      EXPECT_EQ(words.v[i], known.answer[i]) << std::hex << known.counter[0] << " word " << i;
  }
}

TEST(Philox, UniformIsNeverZeroOrOne) {
  EXPECT_GT(uniform(0), 0.0);
  EXPECT_LT(uniform(0xffffffff), 1.0);
  NormalPair extreme = normal_pair(0, 0);
  EXPECT_TRUE(std::isfinite(extreme.first) && std::isfinite(extreme.second));
}

TEST(Philox, StreamsStepsSeedsAndIndicesShareNoDraw) {
  std::set<uint64_t> seen;
  size_t draws = 0;
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32})
    for (RandomStream stream : {RandomStream::posterior, RandomStream::initialization, RandomStream::shuffle,
                                RandomStream::augmentation, RandomStream::simulation})
      for (uint64_t step : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, (uint64_t{1} << 48) - 1})
        for (uint64_t index : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
          Philox4 words = philox(seed, stream, step, index);
          seen.insert(joined(words.v[0], words.v[1]));
          ++draws;
        }
  EXPECT_EQ(seen.size(), draws);
}

// The noise of the posterior is what a run draws most of: its moments, its distribution function and the
// independence of neighbours, which share a counter. Bounds are five standard deviations of each statistic.
TEST(Philox, PosteriorNoiseIsStandardNormal) {
  constexpr int64_t count = 1 << 18;
  const double n = static_cast<double>(count);
  std::vector<double> draws(count);
  for (int64_t i = 0; i < count; ++i) draws[static_cast<size_t>(i)] = posterior_noise(7, 3, i);

  double mean = 0, variance = 0, skewness = 0, kurtosis = 0, neighbours = 0, steps = 0;
  for (int64_t i = 0; i < count; ++i) {
    double x = draws[static_cast<size_t>(i)];
    mean += x / n;
    variance += x * x / n;
    skewness += x * x * x / n;
    kurtosis += x * x * x * x / n;
    neighbours += x * draws[static_cast<size_t>((i + 1) % count)] / n;
    steps += x * posterior_noise(7, 4, i) / n;
  }
  double unit = 5 / std::sqrt(n);
  EXPECT_NEAR(mean, 0, unit);
  EXPECT_NEAR(variance, 1, unit * std::sqrt(2.0));
  EXPECT_NEAR(skewness, 0, unit * std::sqrt(15.0));
  EXPECT_NEAR(kurtosis, 3, unit * std::sqrt(96.0));
  EXPECT_NEAR(neighbours, 0, unit);
  EXPECT_NEAR(steps, 0, unit);

  // Kolmogorov-Smirnov: P(sqrt(n) D > 2.4) is about 2e-5.
  std::sort(draws.begin(), draws.end());
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    double normal = 0.5 * std::erfc(-draws[static_cast<size_t>(i)] / std::sqrt(2.0));
    largest = std::max({largest, std::abs(normal - static_cast<double>(i) / n),
                        std::abs(normal - static_cast<double>(i + 1) / n)});
  }
  EXPECT_LT(std::sqrt(n) * largest, 2.4);
}

TEST(Philox, PosteriorNoiseUsesAllBitsOfTheElement) {
  int64_t far = int64_t{1} << 33;
  EXPECT_NE(posterior_noise(1, 0, 5), posterior_noise(1, 0, far + 5));
  EXPECT_NE(posterior_noise(1, 0, far), posterior_noise(1, 0, far + 1));
}

}  // namespace
}  // namespace eelsvae
