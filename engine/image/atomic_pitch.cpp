#include "engine/image/atomic_pitch.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

namespace eelsvae {
namespace {

constexpr int64_t shortest = 3, longest = 40;  // pixels
constexpr double largest_pixel_nm = 0.2, least = 0.5;

// Totals (y, x) less their mean over a square of 2 `reach` + 1 pixels, so that slow changes do not count; 0
// in excluded pixels and where a total is not finite.
std::vector<double> contrast(const SpectrumImageView& image, int64_t reach) {
  const int64_t height = image.y.size, width = image.x.size, channels = image.energy.size;
  std::vector<double> totals(static_cast<size_t>(image.pixels())), counted(totals.size());
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const auto at = static_cast<size_t>(pixel);
    double sum = 0;
    for (int64_t e = 0; e < channels; ++e) sum += static_cast<double>(image.spectrum(pixel)[e]);
    counted[at] = std::isfinite(sum) && (image.excluded.empty() || !image.excluded[at]);
    totals[at] = counted[at] != 0 ? sum : 0;
  }
  std::vector<double> result(totals.size());
#pragma omp parallel for schedule(dynamic)
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const auto at = static_cast<size_t>(y * width + x);
      if (counted[at] == 0) continue;
      double sum = 0, count = 0;
      for (int64_t v = std::max<int64_t>(y - reach, 0); v <= std::min(y + reach, height - 1); ++v)
        for (int64_t u = std::max<int64_t>(x - reach, 0); u <= std::min(x + reach, width - 1); ++u) {
          sum += totals[static_cast<size_t>(v * width + u)];
          count += counted[static_cast<size_t>(v * width + u)];
        }
      result[at] = totals[at] - sum / count;
    }
  return result;
}

}  // namespace

std::optional<double> atomic_pitch(const SpectrumImageView& image) {
  const int64_t height = image.y.size, width = image.x.size;
  const int64_t far = std::min(longest, std::min(height, width) / 3);
  if (far < shortest + 1) return std::nullopt;
  for (const Axis* axis : {&image.y, &image.x})
    if (axis->units == "nm" && std::abs(axis->scale) > largest_pixel_nm) return std::nullopt;
  const std::vector<double> map = contrast(image, far);

  // Lags (dy, dx) from (0, -far) to (far, far); the others are the same again.
  const int64_t lags = 2 * far + 1;
  std::vector<double> products(static_cast<size_t>((far + 1) * lags));
#pragma omp parallel for schedule(dynamic)
  for (int64_t dy = 0; dy <= far; ++dy)
    for (int64_t dx = -far; dx <= far; ++dx) {
      double sum = 0, pairs = 0;
      for (int64_t y = 0; y + dy < height; ++y)
        for (int64_t x = std::max<int64_t>(0, -dx); x < std::min(width, width - dx); ++x) {
          sum +=
              map[static_cast<size_t>(y * width + x)] * map[static_cast<size_t>((y + dy) * width + x + dx)];
          ++pairs;
        }
      products[static_cast<size_t>(dy * lags + dx + far)] = sum / pairs;
    }
  const auto at = [&](int64_t dy, int64_t dx) {
    return dy < 0 ? products[static_cast<size_t>(-dy * lags - dx + far)]
                  : products[static_cast<size_t>(dy * lags + dx + far)];
  };
  // Stripes are alike along a line, and nothing like the next one.
  constexpr double least_across = 0.4;
  const double neighbours = std::max(at(0, 1), at(1, 0));
  if (!(std::min(at(0, 1), at(1, 0)) > least_across * neighbours)) return std::nullopt;
  constexpr double least_of_variance = 0.15;  // white noise has up to a tenth of it
  if (!(neighbours > least_of_variance * at(0, 0))) return std::nullopt;

  // A lattice has peaks in more than one direction, stripes in one.
  std::vector<std::pair<double, double>> peaks;  // distance, direction
  for (int64_t dy = 0; dy < far; ++dy)
    for (int64_t dx = dy == 0 ? 1 : 1 - far; dx < far; ++dx) {
      const double here = at(dy, dx), distance = std::hypot(static_cast<double>(dy), static_cast<double>(dx));
      if (here < least * neighbours || distance < static_cast<double>(shortest)) continue;
      bool highest = true;
      for (int64_t v = -1; v <= 1; ++v)
        for (int64_t u = -1; u <= 1; ++u) highest = highest && at(dy + v, dx + u) <= here;
      // Slow waves fall and do not rise again.
      constexpr double dip = 0.8;
      highest = highest && at(dy / 2, dx / 2) < dip * here;
      if (highest) peaks.emplace_back(distance, std::atan2(static_cast<double>(dy), static_cast<double>(dx)));
    }
  if (peaks.empty()) return std::nullopt;
  const auto [pitch, direction] = *std::ranges::min_element(peaks);
  constexpr double apart = 0.5;  // radians
  const bool in_two = std::ranges::any_of(peaks, [&, along = direction](const auto& peak) {
    return std::abs(std::sin(peak.second - along)) > std::sin(apart);
  });
  return in_two ? std::optional(pitch) : std::nullopt;
}

}  // namespace eelsvae
