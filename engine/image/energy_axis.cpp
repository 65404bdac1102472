#include "engine/image/energy_axis.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/short_number.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

std::string describe(const std::array<double, 2>& range) {
  return short_number(range[0]) + " to " + short_number(range[1]) + " eV";
}

}  // namespace

std::string describe(const Axis& energy) {
  std::string units = energy.units.empty() ? "" : " " + energy.units;
  return short_number(energy.value(0)) + " to " +
         short_number(energy.value(static_cast<double>(energy.size - 1))) + units + " (" +
         std::to_string(energy.size) + " channels of " + short_number(energy.scale) + units + ")";
}

ChannelWindow channels_within(const Axis& energy, const std::array<double, 2>& range_ev) {
  if (!(energy.scale > 0) || !std::isfinite(energy.scale) || !std::isfinite(energy.offset))
    throw UserError("the energy axis starts at " + short_number(energy.offset) + " with a dispersion of " +
                    short_number(energy.scale) + "; a positive dispersion is needed");
  if (!(range_ev[0] < range_ev[1]))
    throw UserError("energy range " + describe(range_ev) + " is not ascending");
  constexpr double tolerance = 1e-3;  // channels
  double size = static_cast<double>(energy.size);
  double first = std::ceil(energy.index(range_ev[0]) - tolerance);
  double last = std::floor(energy.index(range_ev[1]) + tolerance) + 1;
  ChannelWindow window{static_cast<int64_t>(std::clamp(first, 0.0, size)),
                       static_cast<int64_t>(std::clamp(last, 0.0, size))};
  window.last = std::max(window.first, window.last);
  return window;
}

ChannelWindow channel_window(const Axis& energy, const std::array<double, 2>& range_ev) {
  ChannelWindow window = channels_within(energy, range_ev);
  if (!(energy.index(range_ev[0]) >= -0.5) ||
      !(energy.index(range_ev[1]) <= static_cast<double>(energy.size) - 0.5))
    throw UserError("window " + describe(range_ev) + " reaches past the energy axis, " + describe(energy));
  if (window.size() < 3)
    throw UserError("window " + describe(range_ev) + " holds " + std::to_string(window.size()) +
                    " channels; at least 3 are needed on the axis " + describe(energy));
  return window;
}

void crop_energy(SpectrumImage& image, ChannelWindow window) {
  expect(0 <= window.first && window.first < window.last && window.last <= image.energy.size,
         "crop outside the energy axis");
  int64_t kept = window.size();
  if (kept == image.energy.size) return;
  float* counts = image.counts.data();
  // Forward, each spectrum moves to where earlier ones have already left.
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    std::memmove(counts + pixel * kept, image.spectrum(pixel) + window.first,
                 static_cast<size_t>(kept) * sizeof(float));
  image.counts.resize(static_cast<size_t>(image.pixels() * kept));
  image.energy.offset = image.energy.value(static_cast<double>(window.first));
  image.energy.size = kept;
}

ChannelWindow channels_of_model(const Axis& axis, const Axis& model_energy) {
  constexpr double tolerance = 0.1;  // channels
  double channels = static_cast<double>(model_energy.size);
  double first = axis.index(model_energy.value(0));
  double last = axis.index(model_energy.value(channels - 1));
  double start = std::round(first);
  bool matches = std::abs(first - start) <= tolerance &&
                 std::abs(last - (start + channels - 1)) <= tolerance && start >= 0 &&
                 start + channels <= static_cast<double>(axis.size);
  if (!matches)
    throw UserError("the image's energy axis, " + describe(axis) + ", does not hold the model's, " +
                    describe(model_energy));
  auto begin = static_cast<int64_t>(start);
  return {begin, begin + model_energy.size};
}

}  // namespace eelsvae
