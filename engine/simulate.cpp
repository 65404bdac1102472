#include "engine/simulate.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <sstream>
#include <string>
#include <utility>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace eelsvae {
namespace {

constexpr double pi = 3.14159265358979323846;

// What a draw is for; each has its own index space.
enum Purpose : uint64_t {
  noise,
  channel_gain,
  line_brightness,
  thickness_waves,
  drift_phase,
  hot_pixel,
  places,
  signs
};

Philox4 draw(uint64_t seed, Purpose purpose, int64_t index) {
  return philox(seed, RandomStream::simulation, purpose, static_cast<uint64_t>(index));
}

double normal(uint64_t seed, Purpose purpose, int64_t index) {
  Philox4 r = draw(seed, purpose, index);
  return normal_pair(r.v[0], r.v[1]).first;
}

double power_law(double ev, double at, double counts, double exponent) {
  return counts * std::pow(ev / at, -exponent);
}
double continuum(double ev, double onset, double counts) {
  constexpr double width_ev = 1.0;
  return 0.5 * (1 + std::tanh((ev - onset) / width_ev)) * power_law(ev, onset, counts, 3);
}
double peak(double ev, double centre, double counts, double fwhm) {
  const double distance = (ev - centre) / fwhm;
  return counts * std::exp(-4 * std::log(2.0) * distance * distance);
}

// Counts per channel of 0.3 eV.
double film(double ev) {
  const double background = power_law(ev, 430, 75, 2.70);
  const double oxygen = continuum(ev, 534, 12) + peak(ev, 538, 10, 3.5) + peak(ev, 546.5, 8, 8);
  const double iron = continuum(ev, 715, 4) + continuum(ev, 728, 2);
  return background + oxygen + iron;
}
double iron_white_lines(double ev) {
  return peak(ev, 717.5, 26, 3.4) + peak(ev, 730, 10, 4);
}

constexpr double noise_gain = 2.7, readout_noise = 9;  // counts per count; counts rms

void check(const SimulationSettings& s) {
  constexpr int64_t longest = int64_t{1} << 20;
  constexpr double most_values = 1e12;
  const double values =
      static_cast<double>(s.height) * static_cast<double>(s.width) * static_cast<double>(s.channels);
  if (std::min({s.height, s.width, s.channels}) < 1 || std::max({s.height, s.width, s.channels}) > longest ||
      values > most_values)
    throw UserError("an image of " + std::to_string(s.height) + " x " + std::to_string(s.width) + " x " +
                    std::to_string(s.channels) +
                    " cannot be simulated; sizes start at 1, with at most 1e12 values");
  if (!(s.dispersion_ev > 0 && s.dispersion_ev <= 100) ||
      !(s.energy_offset_ev >= 50 && s.energy_offset_ev <= 1e5))
    throw UserError("the energy axis must start at 50 eV or above with a dispersion of up to 100 eV/channel");
  if (!(s.exposure > 0 && s.exposure <= 1e6)) throw UserError("the exposure must lie between 0 and 1e6");
  if (!(s.pixel_size_nm > 0)) throw UserError("the pixel size must be positive");
  if (!(std::abs(s.shift_ev) <= 100)) throw UserError("the shift must lie within 100 eV");
  if (!(s.anomalies >= 0)) throw UserError("the number of anomalies cannot be negative");
  if (!(s.anomaly_radius >= 0) ||
      2 * std::floor(s.anomaly_radius) + 1 > static_cast<double>(std::min(s.height, s.width)))
    throw UserError("anomalies of a radius of " + std::to_string(s.anomaly_radius) +
                    " pixels do not fit into " + std::to_string(s.height) + " x " + std::to_string(s.width));
}

// Truth with the sign of the shift: 0 normal, +1 or -1.
std::vector<int8_t> place_anomalies(const SimulationSettings& s) {
  const auto reach = static_cast<int64_t>(s.anomaly_radius);
  std::vector<std::pair<int64_t, int64_t>> disc;
  for (int64_t dy = -reach; dy <= reach; ++dy)
    for (int64_t dx = -reach; dx <= reach; ++dx)
      if (static_cast<double>(dy * dy + dx * dx) <= s.anomaly_radius * s.anomaly_radius)
        disc.push_back({dy, dx});

  const int64_t pixels = s.height * s.width;
  std::vector<int8_t> signed_truth(static_cast<size_t>(pixels));
  if (s.anomalies == 0) return signed_truth;
  double wanted = std::round(s.anomalies);
  if (s.anomalies < 1)
    wanted = std::max(
        1.0, std::round(s.anomalies * static_cast<double>(pixels) / static_cast<double>(disc.size())));

  // Every pixel is a candidate, in an order of its own draw.
  std::vector<std::pair<uint64_t, int64_t>> candidates(static_cast<size_t>(pixels));
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    Philox4 r = draw(s.seed, places, pixel);
    candidates[static_cast<size_t>(pixel)] = {uint64_t{r.v[0]} << 32 | r.v[1], pixel};
  }
  std::sort(candidates.begin(), candidates.end());

