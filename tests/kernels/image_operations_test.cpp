#include "kernels/image_operations.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/kernels/backend_test.h"
#include "tests/kernels/image_devices.h"

namespace eelsvae {
namespace {

// Channels that can be read four at a time and such that cannot, axes of one sample, several blocks of
// threads, and more than one stretch of a sum.
const std::vector<ImageShape> shapes = {{1, 1, 1}, {5, 4, 3}, {1, 7, 16}, {6, 1, 8}, {3, 3, 1}, {7, 9, 700}};

// About a third of the pixels.
std::vector<uint8_t> some_pixels(const ImageShape& shape) {
  std::vector<uint8_t> mask;
  for (double value : random_integers(shape.pixels(), 1, 9)) mask.push_back(value > 0 ? 200 : 0);
  return mask;
}

class ImageOperationsTest : public ImageDeviceTest {
 protected:
  // An image of the values, without a mask or with one.
  std::unique_ptr<DeviceImage> take(const ImageShape& shape, const Values& values,
                                    const std::vector<uint8_t>& mask = {}) {
    counts_.assign(values.begin(), values.end());
    mask_ = mask;
    return backend().take_image(shape, counts_.data(), mask.empty() ? nullptr : mask_.data());
  }
  std::unique_ptr<DeviceImage> take(const Values& values) { return take({1, 1, std::ssize(values)}, values); }
  Values finished(DeviceImage& image) {
    image.finish();
    return Values(counts_.begin(), counts_.end());
  }

