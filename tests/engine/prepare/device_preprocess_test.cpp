// The published steps by each backend against those by the processor.

#include "engine/prepare/preprocess.h"

#include <cmath>
#include <limits>
#include <random>

#include "kernels/error.h"
#include "kernels/tolerances.h"
#include "tests/engine/prepare/processor_steps.h"
#include "tests/kernels/image_devices.h"

namespace eelsvae {
namespace {

SpectrumImage random_image(int64_t height, int64_t width, int64_t channels, uint32_t seed) {
  SpectrumImage image;
  image.y = {"y", "nm", 0, 1, height};
  image.x = {"x", "nm", 0, 1, width};
  image.energy = {"Energy loss", "eV", 420, 0.3, channels};
  image.counts.resize(static_cast<size_t>(height * width * channels));
  std::mt19937 generator(seed);
  std::normal_distribution<float> counts(40, 15);
  for (float& count : image.counts) count = counts(generator);
  return image;
}

// About a third of the pixels, but never all of them.
SpectrumImage excluding(SpectrumImage image, float filled) {
  image.excluded.assign(static_cast<size_t>(image.pixels()), 0);
  for (int64_t pixel = 1; pixel < image.pixels(); ++pixel)
    if (pixel * 7 % 11 < 4) {
      image.excluded[static_cast<size_t>(pixel)] = 1;
      std::fill_n(image.spectrum(pixel), image.energy.size, filled);
    }
  return image;
}

void expect_close(const SpectrumImage& image, const SpectrumImage& expected) {
  ASSERT_EQ(image.counts.size(), expected.counts.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < image.counts.size(); ++i) {
    const double e = static_cast<double>(expected.counts[i]), d = static_cast<double>(image.counts[i]) - e;
    ASSERT_TRUE(std::isfinite(d)) << "at " << i;
    difference += d * d;
    norm += e * e;
  }
  EXPECT_LE(std::sqrt(difference), tolerance_of("fp32").operation * std::sqrt(norm));
}

// Same as the host's within the rounding of counts, to which those that fit it are small multiples.
void expect_close(const ScalingParameters& scaling, const ScalingParameters& expected) {
  const double tolerance = tolerance_of("fp32").operation;
  EXPECT_EQ(scaling.method, expected.method);
  EXPECT_NEAR(scaling.offset, expected.offset, tolerance * (std::abs(expected.offset) + expected.range));
  EXPECT_NEAR(scaling.range, expected.range, tolerance * expected.range);
  ASSERT_EQ(scaling.quantiles.size(), expected.quantiles.size());
  for (size_t i = 0; i < scaling.quantiles.size(); ++i)
    ASSERT_NEAR(scaling.quantiles[i], expected.quantiles[i],
                tolerance * (expected.quantiles.back() - expected.quantiles.front()))
        << i;
}

constexpr std::array<Scaling, 5> methods = {Scaling::robust_minmax, Scaling::minmax, Scaling::zscore,
                                            Scaling::quantile, Scaling::none};

class DevicePreprocessTest : public ImageDeviceTest {
 protected:
  // Compares the two ways; returns the device's scaling.
  ScalingParameters compare(const SpectrumImage& image, const PreprocessConfig& config,
                            const ScalingParameters* fitted = nullptr) {
    SpectrumImage on_host = image, on_device = image;
    const ScalingParameters expected = smooth_and_scale(on_host, config, fitted),
                            scaling = smooth_and_scale(on_device, config, fitted, &backend());
    expect_close(scaling, expected);
    expect_close(on_device, on_host);
    EXPECT_EQ(on_device.excluded, image.excluded);
    return scaling;
  }
};
// All but the reference: what a nearly flat image is scaled by magnifies where its doubles round otherwise.
std::vector<std::string> devices_of_floats() {
  std::vector<std::string> devices = image_devices();
  std::erase(devices, "reference");
  return devices;
}
INSTANTIATE_TEST_SUITE_P(Devices, DevicePreprocessTest, testing::ValuesIn(devices_of_floats()),
                         [](const auto& device) { return device.param; });

TEST_P(DevicePreprocessTest, EveryScalingIsTheHosts) {
  struct Filters {
    double sigma;
    int64_t window;
  };
  for (Scaling method : methods)
    for (const Filters& filters : {Filters{0, 1}, {0.5, 3}, {0.5, 1}, {0, 3}, {2, 7}}) {
      SCOPED_TRACE(testing::Message() << "method " << static_cast<int>(method) << ", sigma " << filters.sigma
                                      << ", window " << filters.window);
      PreprocessConfig config;
      config.scaling_method = method;
      config.sigma = filters.sigma;
      config.xy_window = filters.window;
      compare(random_image(7, 9, 45, 1), config);
      compare(excluding(random_image(7, 9, 48, 2), std::numeric_limits<float>::quiet_NaN()), config);
    }
}

TEST_P(DevicePreprocessTest, OddSizes) {
  PreprocessConfig config;
  config.sigma = 3;  // reaches 12 samples
  config.xy_window = 15;
  for (auto [height, width, channels] :
       {std::array<int64_t, 3>{1, 1, 16}, {5, 7, 1}, {1, 9, 5}, {9, 1, 33}, {2, 3, 4}})
    for (Scaling method : methods) {
      SCOPED_TRACE(testing::Message() << height << " x " << width << " x " << channels << ", method "
                                      << static_cast<int>(method));
      config.scaling_method = method;
      compare(random_image(height, width, channels, 3), config);
      compare(excluding(random_image(height, width, channels, 4), 1e30f), config);
    }
}

// Order statistics are exact, and without a filter before them nothing is rounded.
TEST_P(DevicePreprocessTest, PercentilesAndQuantilesAreTheHostsToTheBit) {
  PreprocessConfig config;
  config.sigma = 0;
  for (Scaling method : {Scaling::robust_minmax, Scaling::minmax, Scaling::quantile}) {
    config.scaling_method = method;
    SpectrumImage plain = random_image(11, 13, 100, 5);
    for (size_t i = 0; i < plain.counts.size(); i += 2) plain.counts[i] = std::round(plain.counts[i]);
    for (const SpectrumImage& image : {plain, excluding(plain, -1e30f)}) {
      SpectrumImage on_host = image;
      const ScalingParameters expected = smooth_and_scale(on_host, config);
      EXPECT_EQ(compare(image, config), expected);
    }
  }
}

TEST_P(DevicePreprocessTest, AFittedScalingIsApplied) {
  for (Scaling method : methods) {
    PreprocessConfig config;
    config.scaling_method = method;
    SpectrumImage other = random_image(4, 4, 32, 6);
    for (float& count : other.counts) count = 0.7f * count + 3;
    const ScalingParameters fitted = fit_scaling(other.counts, config);
    EXPECT_EQ(compare(random_image(6, 5, 32, 7), config, &fitted), fitted);
  }
}

// More than the slots through which it goes to the device and back hold, and no multiple of them.
TEST_P(DevicePreprocessTest, LargeImagesGoThroughSlots) {
  PreprocessConfig config;
  config.sigma = 0;
  config.xy_window = 1;
  compare(random_image(37, 41, 2501, 8), config);
}

TEST_P(DevicePreprocessTest, WhatExcludedPixelsHoldChangesNoBit) {
  const SpectrumImage image = random_image(7, 9, 50, 9);
  const PreparedImage expected =
      prepare(excluding(image, 0), {}, std::nullopt, nullptr, std::nullopt, &backend());
  for (float filled : {40.0f, 1e38f, -1e38f, std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity()}) {
    const PreparedImage prepared =
        prepare(excluding(image, filled), {}, std::nullopt, nullptr, std::nullopt, &backend());
    EXPECT_EQ(prepared.scaling, expected.scaling);
    EXPECT_EQ(prepared.image.counts, expected.image.counts);
    EXPECT_EQ(prepared.notes, expected.notes);
  }
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    if (expected.image.excluded[static_cast<size_t>(pixel)]) {
      EXPECT_EQ(std::count(expected.image.spectrum(pixel), expected.image.spectrum(pixel) + 48, 0.0f), 48);
    }
}

TEST_P(DevicePreprocessTest, MistakesAreTheHosts) {
  auto message = [&](const PreprocessConfig& config, Backend* device) -> std::string {
    SpectrumImage image = random_image(3, 3, 20, 10);
    std::fill(image.counts.begin(), image.counts.end(), 0.1f);
    try {
      smooth_and_scale(image, config, nullptr, device);
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  };
  for (Scaling method : {Scaling::robust_minmax, Scaling::minmax, Scaling::zscore, Scaling::quantile}) {
    PreprocessConfig config;
    config.scaling_method = method;
    config.sigma = 0;
    EXPECT_EQ(message(config, &backend()), message(config, nullptr));
    EXPECT_NE(message(config, &backend()).find("equal"), std::string::npos);
  }
  PreprocessConfig config;
  config.sigma = -1;
  EXPECT_NE(message(config, &backend()).find("preprocess.sigma"), std::string::npos);
  config = {};
  config.xy_window = 2;
  EXPECT_NE(message(config, &backend()).find("preprocess.xy_window"), std::string::npos);
}

// A device without the memory that an image takes: whatever is asked of it fails.
class FullDevice final : public Backend {
 public:
  std::string device() const override { return "full:0"; }
  DeviceMemory memory() const override { return {size_t{1} << 30, size_t{1} << 20}; }
  size_t image_bytes(const ImageShape&) const override { return size_t{2} << 20; }

  std::string processor() const override { fail(); }
  std::string precision() const override { fail(); }
  DType storage_type() const override { fail(); }
  DType master_type() const override { fail(); }
  void* allocate(size_t) override { fail(); }
  void release(void*, size_t) noexcept override {}
  void upload_rows(const void*, size_t, void*, size_t, int64_t) override { fail(); }
  void download_rows(const void*, size_t, void*, size_t, int64_t) override { fail(); }
  void synchronize() override { fail(); }
  void convert(ConstArray, Array) override { fail(); }
  std::unique_ptr<Conv3d> make_conv3d(const Conv3dProblem&, bool, bool, Passes) override { fail(); }
  std::unique_ptr<Linear> make_linear(const LinearProblem&, Passes) override { fail(); }
  void bias_relu(int64_t, int64_t, ConstArray, bool, Array) override { fail(); }
  void bias_relu_backward(int64_t, int64_t, ConstArray, bool, Array, Array) override { fail(); }
  void energy_pooling(int64_t, int64_t, int64_t, ConstArray, Array) override { fail(); }
  void energy_pooling_backward(int64_t, int64_t, int64_t, ConstArray, ConstArray, ConstArray,
                               Array) override {
    fail();
  }
  void reparameterize(int64_t, int64_t, ConstArray, bool, const StepScalars*, Array, Array) override {
    fail();
  }
  void reparameterize_backward(int64_t, int64_t, ConstArray, ConstArray, const StepScalars*, Array) override {
    fail();
  }
  void reconstruction_loss(ReconstructionLoss, int64_t, int64_t, int64_t, ConstArray, ConstArray,
                           const StepScalars*, Array, Array) override {
    fail();
  }
  void reconstruct(ReconstructionLoss, int64_t, int64_t, ConstArray, ConstArray, Array) override { fail(); }
  void squared_norm(ConstArray, Array) override { fail(); }
  size_t outer_product_workspace_bytes(int64_t) const override { fail(); }
  void squared_norm_outer_product(int64_t, int64_t, int64_t, ConstArray, ConstArray, Array, void*) override {
    fail();
  }
  void clip(ConstArray, double, Array, StepScalars*) override { fail(); }
  void adam(ConstArray, const StepScalars*, Array, Array, Array) override { fail(); }
  void adam_outer_product(int64_t, int64_t, int64_t, ConstArray, ConstArray, const StepScalars*, Array, Array,
                          Array, Array) override {
    fail();
  }
  std::unique_ptr<DeviceImage> take_image(const ImageShape&, float*, const uint8_t*) override { fail(); }

 private:
  [[noreturn]] static void fail() { throw std::logic_error("a full device was asked to work"); }
};

TEST(DevicePreprocessMemory, WhereItIsLackingTheHostWorksAndANoteSaysSo) {
  const SpectrumImage image = random_image(8, 8, 64, 11);
  const PreparedImage expected = prepare(image, {}, std::nullopt);
  FullDevice full;
  const PreparedImage prepared = prepare(image, {}, std::nullopt, nullptr, std::nullopt, &full);
  EXPECT_EQ(prepared.image.counts, expected.image.counts);
  EXPECT_EQ(prepared.scaling, expected.scaling);
  ASSERT_EQ(prepared.notes.size(), expected.notes.size() + 1);
  EXPECT_NE(prepared.notes.back().find("full:0"), std::string::npos) << prepared.notes.back();
  EXPECT_NE(prepared.notes.back().find("on the host"), std::string::npos) << prepared.notes.back();
}

}  // namespace
}  // namespace eelsvae