  double placed = 0;
  for (const auto& [key, pixel] : candidates) {
    if (placed == wanted) break;
    const int64_t y = pixel / s.width, x = pixel % s.width;
    if (y < reach || x < reach || y + reach >= s.height || x + reach >= s.width) continue;
    auto at = [&, y = y, x = x](std::pair<int64_t, int64_t> offset) -> int8_t& {
      return signed_truth[static_cast<size_t>((y + offset.first) * s.width + x + offset.second)];
    };
    if (std::any_of(disc.begin(), disc.end(), [&](auto offset) { return at(offset) != 0; })) continue;
    const int8_t sign = draw(s.seed, signs, static_cast<int64_t>(placed)).v[0] & 1 ? 1 : -1;
    for (auto offset : disc) at(offset) = sign;
    ++placed;
  }
  if (placed < wanted) {
    char text[160];
    std::snprintf(text, sizeof text, "only %.0f of %.0f anomalies of radius %g fit into %lld x %lld pixels",
                  static_cast<double>(placed), wanted, s.anomaly_radius, static_cast<long long>(s.height),
                  static_cast<long long>(s.width));
    throw UserError(text);
  }
  return signed_truth;
}

// 1 + a few slow waves over the image, in random directions.
std::vector<double> thickness(const SimulationSettings& s) {
  constexpr std::array<double, 3> amplitudes = {0.04, 0.025, 0.015};
  std::vector<double> map(static_cast<size_t>(s.height * s.width), 1.0);
  for (size_t wave = 0; wave < amplitudes.size(); ++wave) {
    Philox4 r = draw(s.seed, thickness_waves, static_cast<int64_t>(wave));
    // Up to one and a half periods across the image.
    const double along_y = 3 * uniform(r.v[0]) - 1.5, along_x = 3 * uniform(r.v[1]) - 1.5;
    const double phase = uniform(r.v[2]);
    for (int64_t y = 0; y < s.height; ++y)
      for (int64_t x = 0; x < s.width; ++x)
        map[static_cast<size_t>(y * s.width + x)] +=
            amplitudes[wave] *
            std::cos(2 * pi *
                     (along_y * static_cast<double>(y) / static_cast<double>(s.height) +
                      along_x * static_cast<double>(x) / static_cast<double>(s.width) + phase));
  }
  return map;
}

std::string describe(const SimulationSettings& s, int64_t anomalous_pixels) {
  std::ostringstream json;
  json.precision(17);
  json << "{\"simulation\": {\"preset\": \"bfo\", \"seed\": " << s.seed << ", \"anomaly\": \"Fe L2,3 shift\""
       << ", \"shift_ev\": " << s.shift_ev << ", \"anomaly_radius\": " << s.anomaly_radius
       << ", \"anomalous_pixels\": " << anomalous_pixels << ", \"exposure\": " << s.exposure
       << ", \"noise_gain\": " << noise_gain << ", \"readout_noise_counts\": " << readout_noise << "}}";
  return json.str();
}

}  // namespace

