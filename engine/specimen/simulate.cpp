#include "engine/specimen/simulate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>
#include <utility>

#include "engine/image/energy_axis.h"
#include "engine/specimen/simulation_draws.h"
#include "engine/specimen/specimen_spectra.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr double pi = 3.14159265358979323846;
constexpr double noise_gain = 2.7, readout_noise = 9;  // counts per count; counts rms
constexpr double vacuum_counts = 0.01;                 // of the specimen's

double pixel_nm(const SimulationSettings& s) {
  return s.pixel_size_nm.value_or(preset_pixel_nm(s.preset));
}

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
  if (!(s.correlation >= 0 && s.correlation <= 0.5))
    throw UserError("the noise of neighbouring channels can be correlated by 0 to 0.5");
  if (!(s.vacuum >= 0 && s.vacuum < 1 && s.unscanned >= 0 && s.unscanned < 1))
    throw UserError("the shares of vacuum and of unscanned rows must be 0 or more and below 1");
  if (!(pixel_nm(s) > 0)) throw UserError("the pixel size must be positive");
  if (!(std::abs(s.shift_ev) <= 100)) throw UserError("the shift must lie within 100 eV");
  if (!(s.anomalies >= 0)) throw UserError("the number of anomalies cannot be negative");
  if (!(s.anomaly_radius >= 0) ||
      2 * std::floor(s.anomaly_radius) + 1 > static_cast<double>(std::min(s.height, s.width)))
    throw UserError("anomalies of a radius of " + std::to_string(s.anomaly_radius) +
                    " pixels do not fit into " + std::to_string(s.height) + " x " + std::to_string(s.width));
  if (s.defects.size() > 255) throw UserError("there can be at most 255 kinds of defects in an image");
  for (const Defect& defect : s.defects) check_defect(defect);
}

std::vector<Defect> defects_of(const SimulationSettings& s) {
  if (!s.defects.empty()) return s.defects;
  return {{DefectKind::fe_shift, s.shift_ev, DefectShape::disc, s.anomaly_radius, std::nullopt}};
}

// A truth that the image cannot show is a mistake.
void check_visible(const SimulationSettings& s, const ExpectedSpectra& spectra, const Axis& energy) {
  for (size_t k = 0; k < s.defects.size(); ++k) {
    const DefectKind kind = s.defects[k].kind;
    const bool everywhere = kind == DefectKind::intensity || kind == DefectKind::background ||
                            kind == DefectKind::scattering || kind == DefectKind::cosmic ||
                            kind == DefectKind::extra_noise || changes_columns(kind);
    if (!everywhere && spectra.visible_share(k) < 0.01)
      throw UserError("defect " + defect_name(s.defects[k]) + " has no effect on the axis, " +
                      describe(energy) + "; choose another range or defect");
  }
}

