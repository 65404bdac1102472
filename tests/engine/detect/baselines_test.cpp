#include "engine/detect/baselines.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>

#include "engine/specimen/simulate.h"
#include "kernels/philox.h"
#include "tests/engine/prepare/processor_steps.h"
#include "tests/engine/spectra.h"

namespace eelsvae {
namespace {

using Kind = BaselineSpec::Kind;

double normal(uint64_t seed, uint64_t index) {
  const Philox4 draw = philox(seed, index, 11);
  return normal_pair(draw.v[0], draw.v[1]).first;
}

Axis channels(int64_t count) {
  return {"Energy loss", "eV", 0, 1, count};
}

Baseline fitted(const SpectrumImage& image, const std::string& spec, std::span<const uint8_t> left_out = {}) {
  return {image, left_out, parse_baseline(spec)};
}

std::string error_of(const SpectrumImage& image, const std::string& spec) {
  return user_error_of([&] { fitted(image, spec); });
}

double largest_difference(const SpectrumImage& image, const CountArray& expected) {
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(image.counts[i] - expected[i])));
  return largest;
}

// A mean spectrum and three others, whose shares change smoothly over the image.
SpectrumImage smooth_rank_three(int64_t height, int64_t width, int64_t energies) {
  return image_of(height, width, channels(energies), [=](int64_t y, int64_t x, double e) {
    const double v = static_cast<double>(y) / 9, u = static_cast<double>(x) / 11,
                 t = e / static_cast<double>(energies);
    return 40 * std::exp(-t) + 3 * std::sin(v) * gaussian(t, 0.3, 0.05) + 4 * std::cos(u) * (1 - t) +
           5 * std::sin(u + v) * gaussian(t, 0.7, 0.1);
  });
}

// White in space and energy, with a variance that falls along the axis.
void add_normal_noise(SpectrumImage& image, uint64_t seed, double sigma) {
  for (size_t i = 0; i < image.counts.size(); ++i) {
    const auto e = static_cast<double>(static_cast<int64_t>(i) % image.energy.size);
    image.counts[i] +=
        static_cast<float>(sigma * (2 - e / static_cast<double>(image.energy.size)) * normal(seed, i));
  }
}

TEST(BaselineSpec, IsReadAndWritten) {
  EXPECT_EQ(parse_baseline("mean"), (BaselineSpec{Kind::mean, {}}));
  EXPECT_EQ(parse_baseline("pca"), (BaselineSpec{Kind::pca, {}}));
  EXPECT_EQ(parse_baseline("pca:auto"), (BaselineSpec{Kind::pca, {}}));
  EXPECT_EQ(parse_baseline("pca:5"), (BaselineSpec{Kind::pca, 5}));
  EXPECT_EQ(parse_baseline("rx"), (BaselineSpec{Kind::rx, {}}));
  EXPECT_EQ(parse_baseline("rx:10"), (BaselineSpec{Kind::rx, 10}));
  EXPECT_EQ(parse_baseline("local"), (BaselineSpec{Kind::local, {}, 8}));
  EXPECT_EQ(parse_baseline("local:5"), (BaselineSpec{Kind::local, {}, 5}));
  for (const char* text : {"mean", "local:8", "pca:auto", "pca:5", "rx:auto", "rx:10"})
    EXPECT_EQ(to_string(parse_baseline(text)), text);
}

// By plain sums, of every spectrum around.
TEST(Baselines, LocalIsTheMeanAroundWithoutTheNearestAndTheExcluded) {
  constexpr int64_t height = 11, width = 13, energies = 20, reach = 4;
  SpectrumImage image = smooth_rank_three(height, width, energies);
  add_normal_noise(image, 3, 1);
  image.excluded.assign(static_cast<size_t>(height * width), 0);
  for (const int64_t pixel : {0L, 5 * width + 6L, 5 * width + 9L}) {
    image.excluded[static_cast<size_t>(pixel)] = 1;
    std::fill_n(image.spectrum(pixel), energies, 0.0f);
  }
  const CountArray expected = fitted(image, "local:4").expected(image);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      std::vector<double> sum(energies);
      double around = 0, own = 0;
      for (int64_t v = 0; v < height; ++v)
        for (int64_t u = 0; u < width; ++u) {
          const int64_t distance = std::max(std::abs(v - y), std::abs(u - x));
          if (distance > reach || distance <= 2 || image.excluded[static_cast<size_t>(v * width + u)])
            continue;
          for (int64_t e = 0; e < energies; ++e)
            sum[static_cast<size_t>(e)] += static_cast<double>(image.spectrum(v * width + u)[e]);
        }
      for (int64_t e = 0; e < energies; ++e) {
        around += sum[static_cast<size_t>(e)];
        own += static_cast<double>(image.spectrum(y * width + x)[e]);
      }
      for (int64_t e = 0; e < energies; ++e) {
        const double wanted = image.excluded[static_cast<size_t>(y * width + x)]
                                  ? 0
                                  : sum[static_cast<size_t>(e)] * own / around;
        EXPECT_NEAR(expected[static_cast<size_t>((y * width + x) * energies + e)], wanted, 1e-4 * 40);
      }
    }
  // Where nobody is around, the mean spectrum is expected.
  SpectrumImage alone = image_of(1, 3, channels(energies), [](int64_t, int64_t x, double e) {
    return (1 + static_cast<double>(x)) * (3 + e);
  });
  EXPECT_LT(largest_difference(alone, fitted(alone, "local:4").expected(alone)), 1e-4);
}

