#include "kernels/image_operations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/kernels/backend_test.h"
#include "tests/kernels/image_devices.h"

namespace eelsvae {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// Channels that can be read four at a time and such that cannot, axes of one sample, several blocks of
// threads, and more than one stretch of a sum.
const std::vector<ImageShape> shapes = {{1, 1, 1}, {5, 4, 3}, {1, 7, 16}, {6, 1, 8}, {3, 3, 1}, {7, 9, 700}};

class ImageOperationsTest : public ImageDeviceTest {
 protected:
  DeviceArray on_device(const Values& values) { return {backend(), DType::f32, values}; }
};
EELSVAE_FOR_EACH_IMAGE_DEVICE(ImageOperationsTest);

// A mask of about a third of the pixels, in the device's memory.
class Mask {
 public:
  Mask(Backend& backend, const ImageShape& shape) : backend_(backend) {
    const Values random = random_integers(shape.pixels(), 1, 9);
    for (double value : random) host.push_back(value > 0 ? 200 : 0);
    memory_ = static_cast<uint8_t*>(backend.allocate(host.size()));
    backend.upload(host.data(), memory_, host.size());
  }
  ~Mask() { backend_.release(memory_, host.size()); }
  Mask(const Mask&) = delete;
  Mask& operator=(const Mask&) = delete;
  operator const uint8_t*() const { return memory_; }

  std::vector<uint8_t> host;

 private:
  Backend& backend_;
  uint8_t* memory_;
};

Values filtered(const ImageShape& shape, ImageAxis axis, const std::vector<float>& half, const Values& in) {
  const int64_t steps[] = {shape.width * shape.channels, shape.channels, 1},
                sizes[] = {shape.height, shape.width, shape.channels};
  const int64_t step = steps[static_cast<int>(axis)], size = sizes[static_cast<int>(axis)];
  const auto radius = static_cast<int64_t>(half.size()) - 1;
  Values out(in.size());
  for (int64_t at = 0; at < shape.count(); ++at) {
    const int64_t i = at / step % size;
    for (int64_t k = -radius; k <= radius; ++k) {
      int64_t j = i + k;
      while (j < 0 || j >= size) j = j < 0 ? -1 - j : 2 * size - 1 - j;
      out[static_cast<size_t>(at)] += static_cast<double>(half[static_cast<size_t>(std::abs(k))]) *
                                      in[static_cast<size_t>(at + (j - i) * step)];
    }
  }
  return out;
}

TEST_P(ImageOperationsTest, FiltersOfSmallIntegersAreExact) {
  for (const ImageShape& shape : shapes)
    for (const std::vector<float>& half : std::vector<std::vector<float>>{
             {3}, {2, 1}, {1, -2, 3}, {1, 2, 0, 4}, {1, 1, 2, 1, 1, 3, 1, 1, 1, 2, 1, 1}})
      for (ImageAxis axis : {ImageAxis::y, ImageAxis::x, ImageAxis::channels}) {
        SCOPED_TRACE(testing::Message()
                     << shape.height << " " << shape.width << " " << shape.channels << " axis "
                     << static_cast<int>(axis) << " radius " << half.size() - 1);
        const Values in = random_integers(shape.count(), 30, 1);
        const DeviceArray source = on_device(in);
        const DeviceArray result(backend(), DType::f32, shape.count());
        operations().filter_axis(shape, axis, half, std::nullopt, source, result);
        EXPECT_TRUE(equal(result.download(), filtered(shape, axis, half, in)));
        EXPECT_TRUE(equal(source.download(), in));
        // Clipped to -4 to 10: all of it exact.
        const LinearMap map{2, 0.5f, -4, 10};
        Values mapped = in;
        for (double& value : mapped) value = std::clamp((value - 2) * 0.5, -4.0, 10.0);
        operations().filter_axis(shape, axis, half, map, source, result);
        EXPECT_TRUE(equal(result.download(), filtered(shape, axis, half, mapped)));
      }
}

TEST_P(ImageOperationsTest, FiltersOfRandomNumbersAreClose) {
  for (const ImageShape& shape : shapes)
    for (ImageAxis axis : {ImageAxis::y, ImageAxis::x, ImageAxis::channels}) {
      const Values in = rounded(random_normal(shape.count(), 1, 2), DType::f32);
      const DeviceArray source = on_device(in);
      const DeviceArray result(backend(), DType::f32, shape.count());
      const std::vector<float> half = {0.3f, 0.2f, 0.1f, 0.04f, 0.01f};
      operations().filter_axis(shape, axis, half, std::nullopt, source, result);
      EXPECT_TRUE(
          close(result.download(), filtered(shape, axis, half, in), tolerance_of(DType::f32).operation));
    }
}

TEST_P(ImageOperationsTest, MaskedPixelsAreFilled) {
  for (const ImageShape& shape : shapes)
    for (float value : {0.0f, -2.5f, infinity}) {
      Values expected = random_integers(shape.count(), 9, 3);
      const DeviceArray image = on_device(expected);
      const Mask mask(backend(), shape);
      operations().fill_pixels(shape, mask, value, image);
      for (int64_t i = 0; i < shape.count(); ++i)
        if (mask.host[static_cast<size_t>(i / shape.channels)])
          expected[static_cast<size_t>(i)] = static_cast<double>(value);
      EXPECT_TRUE(equal(image.download(), expected));
    }
}

TEST_P(ImageOperationsTest, PixelsAreScaled) {
  for (const ImageShape& shape : shapes) {
    Values expected = random_integers(shape.count(), 9, 4);
    const Values factors = random_integers(shape.pixels(), 5, 5);
    const DeviceArray image = on_device(expected), on_pixels = on_device(factors);
    operations().scale_pixels(shape, on_pixels, image);
    for (int64_t i = 0; i < shape.count(); ++i)
      expected[static_cast<size_t>(i)] *= factors[static_cast<size_t>(i / shape.channels)];
    EXPECT_TRUE(equal(image.download(), expected));
  }
}

TEST_P(ImageOperationsTest, RanksAreThoseOfTheSortedValues) {
  for (int64_t count : {1, 2, 3, 1000, 40001}) {
    Values values = rounded(random_normal(count, 50, 6), DType::f32);
    for (int64_t i = 0; i < count; i += 3)
      values[static_cast<size_t>(i)] = std::round(values[static_cast<size_t>(i)]);
    const DeviceArray array = on_device(values), scratch(backend(), DType::f32, count);
    Values sorted = values;
    std::sort(sorted.begin(), sorted.end());
    std::vector<int64_t> ranks = {count - 1, 0, 0, count / 2};
    for (int64_t rank = 0; rank < count; rank += 1 + count / 700) ranks.push_back(rank);
    const std::vector<float> found = operations().order_statistics(array, ranks, scratch);
    Values expected;
    for (int64_t rank : ranks) expected.push_back(sorted[static_cast<size_t>(rank)]);
    EXPECT_TRUE(equal(Values(found.begin(), found.end()), expected));
    EXPECT_TRUE(equal(array.download(), values)) << "the values were changed";
  }
}

TEST_P(ImageOperationsTest, RanksOfInfinityAndOfZero) {
  const double inf = std::numeric_limits<double>::infinity();
  const DeviceArray array = on_device({3, inf, -0.0, -7, inf}), scratch(backend(), DType::f32, 5);
  const std::vector<float> found =
      operations().order_statistics(array, std::vector<int64_t>{0, 1, 2, 3, 4}, scratch);
  EXPECT_EQ(found, (std::vector<float>{-7, 0, 3, infinity, infinity}));
  EXPECT_FALSE(std::signbit(found[1]));
}

TEST_P(ImageOperationsTest, SumsLeaveMaskedPixelsOut) {
  for (const ImageShape& shape : shapes) {
    const Mask mask(backend(), shape);
    for (bool masked : {false, true}) {
      Values values = random_integers(shape.count(), 1000, 7);
      double sum = 0, squares = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        if (masked && mask.host[i / static_cast<size_t>(shape.channels)]) {
          values[i] = std::nan("");
          continue;
        }
        sum += values[i];
        squares += (values[i] - 0.5) * (values[i] - 0.5);
      }
      const DeviceArray image = on_device(values);
      const uint8_t* pixels = masked ? static_cast<const uint8_t*>(mask) : nullptr;
      EXPECT_EQ(operations().sum(shape, image, pixels), sum);
      EXPECT_EQ(operations().squared_deviations(shape, image, pixels, 0.5), squares);
    }
  }
}