// 1 + a few slow waves over the image, in random directions.
std::vector<double> thickness(const SimulationSettings& s) {
  constexpr std::array<double, 3> amplitudes = {0.04, 0.025, 0.015};
  std::vector<double> map(static_cast<size_t>(s.height * s.width), 1.0);
  for (size_t wave = 0; wave < amplitudes.size(); ++wave) {
    Philox4 r = draw(s.seed, SimulationDraw::thickness_waves, static_cast<int64_t>(wave));
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

std::string describe(const SimulationSettings& s, const SpecimenParameters& p,
                     const std::vector<Defect>& defects, const std::vector<uint8_t>& labels) {
  std::ostringstream json;
  json.precision(17);
  json << "{\"simulation\": {\"preset\": \"" << preset_name(s.preset) << "\", \"seed\": " << s.seed
       << ", \"noise_seed\": " << s.noise_seed.value_or(s.seed)
       << ", \"noise\": " << (s.noise ? "true" : "false") << ", \"exposure\": " << s.exposure
       << ", \"correlation\": " << s.correlation << ", \"vacuum\": " << s.vacuum
       << ", \"unscanned\": " << s.unscanned << ", \"noise_gain\": " << noise_gain
       << ", \"readout_noise_counts\": " << readout_noise;
  if (p.interface)
    json << ", \"interface_angle_deg\": " << p.interface_angle_deg
         << ", \"interface_position\": " << p.interface_position
         << ", \"interface_width_nm\": " << p.interface_width_nm;
  if (p.grain_nm > 0)
    json << ", \"grain_nm\": " << p.grain_nm << ", \"interface_width_nm\": " << p.interface_width_nm;
  if (p.lattice.axis != ZoneAxis::none)
    json << ", \"zone_axis\": \"" << (p.lattice.axis == ZoneAxis::axis_001 ? "001" : "110")
         << "\", \"lattice_constant_nm\": " << p.lattice.constant_nm
         << ", \"lattice_rotation_deg\": " << p.lattice.rotation_deg
         << ", \"probe_nm\": " << p.lattice.probe_nm << ", \"channelled\": " << p.lattice.channelled
         << ", \"distortion_nm\": " << p.lattice.distortion_nm << ", \"jitter_nm\": " << p.lattice.jitter_nm;
  json << ", \"manganese\": [" << p.manganese[0] << ", " << p.manganese[1]
       << "], \"manganese_direction_deg\": " << p.manganese_direction_deg << ", \"drift_ev\": " << p.drift_ev
       << ", \"thickness_mean_free_paths\": [" << p.thickness[0] << ", " << p.thickness[1]
       << "], \"thickness_direction_deg\": " << p.thickness_direction_deg << ", \"damage\": " << p.damage
       << ", \"anomalous_pixels\": "
       << std::count_if(labels.begin(), labels.end(), [](uint8_t label) { return label != 0; })
       << ", \"defects\": [";
  for (size_t k = 0; k < defects.size(); ++k) {
    const Defect& d = defects[k];
    json << (k ? ", " : "") << "{\"label\": " << k + 1 << ", \"kind\": \"" << kind_name(d.kind)
         << "\", \"strength\": " << d.strength << ", \"unit\": \"" << strength_unit(d.kind)
         << "\", \"shape\": \"" << shape_name(d.shape) << "\", \"radius\": " << d.radius
         << ", \"pixels\": " << std::count(labels.begin(), labels.end(), static_cast<uint8_t>(k + 1)) << "}";
  }
  json << "]}}";
  return json.str();
}

double noise_variance(double mean) {
  return noise_gain * mean + readout_noise * readout_noise;
}

// What lies between a specimen's spectra and the counts of a scan, but for noise.
struct ScanCounts {
  explicit ScanCounts(const SimulationSettings& s)
      : width(s.width),
        channels(static_cast<size_t>(s.channels)),
        specimen_width(s.width - std::llround(s.vacuum * static_cast<double>(s.width))),
        scanned_height(s.height - std::llround(s.unscanned * static_cast<double>(s.height))),
        hot_pixel(static_cast<int64_t>(uniform(draw(s.seed, SimulationDraw::hot_pixel, 0).v[0]) *
                                       static_cast<double>(s.height * s.width))),
        own(std::sqrt((1 + std::sqrt(1 - 4 * s.correlation * s.correlation)) / 2)),
        neighbours(s.correlation / own),
        brightness_(thickness(s)) {
    for (size_t c = 0; c < channels; ++c)
      response_.push_back(
          s.exposure * (s.dispersion_ev / 0.3) *
          (1 + 0.01 * normal_draw(s.seed, SimulationDraw::channel_gain, static_cast<int64_t>(c))));
    for (int64_t y = 0; y < s.height; ++y)
      lines_.push_back(1 + 0.015 * normal_draw(s.seed, SimulationDraw::line_brightness, y));
  }

  bool is_vacuum(int64_t pixel) const { return pixel % width >= specimen_width; }
  bool is_scanned(int64_t pixel) const { return pixel / width < scanned_height; }
  // From the specimen's spectrum (E) to the counts that are expected of the pixel.
  void apply(int64_t pixel, double* spectrum) const {
    const double factor = brightness_[static_cast<size_t>(pixel)] * (pixel == hot_pixel ? 2 : 1) *
                          (is_vacuum(pixel) ? vacuum_counts : 1);
    for (size_t c = 0; c < channels; ++c)
      spectrum[c] = factor * (lines_[static_cast<size_t>(pixel / width)] * response_[c] * spectrum[c]);
  }

  int64_t width;
  size_t channels;
  int64_t specimen_width, scanned_height, hot_pixel;
  // A channel's noise is a sum of its own and its neighbour's: own^2 + neighbours^2 = 1, and their product is
  // the correlation.
  double own, neighbours;

 private:
  std::vector<double> brightness_, lines_, response_;
};

// r' C^-1 r of noise whose neighbours, in a ring of channels, correlate: by conjugate gradients, C being 1 on
// its diagonal and the correlation beside it.
double mahalanobis(const std::vector<double>& r, double correlation) {
  if (correlation == 0) return std::inner_product(r.begin(), r.end(), r.begin(), 0.0);
  const size_t n = r.size();
  std::vector<double> solution(n), rest = r, direction = r, product(n);
  double size = std::inner_product(rest.begin(), rest.end(), rest.begin(), 0.0);
  const double enough = 1e-12 * size;
  for (size_t i = 0; i < 4 * n && size > enough; ++i) {
    for (size_t c = 0; c < n; ++c)
      product[c] = direction[c] + correlation * (direction[(c + n - 1) % n] + direction[(c + 1) % n]);
    const double step = size / std::inner_product(direction.begin(), direction.end(), product.begin(), 0.0);
    for (size_t c = 0; c < n; ++c) {
      solution[c] += step * direction[c];
      rest[c] -= step * product[c];
    }
    const double before = size;
    size = std::inner_product(rest.begin(), rest.end(), rest.begin(), 0.0);
    for (size_t c = 0; c < n; ++c) direction[c] = rest[c] + size / before * direction[c];
  }
  return std::inner_product(r.begin(), r.end(), solution.begin(), 0.0);
}

// Twice the logarithm of a spectrum's likelihood, but for a constant. variance: a factor on the noise's.
double likelihood(const float* counts, const std::vector<double>& mean, double variance, double correlation) {
  std::vector<double> residual(mean.size());
  double logarithms = 0;
  for (size_t c = 0; c < mean.size(); ++c) {
    const double of_channel = variance * noise_variance(mean[c]);
    residual[c] = (static_cast<double>(counts[c]) - mean[c]) / std::sqrt(of_channel);
    logarithms += std::log(of_channel);
  }
  return -mahalanobis(residual, correlation) - logarithms;
}

// The logarithm of the mean over all channels of a cosmic ray's likelihood ratio.
double cosmic_ratio(const float* counts, const std::vector<double>& mean, double strength) {
  std::vector<double> ratios;
  for (size_t c = 0; c < mean.size(); ++c)
    ratios.push_back(strength * (static_cast<double>(counts[c]) - mean[c] - strength / 2) /
                     noise_variance(mean[c]));
  const double most = *std::ranges::max_element(ratios);
  double sum = 0;
  for (double ratio : ratios) sum += std::exp(ratio - most);
  return most + std::log(sum / static_cast<double>(ratios.size()));
}

// The counts of a cosmic ray do not depend on the exposure: a channel, and every other time its neighbour,
// too.
void add_cosmic_ray(float* counts, int64_t channels, double strength, const Philox4& r) {
  const auto channel = static_cast<int64_t>(uniform(r.v[0]) * static_cast<double>(channels));
  counts[channel] += static_cast<float>(strength);
  if (r.v[1] & 1 && channel + 1 < channels)
    counts[channel + 1] += static_cast<float>(uniform(r.v[2]) * strength);
}

}  // namespace

SimulationSettings without_defects(SimulationSettings settings) {
  settings.defects.clear();
  settings.anomalies = 0;
  return settings;
}

SimulatedImage simulate(const SimulationSettings& s) {
  check(s);
  SimulatedImage result;
  SpectrumImage& image = result.image;
  image.title = s.preset == Preset::bfo ? "Simulated BiFeO3 film"
                                        : "Simulated BiFeO3 film (" + preset_name(s.preset) + ")";
  image.y = {"y", "nm", 0, pixel_nm(s), s.height};
  image.x = {"x", "nm", 0, pixel_nm(s), s.width};
  image.energy = {"Energy loss", "eV", s.energy_offset_ev, s.dispersion_ev, s.channels};

  const SpecimenParameters parameters = s.specimen.value_or(preset_parameters(s.preset));
  Specimen specimen = make_specimen(parameters, s.height, s.width, pixel_nm(s), s.seed);
  const std::vector<Defect> defects = defects_of(s);
  DefectPlaces places = place_defects(defects, s.anomalies, specimen, s.seed);
  if (!places.materials.empty()) specimen.materials = std::move(places.materials);
  const ScanCounts scan(s);
  for (int64_t pixel = 0; pixel < s.height * s.width; ++pixel)
    if (scan.is_vacuum(pixel) || !scan.is_scanned(pixel)) places.labels[static_cast<size_t>(pixel)] = 0;
  result.labels = places.labels;
  result.faint = places.faint;
  result.truth.resize(places.labels.size());
  std::transform(places.labels.begin(), places.labels.end(), result.truth.begin(),
                 [](uint8_t label) { return static_cast<uint8_t>(label != 0); });
  std::transform(defects.begin(), defects.end(), std::back_inserter(result.defect_names), defect_name);
  image.metadata = describe(s, parameters, defects, places.labels);
  const ExpectedSpectra spectra(image.energy, specimen, defects, places);
  check_visible(s, spectra, image.energy);

  const auto channels = static_cast<size_t>(s.channels);
  result.hot_pixel = scan.hot_pixel;
  const uint64_t noise_seed = s.noise_seed.value_or(s.seed);

  image.counts.resize(static_cast<size_t>(s.height * s.width) * channels);
  std::fill(image.counts.begin() + scan.scanned_height * s.width * s.channels, image.counts.end(), 0.0f);
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < s.height; ++y) {
    ExpectedSpectra::Line line_spectra(spectra, y);
    std::vector<double> expected(channels), normals(channels + 3);
    for (int64_t x = 0; x < s.width; ++x) {
      const int64_t pixel = y * s.width + x;
      if (!scan.is_scanned(pixel)) continue;
      line_spectra.spectrum(x, expected.data());
      scan.apply(pixel, expected.data());
      const int label = places.labels[static_cast<size_t>(pixel)];
      const Defect* defect = label > 0 ? &defects[static_cast<size_t>(label - 1)] : nullptr;
      double noise_factor = s.noise ? 1 : 0;  // of its variance
      if (defect && defect->kind == DefectKind::extra_noise) noise_factor *= 1 + defect->strength;
      float* counts = image.spectrum(pixel);
      const int64_t draws = (s.channels + 3) / 4;  // a draw gives four normal numbers
      for (int64_t d = 0; d < draws; ++d) {
        Philox4 r = draw(noise_seed, SimulationDraw::noise, pixel * draws + d);
        const NormalPair a = normal_pair(r.v[0], r.v[1]), b = normal_pair(r.v[2], r.v[3]);
        const std::array<double, 4> four = {a.first, a.second, b.first, b.second};
        std::copy(four.begin(), four.end(), normals.begin() + 4 * d);
      }
      for (int64_t c = 0; c < s.channels; ++c) {
        const double mean = expected[static_cast<size_t>(c)];
        const double deviation = std::sqrt(noise_factor * noise_variance(mean));
        const double before = normals[static_cast<size_t>(c > 0 ? c - 1 : s.channels - 1)];
        counts[c] = static_cast<float>(
            mean + deviation * (scan.own * normals[static_cast<size_t>(c)] + scan.neighbours * before));
      }
      if (defect && defect->kind == DefectKind::cosmic)
        add_cosmic_ray(counts, s.channels, defect->strength, draw(s.seed, SimulationDraw::cosmic_ray, pixel));
    }
  }
  return result;
}