TEST(BaselineSpec, RefusesTheRestAndListsWhatThereIs) {
  for (const char* text :
       {"", "mean:1", "median", "PCA:5", "pca:", "pca:0", "pca:-1", "pca:5x", "pca:1.5", "pca: 5",
        "rx:99999999999999999999", "rx:auto:5", ":5", "local:2", "local:65", "local:auto", "local:"}) {
    const std::string error = user_error_of([&] { parse_baseline(text); });
    EXPECT_NE(error.find("'" + std::string(text) + "'"), std::string::npos) << error;
    EXPECT_NE(
        error.find("mean, local:R, which looks R pixels around (3 to 64), pca:auto, pca:K, rx:auto and rx:K"),
        std::string::npos)
        << error;
  }
}

TEST(MeanBaseline, IsTheMeanSpectrumAtEachPixelsTotal) {
  const SpectrumImage image = image_of(2, 2, channels(2), [](int64_t y, int64_t x, double e) {
    return std::vector<double>{
        1, 3, 2, 2, 4, 8, 5, 7}[static_cast<size_t>(2 * (2 * y + x)) + static_cast<size_t>(e)];
  });
  const Baseline baseline = fitted(image, "mean");  // (12, 20) / 4
  EXPECT_EQ(baseline.expected(image), (CountArray{1.5f, 2.5f, 1.5f, 2.5f, 4.5f, 7.5f, 4.5f, 7.5f}));
  EXPECT_EQ(baseline.components(), 0);
  EXPECT_TRUE(baseline.scree().empty());
  EXPECT_FALSE(baseline.own_scores(image));
  EXPECT_EQ(baseline.describe(), "mean spectrum, fitted to 4 spectra");
  // A single spectrum is its own mean.
  const std::vector<uint8_t> left_out = {1, 1, 0, 1};
  EXPECT_NEAR(fitted(image, "mean", left_out).expected(image)[0], 4 / 3.0, 1e-6);
}

// Spectra m + a_j u_j and m - a_j u_j, with the unit vector u_j of channel j: the covariance matrix has the
// eigenvalues 2 a_j^2 / (n - 1).
TEST(PcaBaseline, FindsKnownEigenvalues) {
  for (const int64_t count : {int64_t{12}, int64_t{80}, int64_t{600}}) {
    // Slow decay, with equal neighbours.
    auto amplitude = [](int64_t j) { return 1 / (1 + 0.02 * static_cast<double>(j / 2 * 2)); };
    const SpectrumImage image = image_of(2, count, channels(count), [&](int64_t y, int64_t x, double e) {
      return 3 + (static_cast<int64_t>(e) == x ? (y == 0 ? 1 : -1) * amplitude(x) : 0);
    });
    const Baseline baseline = fitted(image, "pca:7");
    ASSERT_EQ(static_cast<int64_t>(baseline.scree().size()), std::min<int64_t>(count, 20));
    double total = 0;
    for (int64_t j = 0; j < count; ++j)
      total += 2 * std::pow(amplitude(j), 2) / static_cast<double>(2 * count - 1);
    for (size_t j = 0; j < baseline.scree().size(); ++j) {
      const double variance =
          2 * std::pow(amplitude(static_cast<int64_t>(j)), 2) / static_cast<double>(2 * count - 1);
      EXPECT_NEAR(baseline.scree()[j].variance / variance, 1, 1e-6) << count << ' ' << j;
      EXPECT_NEAR(baseline.scree()[j].share, variance / total, 1e-6 * variance / total);
      EXPECT_EQ(baseline.scree()[j].kept, j < 7);
    }
    EXPECT_EQ(baseline.components(), 7);
    // The sixth pair of spectra lies in the kept space, the ninth is orthogonal to it.
    const CountArray expected = baseline.expected(image);
    EXPECT_NEAR(expected[static_cast<size_t>(5 * count + 5)], 3 + amplitude(5), 1e-4);
    EXPECT_NEAR(expected[static_cast<size_t>(8 * count + 8)], 3, 1e-4);
  }
}

