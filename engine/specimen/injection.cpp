#include "engine/specimen/injection.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/specimen/simulation_draws.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

bool is_excluded(const SpectrumImage& image, int64_t pixel) {
  return !image.excluded.empty() && image.excluded[static_cast<size_t>(pixel)] != 0;
}

void check(const SpectrumImage& image, const ShiftInjection& i) {
  const int64_t channels = image.energy.size, width = 2 * i.half_width + 1;
  const bool moves = i.method == ShiftMethod::move_peak;
  if (i.half_width < (moves ? 5 : 1) || i.half_width > channels)
    throw UserError("a window of " + std::to_string(width) + " channels cannot be shifted");
  if (i.shift < 1 || i.shift >= width)
    throw UserError("a shift of " + std::to_string(i.shift) +
                    " channels must be 1 or more and shorter than the " + std::to_string(width) +
                    " channels of the window");
  const int64_t reach = i.half_width + (moves ? i.shift : 0);
  if (i.centre - reach < 0 || i.centre + reach >= channels)
    throw UserError("channels " + std::to_string(i.centre - reach) + " to " +
                    std::to_string(i.centre + reach) +
                    ", where the peak is or is moved to, are not all among the " + std::to_string(channels) +
                    " of the axis");
  if (!(i.anomalies >= 0)) throw UserError("the number of anomalies cannot be negative");
}

void move_peak(float* spectrum, const ShiftInjection& i, int64_t shift) {
  constexpr int64_t end = 5;
  const int64_t first = i.centre - i.half_width, size = 2 * i.half_width + 1;
  double left = 0, right = 0;
  for (int64_t c = 0; c < end; ++c) {
    left += static_cast<double>(spectrum[first + c]) / end;
    right += static_cast<double>(spectrum[first + size - 1 - c]) / end;
  }
  const double middle = 0.5 * (end - 1);
  const double slope = (right - left) / static_cast<double>(size - end);
  std::vector<double> peak(static_cast<size_t>(size));
  for (int64_t c = 0; c < size; ++c) {
    const double line = left + slope * (static_cast<double>(c) - middle);
    peak[static_cast<size_t>(c)] = static_cast<double>(spectrum[first + c]) - line;
    spectrum[first + c] = static_cast<float>(line);
  }
  for (int64_t c = 0; c < size; ++c)
    spectrum[first + shift + c] += static_cast<float>(peak[static_cast<size_t>(c)]);
}

}  // namespace

int64_t strongest_peak(const SpectrumImage& image, const std::array<double, 2>& range_ev) {
  const ChannelWindow window = channels_within(image.energy, range_ev);
  if (window.size() < 1 || excluded_pixels(image.excluded) == image.pixels())
    throw UserError("there is nothing to find a peak in; the axis is " + describe(image.energy));
  std::vector<double> sum(static_cast<size_t>(window.size()));
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    if (is_excluded(image, pixel)) continue;
    const float* spectrum = image.spectrum(pixel) + window.first;
    for (size_t c = 0; c < sum.size(); ++c) sum[c] += static_cast<double>(spectrum[c]);
  }
  return window.first + (std::max_element(sum.begin(), sum.end()) - sum.begin());
}

std::vector<uint8_t> inject_shifts(SpectrumImage& image, const ShiftInjection& i) {
  check(image, i);
  std::vector<std::pair<uint64_t, int64_t>> candidates;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    if (is_excluded(image, pixel)) continue;
    const Philox4 r = draw(i.seed, SimulationDraw::injected_places, pixel);
    candidates.push_back({uint64_t{r.v[0]} << 32 | r.v[1], pixel});
  }
  double wanted = std::round(i.anomalies);
  if (i.anomalies > 0 && i.anomalies < 1)
    wanted = std::max(1.0, std::round(i.anomalies * static_cast<double>(candidates.size())));
  if (wanted > static_cast<double>(candidates.size()))
    throw UserError("there are only " + std::to_string(candidates.size()) + " pixels to make anomalies of");
  std::sort(candidates.begin(), candidates.end());
  candidates.resize(static_cast<size_t>(wanted));

  std::vector<uint8_t> truth(static_cast<size_t>(image.pixels()));
  for (const auto& [key, pixel] : candidates) {
    truth[static_cast<size_t>(pixel)] = 1;
    const bool higher = draw(i.seed, SimulationDraw::injected_signs, pixel).v[0] & 1;
    const int64_t shift = higher ? i.shift : -i.shift;
    if (i.method == ShiftMethod::move_peak) {
      move_peak(image.spectrum(pixel), i, shift);
      continue;
    }
    float* window = image.spectrum(pixel) + i.centre - i.half_width;
    const int64_t size = 2 * i.half_width + 1;
    // std::rotate puts the element at its second argument first; numpy.roll by s that at -s.
    std::rotate(window, window + (higher ? size - i.shift : i.shift), window + size);
  }
  return truth;
}

}  // namespace eelsvae