SimulatedImage simulate(const SimulationSettings& s) {
  check(s);
  SimulatedImage result;
  SpectrumImage& image = result.image;
  image.title = "Simulated BiFeO3 film";
  image.y = {"y", "nm", 0, s.pixel_size_nm, s.height};
  image.x = {"x", "nm", 0, s.pixel_size_nm, s.width};
  image.energy = {"Energy loss", "eV", s.energy_offset_ev, s.dispersion_ev, s.channels};

  const std::vector<int8_t> shift_signs = place_anomalies(s);
  result.truth.resize(shift_signs.size());
  std::transform(shift_signs.begin(), shift_signs.end(), result.truth.begin(),
                 [](int8_t sign) { return static_cast<uint8_t>(sign != 0); });
  image.metadata = describe(s, std::accumulate(result.truth.begin(), result.truth.end(), int64_t{0}));

  const auto channels = static_cast<size_t>(s.channels);
  std::vector<double> response(channels);
  for (size_t c = 0; c < channels; ++c)
    response[c] = s.exposure * (s.dispersion_ev / 0.3) *
                  (1 + 0.01 * normal(s.seed, channel_gain, static_cast<int64_t>(c)));
  const std::vector<double> brightness = thickness(s);
  const int64_t hot = static_cast<int64_t>(uniform(draw(s.seed, hot_pixel, 0).v[0]) *
                                           static_cast<double>(s.height * s.width));
  const double first_drift_phase = uniform(draw(s.seed, drift_phase, 0).v[0]);

  image.counts.resize(static_cast<size_t>(s.height * s.width) * channels);
  // The drift is a line's own, so a line's noiseless spectrum is computed once for each shift: -1, 0, +1.
  std::vector<double> scratch(static_cast<size_t>(omp_get_max_threads()) * 3 * channels);
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < s.height; ++y) {
    const double progress = static_cast<double>(y) / static_cast<double>(s.height);
    const double drift_ev = 0.1 * std::sin(2 * pi * (0.7 * progress + first_drift_phase));
    const double line = 1 + 0.015 * normal(s.seed, line_brightness, y);
    double* spectra = scratch.data() + static_cast<size_t>(omp_get_thread_num()) * 3 * channels;
    for (int sign = -1; sign <= 1; ++sign)
      for (size_t c = 0; c < channels; ++c) {
        const double ev = image.energy.value(static_cast<double>(c)) - drift_ev;
        spectra[static_cast<size_t>(sign + 1) * channels + c] =
            line * response[c] * (film(ev) + iron_white_lines(ev - sign * s.shift_ev));
      }
    for (int64_t x = 0; x < s.width; ++x) {
      const int64_t pixel = y * s.width + x;
      const double* expected =
          spectra + static_cast<size_t>(shift_signs[static_cast<size_t>(pixel)] + 1) * channels;
      const double factor = brightness[static_cast<size_t>(pixel)] * (pixel == hot ? 2 : 1);
      float* counts = image.spectrum(pixel);
      const int64_t draws = (s.channels + 3) / 4;  // a draw gives four normal numbers
      for (int64_t d = 0; d < draws; ++d) {
        Philox4 r = draw(s.seed, noise, pixel * draws + d);
        const NormalPair a = normal_pair(r.v[0], r.v[1]), b = normal_pair(r.v[2], r.v[3]);
        const std::array<double, 4> normals = {a.first, a.second, b.first, b.second};
        for (int64_t c = 4 * d; c < std::min(4 * d + 4, s.channels); ++c) {
          const double mean = factor * expected[c];
          const double deviation = std::sqrt(noise_gain * mean + readout_noise * readout_noise);
          counts[c] = static_cast<float>(mean + deviation * normals[static_cast<size_t>(c - 4 * d)]);
        }
      }
    }
  }
  return result;
}

}  // namespace eelsvae