TEST(PcaBaseline, ReproducesDataOfItsRank) {
  for (const int64_t energies : {int64_t{30}, int64_t{600}}) {
    const SpectrumImage image = smooth_rank_three(20, 30, energies);
    const Baseline three = fitted(image, "pca:3"), two = fitted(image, "pca:2");
    EXPECT_LT(largest_difference(image, three.expected(image)), 2e-5);
    EXPECT_GT(largest_difference(image, two.expected(image)), 0.5);
    ASSERT_EQ(three.scree().size(), 3u);
    EXPECT_NEAR(three.scree()[0].share + three.scree()[1].share + three.scree()[2].share, 1, 1e-9);
    EXPECT_EQ(three.describe(), "PCA, 3 components (100 % of the variance), fitted to 600 spectra");
    // Another image of the same kind, with other shares.
    const SpectrumImage other = smooth_rank_three(50, 7, energies);
    EXPECT_LT(largest_difference(other, three.expected(other)), 2e-5);
    EXPECT_NE(error_of(image, "pca:4").find("vary in 3 directions only"), std::string::npos);
  }
}

// Four pixels away from a column of atoms is none; a cell away is the next.
TEST(PcaBaseline, KeepsWhatColumnsOfAtomsShow) {
  for (Preset preset : {Preset::lattice, Preset::lattice_110}) {
    SimulationSettings settings;
    settings.preset = preset;
    settings.height = settings.width = 64;
    settings.channels = 64;
    settings.energy_offset_ev = 690;
    settings.dispersion_ev = 0.6;
    settings.exposure = 4;
    const int64_t kept = fitted(simulate(settings).image, "pca:auto").components();
    EXPECT_GE(kept, 1) << preset_name(preset);
    EXPECT_LE(kept, 4) << preset_name(preset);
  }
}

TEST(PcaBaseline, ChoosesWhatIsSharedByNeighboursAndMoreThanNoise) {
  SpectrumImage image = smooth_rank_three(60, 50, 120);
  add_normal_noise(image, 5, 1);
  gaussian_filter(image, 0.5);  // noise of many different eigenvalues, and alike in neighbours
  spatial_mean(image, 3);
  // A pixel with a cosmic ray has a component of its own, before the others.
  image.spectrum(60 * 25 + 7)[100] = 3000;
  const Baseline baseline = fitted(image, "pca:auto");
  EXPECT_EQ(baseline.components(), 3);
  ASSERT_EQ(baseline.scree().size(), 20u);
  for (size_t j = 0; j < 20; ++j) {
    EXPECT_EQ(baseline.scree()[j].kept, 1 <= j && j <= 3) << j;
    EXPECT_EQ(baseline.scree()[j].kept, baseline.scree()[j].spatial_correlation.value() > 0.5);
  }
  EXPECT_LT(baseline.expected(image)[(60 * 25 + 7) * 120 + 100], 100);
  // Deep in noise nothing is worth keeping.
  SpectrumImage noise = image_of(60, 50, channels(120), [](auto...) { return 40; });
  add_normal_noise(noise, 6, 1);
  EXPECT_EQ(fitted(noise, "pca").components(), 0);
  EXPECT_EQ(fitted(noise, "rx").components(), 5);
}

TEST(RxBaseline, IsChiSquaredForNormalSpectra) {
  // Correlated channels.
  auto sample = [](uint64_t seed) {
    return image_of(100, 100, channels(12), [=](int64_t y, int64_t x, double e) {
      const auto first = static_cast<uint64_t>((y * 100 + x) * 20 + static_cast<int64_t>(e));
      return 50 + 3 * normal(seed, first) + 2 * normal(seed, first + 1) + normal(seed, first + 2);
    });
  };
  const SpectrumImage training = sample(1), other = sample(2);
  for (const int64_t k : {1, 6, 12}) {
    const Baseline baseline = fitted(training, "rx:" + std::to_string(k));
    EXPECT_EQ(baseline.components(), k);
    double sum = 0;
    const std::vector<float> own = baseline.own_scores(training).value();
    for (float score : own) sum += static_cast<double>(score);
    // The trace of C^-1 C: exact on the training spectra.
    EXPECT_NEAR(sum / (static_cast<double>(k) * 9999), 1, 1e-6);
    double mean = 0, square = 0;
    const std::vector<float> scores = baseline.own_scores(other).value();
    for (float score : scores) {
      mean += static_cast<double>(score) / 10000;
      square += std::pow(static_cast<double>(score), 2) / 10000;
    }
    const auto degrees = static_cast<double>(k);
    EXPECT_NEAR(mean, degrees, 5 * std::sqrt(2 * degrees / 10000));
    EXPECT_NEAR((square - mean * mean) / (2 * degrees), 1, 0.15);
  }
}