std::vector<float> known_defect_scores(const SimulationSettings& s, const SpectrumImage& recorded) {
  expect(s.defects.size() == 1 && !changes_columns(s.defects.front().kind) && recorded.y.size == s.height &&
             recorded.x.size == s.width && recorded.energy.size == s.channels,
         "one defect, and the image of the settings");
  const Defect& defect = s.defects.front();
  const Specimen specimen =
      make_specimen(s.specimen.value_or(preset_parameters(s.preset)), s.height, s.width, pixel_nm(s), s.seed);
  const auto pixels = static_cast<size_t>(s.height * s.width);
  const DefectPlaces nowhere{std::vector<uint8_t>(pixels), std::vector<int8_t>(pixels)};
  const DefectPlaces more{std::vector<uint8_t>(pixels, 1), std::vector<int8_t>(pixels, 1)};
  const DefectPlaces less{std::vector<uint8_t>(pixels, 1), std::vector<int8_t>(pixels, -1)};
  const ExpectedSpectra normal(recorded.energy, specimen, s.defects, nowhere),
      raised(recorded.energy, specimen, s.defects, more), lowered(recorded.energy, specimen, s.defects, less);
  const ScanCounts scan(s);
  const double variance = defect.kind == DefectKind::extra_noise ? 1 + defect.strength : 1;
  std::vector<float> scores(pixels);
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < scan.scanned_height; ++y) {
    ExpectedSpectra::Line of_normal(normal, y), of_raised(raised, y), of_lowered(lowered, y);
    std::vector<double> mean(static_cast<size_t>(s.channels)), changed(mean.size());
    for (int64_t x = 0; x < s.width; ++x) {
      const int64_t pixel = y * s.width + x;
      const float* counts = recorded.spectrum(pixel);
      of_normal.spectrum(x, mean.data());
      scan.apply(pixel, mean.data());
      double ratio = 0;
      if (defect.kind == DefectKind::cosmic) {
        ratio = cosmic_ratio(counts, mean, defect.strength);
      } else {
        double best = -std::numeric_limits<double>::infinity(), other = best;
        for (ExpectedSpectra::Line* line : {&of_raised, &of_lowered}) {
          line->spectrum(x, changed.data());
          scan.apply(pixel, changed.data());
          other = 0.5 * likelihood(counts, changed, variance, s.correlation);
          if (other > best) std::swap(best, other);
        }
        ratio = best + std::log((1 + std::exp(other - best)) / 2) -
                0.5 * likelihood(counts, mean, 1, s.correlation);
      }
      scores[static_cast<size_t>(pixel)] = static_cast<float>(ratio);
    }
  }
  return scores;
}

}  // namespace eelsvae