 private:
  std::vector<float> counts_;
  std::vector<uint8_t> mask_;
};
EELSVAE_FOR_EACH_IMAGE_DEVICE(ImageOperationsTest);

// Along one axis.
Values filtered(const ImageShape& shape, size_t axis, const std::vector<float>& half, const Values& in) {
  const int64_t steps[] = {shape.width * shape.channels, shape.channels, 1},
                sizes[] = {shape.height, shape.width, shape.channels};
  const int64_t step = steps[axis], size = sizes[axis];
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
Values filtered(const ImageShape& shape, const std::vector<float>& half,
                const std::vector<float>& of_channels, const Values& in) {
  const Values over_pixels = filtered(shape, 1, half, filtered(shape, 0, half, in));
  return of_channels.empty() ? over_pixels : filtered(shape, 2, of_channels, over_pixels);
}

TEST_P(ImageOperationsTest, FiltersOfSmallIntegersAreExact) {
  const std::vector<std::vector<float>> halves = {
      {1}, {3}, {2, 1}, {1, -2, 3}, {1, 2, 0, 4}, {1, 1, 2, 1, 1, 3, 1, 1, 1, 2, 1, 1}};
  for (const ImageShape& shape : shapes)
    for (const std::vector<float>& half : halves)
      for (const std::vector<float>& of_channels :
           {std::vector<float>{}, halves.front(), halves[2], halves.back()}) {
        SCOPED_TRACE(testing::Message() << shape.height << " " << shape.width << " " << shape.channels
                                        << " radii " << half.size() - 1 << " " << of_channels.size());
        const Values in = random_integers(shape.count(), 30, 1);
        const auto image = take(shape, in);
        image->filter(half, of_channels, std::nullopt);
        EXPECT_TRUE(equal(finished(*image), filtered(shape, half, of_channels, in)));
        // Clipped to -4 to 10: all of it exact.
        Values mapped = in;
        for (double& value : mapped) value = std::clamp((value - 2) * 0.5, -4.0, 10.0);
        const auto other = take(shape, in);
        other->filter(half, of_channels, LinearMap{2, 0.5f, -4, 10});
        EXPECT_TRUE(equal(finished(*other), filtered(shape, half, of_channels, mapped)));
      }
}

TEST_P(ImageOperationsTest, FiltersOfRandomNumbersAreClose) {
  const std::vector<float> half = {0.3f, 0.2f, 0.1f, 0.04f, 0.01f};
  for (const ImageShape& shape : shapes) {
    const Values in = rounded(random_normal(shape.count(), 1, 2), DType::f32);
    const auto image = take(shape, in);
    image->filter(half, half, std::nullopt);
    EXPECT_TRUE(close(finished(*image), filtered(shape, half, half, in), tolerance_of(DType::f32).operation));
  }
}

// Divided by the weights of the pixels that are left, whatever the others hold.
TEST_P(ImageOperationsTest, ExcludedPixelsGiveNothingToAFilter) {
  const std::vector<float> half = {0.4f, 0.2f, 0.1f};
  for (const ImageShape& shape : shapes)
    for (const auto& map : {std::optional<LinearMap>(), std::optional(LinearMap{2, 0.5f, -4, 10})}) {
      const std::vector<uint8_t> mask = some_pixels(shape);
      Values in = random_integers(shape.count(), 30, 3), left(mask.size()), zeroed(in.size());
      for (size_t i = 0; i < in.size(); ++i) {
        const size_t pixel = i / static_cast<size_t>(shape.channels);
        left[pixel] = mask[pixel] ? 0 : 1;
        if (mask[pixel])
          in[i] = i % 2 == 0 ? std::nan("") : 1e30;
        else
          zeroed[i] = map ? std::clamp((in[i] - 2) * 0.5, -4.0, 10.0) : in[i];
      }
      Values expected = filtered(shape, half, {}, zeroed);
      const Values weights = filtered({shape.height, shape.width, 1}, half, {}, left);
      for (size_t i = 0; i < in.size(); ++i) {
        const size_t pixel = i / static_cast<size_t>(shape.channels);
        expected[i] = mask[pixel] ? 0 : expected[i] / weights[pixel];
      }
      const auto image = take(shape, in, mask);
      image->filter(half, {}, map);
      EXPECT_TRUE(close(finished(*image), expected, tolerance_of(DType::f32).operation));
    }
}

TEST(FilterLines, HaveTheBitsOfTheWholeImage) {
  const std::vector<float> half = {0.4f, 0.2f, 0.1f}, of_channels = {0.5f, 0.25f};
  const std::unique_ptr<Backend> cpu = make_backend("cpu", "fp32");
  for (const ImageShape& shape : {ImageShape{9, 40, 20}, {1, 7, 16}, {4, 1, 8}})
    for (const bool masked : {false, true}) {
      const std::vector<uint8_t> mask = masked ? some_pixels(shape) : std::vector<uint8_t>();
      const uint8_t* excluded = masked ? mask.data() : nullptr;
      const Values values = random_normal(shape.count(), 3, 5);
      const std::vector<float> in(values.begin(), values.end());
      for (const auto& map : {std::optional<LinearMap>(), std::optional(LinearMap{2, 0.5f, -4, 10})}) {
        std::vector<float> whole = in;
        const std::unique_ptr<DeviceImage> image = cpu->take_image(shape, whole.data(), excluded);
        image->filter(half, of_channels, map);
        image->finish();
        const int64_t line = shape.width * shape.channels;
        for (int64_t first = 0; first < shape.height; ++first)
          for (const int64_t last : {first, first + 1, shape.height}) {
            std::vector<float> some = in;
            filter_lines(shape, some.data(), excluded, first, last, half, of_channels, map);
            EXPECT_TRUE(std::equal(some.begin() + first * line, some.begin() + last * line,
                                   whole.begin() + first * line))
                << first << ' ' << last;
          }
      }
    }
}

TEST_P(ImageOperationsTest, RanksAreThoseOfTheSortedValues) {
  for (int64_t count : {1, 2, 3, 1000, 40001}) {
    Values values = rounded(random_normal(count, 50, 6), DType::f32);
    for (int64_t i = 0; i < count; i += 3)
      values[static_cast<size_t>(i)] = std::round(values[static_cast<size_t>(i)]);
    const auto image = take(values);
    Values sorted = values;
    std::sort(sorted.begin(), sorted.end());
    std::vector<int64_t> ranks = {count - 1, 0, 0, count / 2};
    for (int64_t rank = 0; rank < count; rank += 1 + count / 700) ranks.push_back(rank);
    const std::vector<float> found = image->order_statistics(ranks);
    Values expected;
    for (int64_t rank : ranks) expected.push_back(sorted[static_cast<size_t>(rank)]);
    EXPECT_TRUE(equal(Values(found.begin(), found.end()), expected));
    EXPECT_TRUE(equal(finished(*image), values)) << "the values were changed";
  }
}

TEST_P(ImageOperationsTest, ARankOfZeroHasNoSign) {
  const std::vector<float> found = take({3, -0.0, -7})->order_statistics(std::vector<int64_t>{0, 1, 2});
  EXPECT_EQ(found, (std::vector<float>{-7, 0, 3}));
  EXPECT_FALSE(std::signbit(found[1]));
}

// Wherever the excluded pixels lie, and of the others no count moves.
TEST_P(ImageOperationsTest, RanksAndSumsLeaveExcludedPixelsOut) {
  const ImageShape shape{7, 9, 5};
  std::vector<uint8_t> first(63), last(63), one(63), all_but_one(63, 1);
  std::fill_n(first.begin(), 40, uint8_t{1});
  std::fill_n(last.rbegin(), 40, uint8_t{1});
  one[62] = 1;
  all_but_one[31] = 0;
  for (const std::vector<uint8_t>& mask :
       {some_pixels(shape), first, last, one, all_but_one, std::vector<uint8_t>(63)}) {
    Values values = random_integers(shape.count(), 1000, 7), left;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (mask[i / 5]) {
        values[i] = std::nan("");
        continue;
      }
      left.push_back(values[i]);
      sum += values[i];
      squares += (values[i] - 0.5) * (values[i] - 0.5);
    }
    std::sort(left.begin(), left.end());
    const auto image = take(shape, values, mask);
    ASSERT_EQ(image->count(), std::ssize(left));
    EXPECT_EQ(image->sum(), sum);
    EXPECT_EQ(image->squared_deviations(0.5), squares);
    std::vector<int64_t> ranks;
    for (int64_t rank = 0; rank < image->count(); ++rank) ranks.push_back(rank);
    const std::vector<float> found = image->order_statistics(ranks);
    EXPECT_TRUE(equal(Values(found.begin(), found.end()), left));
    const Values after = finished(*image);
    for (size_t i = 0; i < values.size(); ++i)
      if (!mask[i / 5]) {
        ASSERT_EQ(after[i], values[i]) << i;
      }
  }
}

TEST_P(ImageOperationsTest, SumsOfManyCounts) {
  for (const ImageShape& shape : shapes) {
    const Values values = random_integers(shape.count(), 1000, 7);
    double squares = 0;
    for (const double value : values) squares += (value - 0.5) * (value - 0.5);
    const auto image = take(shape, values);
    EXPECT_EQ(image->sum(), std::accumulate(values.begin(), values.end(), 0.0));
    EXPECT_EQ(image->squared_deviations(0.5), squares);
  }
}

TEST_P(ImageOperationsTest, SharesBelow) {
  const Values quantiles = {-1, 0, 2, 2, 2, 6};
  const auto shares = [&](const Values& table, const Values& values) {
    const auto image = take(values);
    image->map_to_shares(table);
    return finished(*image);
  };
  const Values expected = {0, 0, 0.1, 0.2, 0.3, 0.6, 0.85, 0.95, 1, 1};
  EXPECT_TRUE(close(shares(quantiles, {-1e30, -1, -0.5, 0, 1, 2, 3, 5, 6, 7}), expected,
                    tolerance_of(DType::f32).operation));

  // A run of equal quantiles at either end, and all of them equal.
  EXPECT_TRUE(equal(shares({0, 0, 1, 1}, {0, 0.5, 1}), {0, 0.5, 1}));
  EXPECT_TRUE(equal(shares({3, 3}, {2, 3, 4}), {0, 0, 1}));
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
    const auto image = take(values);
    image->map_to_shares(quantiles);
    EXPECT_TRUE(close(finished(*image), expected, tolerance_of(DType::f32).operation)) << count;
  }
}

}  // namespace
}  // namespace eelsvae
