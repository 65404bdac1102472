#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/array.h"
#include "kernels/host_device.h"

namespace eelsvae {

// The steps of preprocessing on a device. Images are f32 arrays (height, width, channels), channels
// innermost. They run once per image: operations may take memory, and those with a result wait for it.

struct ImageShape {
  int64_t height, width, channels;

  int64_t pixels() const { return height * width; }
  int64_t count() const { return pixels() * channels; }
};

enum class ImageAxis { y, x, channels };

// x becomes (x - zero) * factor, not below low and not above high.
struct LinearMap {
  float zero, factor, low, high;

  EELSVAE_HOST_DEVICE float operator()(float x) const {
    return std::min(high, std::max(low, (x - zero) * factor));
  }
};

// Where sample i of a line of n lies once mirrored into it: beyond an end the line goes on mirrored about the
// outer edge of its last sample (d c b a | a b c d | d c b a), again and again, scipy.ndimage's mode
// "reflect".
EELSVAE_HOST_DEVICE inline int64_t reflected(int64_t i, int64_t n) {
  const int64_t period = 2 * n;
  const int64_t inside = ((i % period) + period) % period;
  return inside < n ? inside : period - 1 - inside;
}

// The share of values below x, 0 to 1, by `count` >= 2 ascending quantiles at equally spaced shares;
// piecewise linear between them. In a run of equal quantiles it is the mean of the shares at which the run
// begins and ends, so that ties are treated alike from both sides (sklearn's QuantileTransformer interpolates
// once forwards and once backwards).
EELSVAE_HOST_DEVICE inline float share_below(const double* quantiles, int64_t count, double x) {
  if (x <= quantiles[0]) return 0;
  if (x >= quantiles[count - 1]) return 1;
  // The last quantile that is not above x. Halving without branches, which here cannot be predicted.
  int64_t below = 0;
  for (int64_t left = count; left > 1;) {
    const int64_t half = left / 2;
    below += quantiles[below + half] <= x ? half : 0;
    left -= half;
  }
  auto position = static_cast<double>(below);
  if (quantiles[below] == x) {
    int64_t first = 0;  // the first quantile that is x; that at 0 is below it
    for (int64_t left = below + 1; left > 1;) {
      const int64_t half = left / 2;
      first += quantiles[first + half] < x ? half : 0;
      left -= half;
    }
    position = 0.5 * (position + static_cast<double>(first + 1));
  } else {
    position += (x - quantiles[below]) / (quantiles[below + 1] - quantiles[below]);
  }
  return static_cast<float>(position / static_cast<double>(count - 1));
}

class ImageOperations {
 public:
  virtual ~ImageOperations() = default;

  // out = in, mapped if there is a map, filtered along one axis with a symmetric filter: with i counted along
  // the axis and indices reflected(),
  //   out[i] = half[0] in[i] + sum over k >= 1 of half[k] (in[i - k] + in[i + k])
  // half (on the host): the weights of the centre and of distances 1, 2, ..., of which there may be more than
  // the axis has samples. in and out are different arrays. 2 FLOPs per weight and 8 bytes per value.
  virtual void filter_axis(const ImageShape& shape, ImageAxis axis, std::span<const float> half,
                           const std::optional<LinearMap>& map, ConstArray in, Array out) = 0;

  // Sets the spectra of the pixels whose mask (height, width) is not zero.
  virtual void fill_pixels(const ImageShape& shape, const uint8_t* mask, float value, Array image) = 0;
  // image[pixel, channel] *= factors[pixel], factors (height, width) f32.
  virtual void scale_pixels(const ImageShape& shape, ConstArray factors, Array image) = 0;
  // image = share_below(quantiles, image), quantiles f64.
  virtual void map_to_shares(ConstArray quantiles, Array image) = 0;

  // The values at the given ranks (0: the smallest) of values without NaN; a zero comes out as +0. `sorted`
  // is scratch of as many values. Takes about as much memory of the device again.
  virtual std::vector<float> order_statistics(ConstArray values, std::span<const int64_t> ranks,
                                              Array sorted) = 0;
  // Sums in double over the pixels whose mask is zero (over all pixels if mask is null), added up in an order
  // that depends on the sizes only.
  virtual double sum(const ImageShape& shape, ConstArray image, const uint8_t* mask) = 0;
  virtual double squared_deviations(const ImageShape& shape, ConstArray image, const uint8_t* mask,
                                    double mean) = 0;
};

}  // namespace eelsvae
