#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/host_device.h"

namespace eelsvae {

// The steps of preprocessing. Images are f32 (height, width, channels), channels innermost.

struct ImageShape {
  int64_t height, width, channels;

  int64_t pixels() const { return height * width; }
  int64_t count() const { return pixels() * channels; }
};

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

// a * b + sum, with one rounding where the processor can: a compiler left to choose might round the other
// product of a sum of two, and differently from loop to loop.
inline float multiply_add(float a, float b, float sum) {
#ifdef FP_FAST_FMAF
  return std::fma(a, b, sum);
#else
  return a * b + sum;
#endif
}

// Where pixels are left out of a filter over y and x, what its sums over the others are multiplied by, per
// pixel (height, width): the weights of all over those that are left, and zero for the excluded ones
// (normalized convolution; Knutsson and Westin, CVPR 1993). A pixel's own weight keeps these above zero.
// Exactly 1 where all are left. half: as DeviceImage::filter() has it. excluded: (height, width).
std::vector<float> normalizing_factors(int64_t height, int64_t width, const uint8_t* excluded,
                                       std::span<const float> half);

// An image of the host's memory where the backend works on it: there, or in a copy on its device.
class DeviceImage {
 public:
  // counts, and excluded (height, width; not zero: of no consequence are the pixel's counts, be they NaN;
  // null: none is), are the host's and must outlive this.
  DeviceImage(const ImageShape& shape, float* counts, const uint8_t* excluded)
      : shape_(shape),
        counts_(counts),
        excluded_(excluded),
        kept_(excluded ? std::count(excluded, excluded + shape.pixels(), 0) : shape.pixels()) {}
  virtual ~DeviceImage() = default;
  DeviceImage(const DeviceImage&) = delete;
  DeviceImage& operator=(const DeviceImage&) = delete;

  // Counts of the pixels that are not excluded.
  int64_t count() const { return kept_ * shape_.channels; }

  // The counts, mapped if there is a map, filtered along y and x with symmetric weights and then along the
  // channels with others (empty: not): with i counted along an axis and indices reflected(),
  //   out[i] = half[0] in[i] + sum over k >= 1 of half[k] (in[i - k] + in[i + k])
  // half: the weights of the centre and of distances 1, 2, ..., of which there may be more than the axis has
  // samples. Excluded pixels give nothing to the others (normalizing_factors()). 2 FLOPs per weight and axis.
  virtual void filter(std::span<const float> half, std::span<const float> half_of_channels,
                      const std::optional<LinearMap>& map) = 0;
  // counts = share_below(quantiles, counts)
  virtual void map_to_shares(std::span<const double> quantiles) = 0;

  // Of the pixels that are not excluded, whose counts must be finite: the values at the given ranks (0: the
  // smallest); a zero comes out as +0.
  virtual std::vector<float> order_statistics(std::span<const int64_t> ranks) = 0;
  // The same pixels' sums in double, added up in an order that depends on the sizes and the mask only.
  virtual double sum() = 0;
  virtual double squared_deviations(double mean) = 0;

  // Brings the counts back to the host's memory. Nothing else may follow.
  virtual void finish() = 0;

 protected:
  const ImageShape shape_;
  float* const counts_;
  const uint8_t* const excluded_;
  const int64_t kept_;  // pixels
  bool is_excluded(int64_t pixel) const { return excluded_ && excluded_[pixel]; }
  bool any_excluded() const { return kept_ < shape_.pixels(); }
};

// DeviceImage::filter() for lines [first, last) of an image in the host's memory, in place, with the bits
// that the CPU backend gives them; of the other lines only excluded pixels are written, which the rest does
// not depend on. excluded: null where none is.
void filter_lines(const ImageShape& shape, float* counts, const uint8_t* excluded, int64_t first,
                  int64_t last, std::span<const float> half, std::span<const float> half_of_channels,
                  const std::optional<LinearMap>& map);

class ImageOperations {
 public:
  virtual ~ImageOperations() = default;
  // UserError, with the sizes, if the device lacks the memory.
  virtual std::unique_ptr<DeviceImage> take_image(const ImageShape& shape, float* counts,
                                                  const uint8_t* excluded) = 0;
  // What that takes of the device's memory at most; 0 where the image stays in the host's.
  virtual size_t image_bytes(const ImageShape&) const { return 0; }
};

}  // namespace eelsvae
