#include "engine/prepare/binning.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "kernels/error.h"

namespace eelsvae {
namespace {

void crop_axis(Axis& axis, std::array<int64_t, 2> range) {
  axis.offset = axis.value(static_cast<double>(range[0]));
  axis.size = range[1] - range[0];
}

void bin_axis(Axis& axis, int64_t n) {
  axis.offset = axis.value(0.5 * static_cast<double>(n - 1));
  axis.scale *= static_cast<double>(n);
  axis.size /= n;
}

void check_bin(const char* key, int64_t n, int64_t size, const char* what) {
  if (n >= 1 && n <= size) return;
  throw UserError(std::string("preprocess.") + key + " is " + std::to_string(n) +
                  "; it must lie between 1 and the " + std::to_string(size) + " " + what);
}

// out[i] = sum over j of in[i * n + j], i < size
void add_neighbours(const float* in, float* out, int64_t size, int64_t n) {
  for (int64_t i = 0; i < size; ++i) {
    float sum = in[i * n];
    for (int64_t j = 1; j < n; ++j) sum += in[i * n + j];
    out[i] = sum;
  }
}

}  // namespace

std::array<int64_t, 2> checked_range(const PixelRange& range, int64_t size, const char* key) {
  if (!range) return {0, size};
  const auto [first, last] = *range;
  if (0 <= first && first < last && last <= size) return *range;
  throw UserError(std::string("preprocess.") + key + " is [" + std::to_string(first) + ", " +
                  std::to_string(last) + "]; it must ascend and stay within the image's [0, " +
                  std::to_string(size) + "]");
}

std::vector<uint8_t> crop_mask(const std::vector<uint8_t>& mask, int64_t width, std::array<int64_t, 2> y,
                               std::array<int64_t, 2> x) {
  std::vector<uint8_t> kept;
  if (mask.empty()) return kept;
  for (int64_t row = y[0]; row < y[1]; ++row)
    kept.insert(kept.end(), mask.begin() + row * width + x[0], mask.begin() + row * width + x[1]);
  return kept;
}

std::vector<uint8_t> bin_mask(const std::vector<uint8_t>& mask, int64_t height, int64_t width,
                              int64_t pixels) {
  if (mask.empty()) return {};
  const int64_t rows = height / pixels, columns = width / pixels;
  std::vector<uint8_t> binned(static_cast<size_t>(rows * columns));
  for (int64_t y = 0; y < rows * pixels; ++y)
    for (int64_t x = 0; x < columns * pixels; ++x)
      binned[static_cast<size_t>(y / pixels * columns + x / pixels)] |=
          mask[static_cast<size_t>(y * width + x)];
  return binned;
}

void crop_axes(SpectrumImage& image, const ImagePart& part) {
  image.excluded = crop_mask(image.excluded, image.x.size, part.y, part.x);
  crop_axis(image.y, part.y);
  crop_axis(image.x, part.x);
  crop_axis(image.energy, {part.energy.first, part.energy.last});
}

SpectrumImage take_part(ImageToRead from, const ImagePart& part, bool& all_finite) {
  SpectrumImage image = std::move(from.image);
  const auto& [y, x, energy, more] = part;
  const int64_t height = y[1] - y[0], width = x[1] - x[0], channels = energy.size();
  const int64_t size = height * width * channels;
  all_finite = false;
  if (from.read) {
    all_finite = from.read(part, image.counts);
    expect(std::ssize(image.counts) == size, "a part of an image was read that was not asked for");
  } else if (std::ssize(image.counts) != size) {
    float* counts = image.counts.data();
    // Forward, each spectrum moves to where earlier ones have already left.
    for (int64_t pixel = 0; pixel < height * width; ++pixel) {
      const float* spectrum = image.spectrum((y[0] + pixel / width) * image.x.size + x[0] + pixel % width);
      std::memmove(counts + pixel * channels, spectrum + energy.first,
                   static_cast<size_t>(channels) * sizeof(float));
    }
    image.counts.resize(static_cast<size_t>(size));
  }
  crop_axes(image, part);
  return image;
}

void bin_axes(SpectrumImage& image, int64_t pixels, int64_t channels) {
  image.excluded = bin_mask(image.excluded, image.y.size, image.x.size, pixels);
  bin_axis(image.y, pixels);
  bin_axis(image.x, pixels);
  bin_axis(image.energy, channels);
}

void bin(SpectrumImage& image, int64_t pixels, int64_t channels) {
  check_bin("bin_xy", pixels, std::min(image.y.size, image.x.size), "pixels of the image's shorter side");
  check_bin("bin_energy", channels, image.energy.size, "channels of the energy axis");
  if (pixels == 1 && channels == 1) return;
  const int64_t height = image.y.size / pixels, width = image.x.size / pixels;
  const int64_t size = image.energy.size / channels, used = size * channels;
  CountArray binned(static_cast<size_t>(height * width * size));
  std::vector<float> scratch(static_cast<size_t>(omp_get_max_threads() * used));
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < height * width; ++pixel) {
    float* sum = scratch.data() + omp_get_thread_num() * used;
    const int64_t corner = pixel / width * pixels * image.x.size + pixel % width * pixels;
    std::copy_n(image.spectrum(corner), used, sum);
    for (int64_t i = 1; i < pixels * pixels; ++i) {
      const float* more = image.spectrum(corner + i / pixels * image.x.size + i % pixels);
#pragma omp simd
      for (int64_t e = 0; e < used; ++e) sum[e] += more[e];
    }
    add_neighbours(sum, binned.data() + pixel * size, size, channels);
  }
  image.counts = std::move(binned);
  bin_axes(image, pixels, channels);
}

}  // namespace eelsvae