TEST_P(ImageOperationsTest, SharesBelow) {
  const Values quantiles = {-1, 0, 2, 2, 2, 6};
  const DeviceArray table(backend(), DType::f64, quantiles);
  const DeviceArray image = on_device({-1e30, -1, -0.5, 0, 1, 2, 3, 5, 6, 7});
  operations().map_to_shares(table, image);
  const Values expected = {0, 0, 0.1, 0.2, 0.3, 0.6, 0.85, 0.95, 1, 1};
  EXPECT_TRUE(close(image.download(), expected, tolerance_of(DType::f32).operation));

  // A run of equal quantiles at either end, and all of them equal.
  const DeviceArray ends(backend(), DType::f64, Values{0, 0, 1, 1}), image_2 = on_device({0, 0.5, 1});
  operations().map_to_shares(ends, image_2);
  EXPECT_TRUE(equal(image_2.download(), {0, 0.5, 1}));
  const DeviceArray same(backend(), DType::f64, Values{3, 3}), image_3 = on_device({2, 3, 4});
  operations().map_to_shares(same, image_3);
  EXPECT_TRUE(equal(image_3.download(), {0, 0, 1}));
}

TEST_P(ImageOperationsTest, SharesBelowManyQuantiles) {
  for (int64_t count : {2, 3, 17, 1000}) {
    Values quantiles = random_integers(count, 200, 8);
    std::sort(quantiles.begin(), quantiles.end());
    if (quantiles.front() == quantiles.back()) quantiles.back() += 1;
    Values values = random_integers(3000, 210, 9), expected;
    for (size_t i = 0; i < values.size(); i += 2) values[i] += 0.25;
    for (double x : values) {
      // np.interp forwards, and backwards on the negative axis, as sklearn has it.
      auto interpolate = [&](bool forwards) {
        if (x <= quantiles.front()) return 0.0;
        if (x >= quantiles.back()) return 1.0;
        const auto at = forwards ? std::upper_bound(quantiles.begin(), quantiles.end(), x)
                                 : std::lower_bound(quantiles.begin(), quantiles.end(), x);
        const double low = *(at - 1), high = *at, fraction = (x - low) / (high - low);
        return (static_cast<double>(at - 1 - quantiles.begin()) + fraction) / static_cast<double>(count - 1);
      };
      expected.push_back(0.5 * (interpolate(true) + interpolate(false)));
    }
    const DeviceArray table(backend(), DType::f64, quantiles), image = on_device(values);
    operations().map_to_shares(table, image);
    EXPECT_TRUE(close(image.download(), expected, tolerance_of(DType::f32).operation)) << count;
  }
}

}  // namespace
}  // namespace eelsvae