TEST(RxBaseline, ExpectsTheScaledMeanAndScoresExcludedPixelsNaN) {
  SpectrumImage image = smooth_rank_three(20, 30, 40);
  add_normal_noise(image, 9, 0.1);
  image.excluded.assign(600, 0);
  image.excluded[7] = 1;
  const Baseline rx = fitted(image, "rx:4");
  EXPECT_EQ(rx.expected(image), fitted(image, "mean").expected(image));
  const std::vector<float> scores = rx.own_scores(image).value();
  for (size_t i = 0; i < scores.size(); ++i) EXPECT_EQ(std::isnan(scores[i]), i == 7);
  EXPECT_FALSE(fitted(image, "pca:4").own_scores(image));
  EXPECT_EQ(fitted(smooth_rank_three(20, 30, 40), "rx").components(), 3);  // there are no five
}

TEST(Baselines, DoNotDependOnPixelsLeftOutNorOnThreads) {
  SpectrumImage image = smooth_rank_three(40, 30, 300);  // large enough for the iterative eigenvectors
  add_normal_noise(image, 2, 0.3);
  SpectrumImage spoilt = image;
  std::vector<uint8_t> mask(1200, 0);
  for (size_t pixel : {size_t{0}, size_t{417}, size_t{1199}}) {
    mask[pixel] = 1;
    std::fill_n(spoilt.spectrum(static_cast<int64_t>(pixel)), 300,
                pixel == 0 ? std::numeric_limits<float>::quiet_NaN() : 1e30f);
  }
  spoilt.excluded = mask;
  for (const char* spec : {"mean", "pca:auto", "pca:5", "rx:auto"}) {
    omp_set_num_threads(1);
    const Baseline left_out = fitted(image, spec, mask);
    CountArray expected = left_out.expected(image);
    omp_set_num_threads(3);
    const Baseline excluded = fitted(spoilt, spec);
    EXPECT_EQ(excluded.expected(image), expected) << spec;
    EXPECT_EQ(excluded.own_scores(image), left_out.own_scores(image)) << spec;
    omp_set_num_threads(omp_get_num_procs());
    // Left out of the fit only, and not to be looked at at all.
    const CountArray around = excluded.expected(spoilt);
    for (size_t i = 0; i < around.size(); ++i) {
      if (mask[i / 300]) expected[i] = 0;
      ASSERT_EQ(around[i], expected[i]) << spec << ' ' << i;
    }
  }
}

TEST(Baselines, RefuseWhatCannotBeFitted) {
  SpectrumImage image = smooth_rank_three(4, 5, 30);
  add_normal_noise(image, 3, 1);
  EXPECT_EQ(error_of(image, "pca:19"), "no error");
  EXPECT_NE(error_of(image, "pca:20").find("20 spectra of 30 channels; at most 19"), std::string::npos);
  EXPECT_NE(error_of(image, "rx:31").find("at most 19"), std::string::npos);
  EXPECT_NE(error_of(image, "pca").find("give it, such as pca:3"), std::string::npos)
      << error_of(image, "pca");
  EXPECT_NE(error_of(image, "rx").find("such as rx:5"), std::string::npos);

  SpectrumImage constant = image_of(20, 20, channels(16), [](auto...) { return 0.1; });
  EXPECT_EQ(fitted(constant, "pca").components(), 0);
  EXPECT_LT(largest_difference(constant, fitted(constant, "pca").expected(constant)), 1e-7);
  EXPECT_LT(largest_difference(constant, fitted(constant, "mean").expected(constant)), 1e-7);
  EXPECT_NE(error_of(constant, "pca:1").find("vary in 0 directions"), std::string::npos);
  EXPECT_NE(error_of(constant, "rx").find("all alike"), std::string::npos);

  for (float& count : constant.counts) count = -count;
  EXPECT_NE(error_of(constant, "mean").find("total is -1.6"), std::string::npos)
      << error_of(constant, "mean");
  EXPECT_NE(error_of(constant, "rx:2").find("robust_minmax"), std::string::npos);

  image.spectrum(7)[3] = std::numeric_limits<float>::infinity();
  EXPECT_NE(error_of(image, "mean").find("(y, x, channel) = (1, 2, 3)"), std::string::npos);
  image.excluded.assign(20, 1);
  EXPECT_NE(error_of(image, "mean").find("every pixel"), std::string::npos);
  image.excluded[0] = 0;
  EXPECT_EQ(error_of(image, "mean"), "no error");
  EXPECT_NE(error_of(image, "pca").find("at most 0 components"), std::string::npos);

  const Baseline mean = fitted(smooth_rank_three(4, 5, 30), "mean");
  EXPECT_THROW(mean.expected(smooth_rank_three(4, 5, 31)), std::logic_error);
  EXPECT_THROW(mean.own_scores(smooth_rank_three(4, 5, 31)), std::logic_error);
}

}  // namespace
}  // namespace eelsvae
