#include "engine/detect/regions.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// The pixels that are connected with `first`; `open` marks those that are in no region yet.
std::vector<int64_t> take_connected(std::vector<uint8_t>& open, int64_t height, int64_t width,
                                    int64_t first) {
  std::vector<int64_t> pixels = {first};
  open[static_cast<size_t>(first)] = 0;
  for (size_t next = 0; next < pixels.size(); ++next) {
    const int64_t y = pixels[next] / width, x = pixels[next] % width;
    for (int64_t v = std::max<int64_t>(y - 1, 0); v <= std::min(y + 1, height - 1); ++v)
      for (int64_t u = std::max<int64_t>(x - 1, 0); u <= std::min(x + 1, width - 1); ++u) {
        uint8_t& neighbour = open[static_cast<size_t>(v * width + u)];
        if (!neighbour) continue;
        neighbour = 0;
        pixels.push_back(v * width + u);
      }
  }
  std::sort(pixels.begin(), pixels.end());
  return pixels;
}

Region describe_region(std::vector<int64_t> pixels, const Axis& along_y, const Axis& along_x,
                       std::span<const float> scores) {
  Region region;
  const auto count = static_cast<double>(pixels.size());
  region.strongest = pixels[0];
  double y = 0, x = 0;
  for (int64_t pixel : pixels) {
    const float score = scores[static_cast<size_t>(pixel)];
    expect(std::isfinite(score), "an anomalous pixel without a finite score");
    if (score > scores[static_cast<size_t>(region.strongest)]) region.strongest = pixel;
    y += static_cast<double>(pixel / along_x.size);
    x += static_cast<double>(pixel % along_x.size);
  }
  region.highest_score = scores[static_cast<size_t>(region.strongest)];
  region.y = along_y.value(y / count);
  region.x = along_x.value(x / count);
  region.area = count * std::abs(along_y.scale * along_x.scale);
  region.pixels = std::move(pixels);
  return region;
}

std::vector<float> mean_deviation(const Region& region, const SpectrumImageView& observed,
                                  std::span<const float> expected) {
  const int64_t channels = observed.energy.size;
  std::vector<double> sums(static_cast<size_t>(channels));
  for (const int64_t pixel : region.pixels) {
    const float* from = expected.data() + pixel * channels;
    for (int64_t e = 0; e < channels; ++e)
      sums[static_cast<size_t>(e)] +=
          static_cast<double>(observed.spectrum(pixel)[e]) - static_cast<double>(from[e]);
  }
  std::vector<float> mean;
  for (double sum : sums) mean.push_back(static_cast<float>(sum / static_cast<double>(region.pixels.size())));
  return mean;
}

}  // namespace

std::vector<Region> find_regions(const Axis& y, const Axis& x, std::span<const float> scores,
                                 std::span<const uint8_t> mask) {
  const auto pixels = static_cast<size_t>(y.size * x.size);
  expect(scores.size() == pixels && mask.size() == pixels, "scores or mask of another size than the image");
  std::vector<uint8_t> open(mask.begin(), mask.end());
  std::vector<Region> regions;
  for (size_t first = 0; first < pixels; ++first)
    if (open[first])
      regions.push_back(
          describe_region(take_connected(open, y.size, x.size, static_cast<int64_t>(first)), y, x, scores));
  // Regions were found in the order of their first pixels, which stays the order among equals.
  std::stable_sort(regions.begin(), regions.end(),
                   [](const Region& a, const Region& b) { return a.highest_score > b.highest_score; });
  return regions;
}

std::vector<Region> find_regions(const SpectrumImageView& observed, std::span<const float> expected,
                                 std::span<const float> scores, std::span<const uint8_t> mask) {
  expect(expected.size() == observed.counts.size(), "expected spectra of another size than the image");
  std::vector<Region> regions = find_regions(observed.y, observed.x, scores, mask);
  for (Region& region : regions) region.deviation = mean_deviation(region, observed, expected);
  return regions;
}

}  // namespace eelsvae
