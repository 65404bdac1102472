#include "engine/prepare/alignment.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>

#include "engine/image/energy_axis.h"
#include "engine/prepare/resampling.h"
#include "engine/short_number.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr double clear_signal = 5;  // times its noise

std::string window_text(const PreprocessConfig& config) {
  return "preprocess.align_window, " + short_number((*config.align_window)[0]) + " to " +
         short_number((*config.align_window)[1]) + " eV,";
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

// The spectra that are measured: those of the pixels, or the mean spectrum of each scan line.
class Spectra {
 public:
  Spectra(const SpectrumImage& image, AlignBy by) : image_(image), by_(by) {
    if (by == AlignBy::pixel) return;
    const int64_t channels = image.energy.size;
    means_.resize(static_cast<size_t>(image.y.size * channels));
#pragma omp parallel
    {
      std::vector<double> sum(static_cast<size_t>(channels));
#pragma omp for schedule(static)
      for (int64_t y = 0; y < image.y.size; ++y) {
        std::fill(sum.begin(), sum.end(), 0.0);
        for (int64_t x = 0; x < image.x.size; ++x) {
          const float* spectrum = image.spectrum(y * image.x.size + x);
#pragma omp simd
          for (int64_t e = 0; e < channels; ++e)
            sum[static_cast<size_t>(e)] += static_cast<double>(spectrum[e]);
        }
        for (int64_t e = 0; e < channels; ++e)
          means_[static_cast<size_t>(y * channels + e)] =
              static_cast<float>(sum[static_cast<size_t>(e)] / static_cast<double>(image.x.size));
      }
    }
  }

  int64_t count() const {
    return by_ == AlignBy::pixel ? image_.pixels() : image_.y.size;
  }
  int64_t channels() const {
    return image_.energy.size;
  }
  const float* spectrum(int64_t i) const {
    return by_ == AlignBy::pixel ? image_.spectrum(i) : means_.data() + i * channels();
  }
  // One value for each of these spectra as one for each pixel.
  std::vector<double> for_pixels(const std::vector<double>& values) const {
    if (by_ == AlignBy::pixel) return values;
    std::vector<double> all;
    for (double value : values) all.insert(all.end(), static_cast<size_t>(image_.x.size), value);
    return all;
  }

 private:
  const SpectrumImage& image_;
  AlignBy by_;
  std::vector<float> means_;
};

// ---- the zero-loss peak ----

ChannelWindow zero_loss_window(const Axis& axis, const PreprocessConfig& config) {
  if (!config.align_window && !(axis.value(0) <= 0 && axis.value(static_cast<double>(axis.size - 1)) >= 0))
    throw UserError("preprocess.align=zero_loss needs 0 eV on the energy axis, which is " + describe(axis) +
                    "; give the low-loss image of the same scan as preprocess.align_path, or say with "
                    "preprocess.align_window where the peak is");
  const ChannelWindow window =
      config.align_window ? channels_within(axis, *config.align_window) : ChannelWindow{0, axis.size};
  if (window.size() < 3)
    throw UserError((config.align_window ? window_text(config) : "preprocess.align=zero_loss") + " has " +
                    std::to_string(window.size()) + " channels of the energy axis, " + describe(axis) +
                    "; at least 3 are needed");
  return window;
}

// The highest channel after smoothing over three, if it stands out and does not touch the window's ends.
std::optional<int64_t> highest(const float* s, int64_t channels, ChannelWindow window,
                               std::vector<float>& scratch) {
  const int64_t first = std::max<int64_t>(window.first, 1), last = std::min(window.last, channels - 1);
  int64_t best = first;
  float height = -INFINITY;
  for (int64_t e = first; e < last; ++e) {
    const float sum = s[e - 1] + s[e] + s[e + 1];
    if (sum > height) {
      height = sum;
      best = e;
    }
  }
  if (best == window.first || best + 1 == window.last) return std::nullopt;
  auto middle_of = [&] {
    const auto middle = scratch.begin() + static_cast<std::ptrdiff_t>(scratch.size() / 2);
    std::nth_element(scratch.begin(), middle, scratch.end());
    return static_cast<double>(*middle);
  };
  scratch.assign(s, s + channels);
  const double base = middle_of();
  scratch.clear();
  for (int64_t e = 1; e + 1 < channels; ++e) scratch.push_back(std::abs(s[e - 1] - 2 * s[e] + s[e + 1]));
  // The median of |s[e-1] - 2 s[e] + s[e+1]| over white noise is 0.6745 sqrt(6) of its standard deviation.
  const double noise = middle_of() / (0.6745 * std::sqrt(6.0));
  const double above = static_cast<double>(height) / 3 - base;
  if (!(above > 0) || above < clear_signal * noise) return std::nullopt;
  return best;
}

// Standard deviation, in channels, of the Gaussian as wide at half its height as the mean of the peaks, each
// moved by whole channels onto the others.
double peak_width(const Spectra& spectra, const std::vector<std::optional<int64_t>>& tops) {
  constexpr int64_t side = 256;
  std::vector<double> mean(2 * side + 1);
  for (int64_t i = 0; i < spectra.count(); ++i) {
    const auto& top = tops[static_cast<size_t>(i)];
    if (!top) continue;
    const float* s = spectra.spectrum(i);
    for (int64_t k = std::max(-side, -*top); k <= std::min(side, spectra.channels() - 1 - *top); ++k)
      mean[static_cast<size_t>(k + side)] += static_cast<double>(s[*top + k]);
  }
  const double half = 0.5 * mean[side];
  auto distance = [&](int64_t step) {
    for (int64_t k = step; std::abs(k) <= side; k += step) {
      const double here = mean[static_cast<size_t>(side + k)],
                   before = mean[static_cast<size_t>(side + k - step)];
      if (here <= half) return static_cast<double>(std::abs(k)) - 1 + (before - half) / (before - here);
    }
    return static_cast<double>(side);
  };
  const double full_width = distance(1) + distance(-1);
  // At least 0.8 channels, below which a sampled Gaussian's centre of mass depends on where its channels lie.
  return std::max(0.8, full_width / (2 * std::sqrt(2 * std::log(2.0))));
}

// Centre of mass under a Gaussian that is moved onto it. Where both are Gaussians of the same width, the
// centre of mass lies half-way to the peak's centre; hence the factor 2.
std::optional<double> refined_peak(const float* s, int64_t channels, int64_t top, double width) {
  double x = static_cast<double>(top);
  for (int step = 0; step < 100; ++step) {
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(x - 4 * width)));
    const int64_t last = std::min(channels - 1, static_cast<int64_t>(std::floor(x + 4 * width)));
    double mass = 0, moment = 0;
    for (int64_t e = first; e <= last; ++e) {
      const double distance = static_cast<double>(e) - x, scaled = distance / width;
      const double weighted = std::exp(-0.5 * scaled * scaled) * static_cast<double>(s[e]);
      mass += weighted;
      moment += weighted * distance;
    }
    if (!(mass > 0)) return std::nullopt;
    const double moved = 2 * moment / mass;
    x += moved;
    if (!(std::abs(x - static_cast<double>(top)) <= 3 * width + 2)) return std::nullopt;
    if (std::abs(moved) < 1e-5) return x;
  }
  return std::nullopt;
}

EnergyShifts zero_loss_shifts(const SpectrumImage& image, const PreprocessConfig& config,
                              const AlignmentReference* fitted) {
  const ChannelWindow window = zero_loss_window(image.energy, config);
  const Spectra spectra(image, config.align_by);
  const int64_t channels = spectra.channels();
  std::vector<std::optional<int64_t>> tops(static_cast<size_t>(spectra.count()));
#pragma omp parallel
  {
    std::vector<float> scratch;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < spectra.count(); ++i)
      tops[static_cast<size_t>(i)] = highest(spectra.spectrum(i), channels, window, scratch);
  }
  const double width = peak_width(spectra, tops);
  std::vector<double> positions(tops.size(), NAN);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < spectra.count(); ++i) {
    const auto& top = tops[static_cast<size_t>(i)];
    if (!top) continue;
    if (auto found = refined_peak(spectra.spectrum(i), channels, *top, width))
      positions[static_cast<size_t>(i)] = image.energy.value(*found);
  }
  std::vector<double> clear;
  for (double position : positions)
    if (!std::isnan(position)) clear.push_back(position);
  if (clear.empty())
    throw UserError("preprocess.align=zero_loss finds no peak " +
                    (config.align_window ? "in " + window_text(config) : "on the energy axis,") +
                    " in any of " + std::to_string(spectra.count()) +
                    " spectra; check the image and preprocess.align_window");
  EnergyShifts shifts;
  const double middle = median(clear);
  shifts.reference.energy_ev = fitted ? fitted->energy_ev : middle;
  for (double& position : positions)
    position = shifts.reference.energy_ev - (std::isnan(position) ? middle : position);
  shifts.ev = spectra.for_pixels(positions);
  shifts.spectra = spectra.count();
  shifts.unclear = shifts.spectra - std::ssize(clear);
  return shifts;
}

// ---- a feature ----

constexpr int64_t steps_per_channel = 8;

// Takes the straight line that fits best off values[0 ... size).
void take_line_off(double* values, int64_t size) {
  const double centre = 0.5 * static_cast<double>(size - 1), n = static_cast<double>(size);
  double sum = 0, moment = 0;
  for (int64_t i = 0; i < size; ++i) {
    sum += values[i];
    moment += values[i] * (static_cast<double>(i) - centre);
  }
  const double mean = sum / n, slope = size > 1 ? moment / (n * (n * n - 1) / 12) : 0;
  for (int64_t i = 0; i < size; ++i) values[i] -= mean + slope * (static_cast<double>(i) - centre);
}

double norm(const double* values, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += values[i] * values[i];
  return std::sqrt(sum);
}

// A reference spectrum moved by -margin to +margin channels in steps of an eighth, without its straight line,
// of norm 1.
class MovedReference {
 public:
  explicit MovedReference(const AlignmentReference& reference)
      : steps_(reference.margin * steps_per_channel),
        size_(std::ssize(reference.spectrum) - 2 * reference.margin),
        values_(static_cast<size_t>((2 * steps_ + 1) * size_)) {
    const int64_t length = std::ssize(reference.spectrum);
    double largest = 0;
    for (double value : reference.spectrum) largest = std::max(largest, std::abs(value));
    bool flat = false;
#pragma omp parallel for schedule(static) reduction(|| : flat)
    for (int64_t step = -steps_; step <= steps_; ++step) {
      std::vector<double> moved(static_cast<size_t>(size_));
      const double position = -static_cast<double>(step) / steps_per_channel, whole = std::floor(position);
      const std::array<double, spline_taps> weights = spline_weights(position - whole);
      const int64_t from = reference.margin + static_cast<int64_t>(whole) - spline_before;
      for (int64_t i = 0; i < size_; ++i)
        for (int64_t k = 0; k < spline_taps; ++k)
          moved[static_cast<size_t>(i)] +=
              weights[static_cast<size_t>(k)] *
              reference.spectrum[static_cast<size_t>(std::clamp<int64_t>(from + i + k, 0, length - 1))];
      take_line_off(moved.data(), size_);
      const double length_of = norm(moved.data(), size_);
      flat = flat || !(length_of > 1e-6 * largest);
      float* out = values_.data() + (step + steps_) * size_;
      for (int64_t i = 0; i < size_; ++i)
        out[i] = static_cast<float>(moved[static_cast<size_t>(i)] / length_of);
    }
    flat_ = flat;
  }

  bool flat() const {
    return flat_;
  }  // a straight line: nothing to compare with
  int64_t size() const {
    return size_;
  }
  int64_t steps() const {
    return steps_;
  }
  const float* at(int64_t step) const {
    return values_.data() + (step + steps_) * size_;
  }

 private:
  int64_t steps_, size_;
  std::vector<float> values_;
  bool flat_ = false;
};

double correlation(const float* a, const float* b, int64_t size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}
float rough_correlation(const float* a, const float* b, int64_t size) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

struct Displacement {
  double channels = NAN, uncertainty = NAN;  // NAN: unclear
};

// How far the feature in window[0 ... reference.size()) stands above its place in the reference.
Displacement displacement(const float* window, const MovedReference& reference, std::vector<double>& exact,
                          std::vector<float>& scaled) {
  const int64_t size = reference.size(), steps = reference.steps();
  exact.resize(static_cast<size_t>(size));
  scaled.resize(static_cast<size_t>(size));
  double largest = 0;
  for (int64_t i = 0; i < size; ++i) {
    exact[static_cast<size_t>(i)] = static_cast<double>(window[i]);
    largest = std::max(largest, std::abs(exact[static_cast<size_t>(i)]));
  }
  take_line_off(exact.data(), size);
  const double length = norm(exact.data(), size);
  if (!(length > 1e-6 * largest)) return {};
  for (int64_t i = 0; i < size; ++i)
    scaled[static_cast<size_t>(i)] = static_cast<float>(exact[static_cast<size_t>(i)] / length);

  int64_t best = 0;
  float highest_yet = -2;
  for (int64_t step = -steps; step <= steps; step += steps_per_channel) {
    const float found = rough_correlation(scaled.data(), reference.at(step), size);
    if (found > highest_yet) {
      highest_yet = found;
      best = step;
    }
  }
  const int64_t first = std::max(-steps, best - steps_per_channel),
                last = std::min(steps, best + steps_per_channel);
  std::array<double, 2 * steps_per_channel + 1> fine;
  int64_t top = first;
  for (int64_t step = first; step <= last; ++step) {
    fine[static_cast<size_t>(step - first)] = correlation(scaled.data(), reference.at(step), size);
    if (fine[static_cast<size_t>(step - first)] > fine[static_cast<size_t>(top - first)]) top = step;
  }
  if (top == first || top == last) return {};
  const double before = fine[static_cast<size_t>(top - 1 - first)],
               here = fine[static_cast<size_t>(top - first)],
               after = fine[static_cast<size_t>(top + 1 - first)];
  const double bend = 2 * here - before - after;
  // Of a spectrum of norm 1: the factor, and the variance of a channel around the fit. Rounding leaves 1e-7.
  const double variance = std::max(1e-14, 1 - here * here) / static_cast<double>(size - 4);
  if (!(bend > 0) || here < clear_signal * std::sqrt(variance)) return {};
  // The sum of squares 1 - here^2 rises by 2 * here * bend per step squared.
  return {(static_cast<double>(top) + 0.5 * (after - before) / bend) / steps_per_channel,
          std::sqrt(variance / (here * bend)) / steps_per_channel};
}

// Mean over channels [first, first + length) of spectra, each moved by so many channels; beyond the axis the
// end value goes on. Added up in blocks of fixed size so that the number of threads does not show.
std::vector<double> mean_spectrum(const Spectra& spectra, int64_t first, int64_t length,
                                  const std::vector<double>& moved_by) {
  constexpr int64_t block = 256;
  const int64_t blocks = (spectra.count() + block - 1) / block, channels = spectra.channels();
  std::vector<double> sums(static_cast<size_t>(blocks * length));
#pragma omp parallel
  {
    std::vector<float> moved(static_cast<size_t>(channels)),
        scratch(static_cast<size_t>(channels + spline_taps));
#pragma omp for schedule(static)
    for (int64_t b = 0; b < blocks; ++b) {
      double* sum = sums.data() + b * length;
      for (int64_t i = b * block; i < std::min(spectra.count(), (b + 1) * block); ++i) {
        move_spectrum(spectra.spectrum(i), moved.data(), channels, moved_by[static_cast<size_t>(i)],
                      scratch.data());
        for (int64_t e = 0; e < length; ++e)
          sum[e] += static_cast<double>(
              moved[static_cast<size_t>(std::clamp<int64_t>(first + e, 0, channels - 1))]);
      }
    }
  }
  std::vector<double> mean(static_cast<size_t>(length));
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t e = 0; e < length; ++e)
      mean[static_cast<size_t>(e)] += sums[static_cast<size_t>(b * length + e)];
  for (double& value : mean) value /= static_cast<double>(spectra.count());
  return mean;
}

struct Displacements {
  std::vector<double> channels;  // NAN: unclear
  std::vector<double> clear, uncertainties;
};

// Of all spectra, whose window starts at channel `first`.
Displacements compare(const Spectra& spectra, int64_t first, const AlignmentReference& reference) {
  const MovedReference moved(reference);
  if (moved.flat())
    throw UserError(
        "the mean spectrum in preprocess.align_window is a straight line; choose a window with "
        "an edge or a peak in it");
  std::vector<Displacement> each(static_cast<size_t>(spectra.count()));
#pragma omp parallel
  {
    std::vector<double> exact;
    std::vector<float> scaled;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < spectra.count(); ++i)
      each[static_cast<size_t>(i)] = displacement(spectra.spectrum(i) + first, moved, exact, scaled);
  }
  Displacements all;
  for (const Displacement& d : each) {
    all.channels.push_back(d.channels);
    if (std::isnan(d.channels)) continue;
    all.clear.push_back(d.channels);
    all.uncertainties.push_back(d.uncertainty);
  }
  if (all.clear.empty())
    throw UserError("preprocess.align=feature: in none of " + std::to_string(spectra.count()) +
                    " spectra does preprocess.align_window hold a feature that stands out of the noise; try "
                    "preprocess.align_by=row or another window");
  return all;
}

// By how many channels each spectrum is to be moved, `origin` being a displacement that needs no move.
std::vector<double> moves(const Displacements& found, double origin) {
  const double middle = median(found.clear);
  std::vector<double> by;
  for (double channels : found.channels) by.push_back(origin - (std::isnan(channels) ? middle : channels));
  return by;
}

EnergyShifts feature_shifts(const SpectrumImage& image, const PreprocessConfig& config,
                            const AlignmentReference* fitted) {
  expect(config.align_window.has_value(), "alignment at a feature without its window");
  const Axis& axis = image.energy;
  const Spectra spectra(image, config.align_by);
  EnergyShifts shifts;
  std::vector<double> by;  // channels
  Displacements found;
  if (fitted) {
    if (std::abs(fitted->dispersion_ev / axis.scale - 1) > 1e-3)
      throw UserError("the model's spectra were aligned at " + short_number(fitted->dispersion_ev) +
                      " eV per channel; this image's energy axis is " + describe(axis));
    const int64_t size = std::ssize(fitted->spectrum) - 2 * fitted->margin;
    const double start =
        axis.index(fitted->energy_ev + static_cast<double>(fitted->margin) * fitted->dispersion_ev);
    if (!(start > -0.5 && start + static_cast<double>(size) < static_cast<double>(axis.size) + 0.5))
      throw UserError("the energy axis, " + describe(axis) + ", does not hold " + window_text(config) +
                      " in which the model's spectra were aligned");
    const int64_t first = std::clamp<int64_t>(std::llround(start), 0, axis.size - size);
    found = compare(spectra, first, *fitted);
    // Channel `first` lies first - start channels above its place in the reference.
    by = moves(found, start - static_cast<double>(first));
    shifts.reference = *fitted;
  } else {
    const ChannelWindow window = channels_within(axis, *config.align_window);
    if (window.size() < smallest_window)
      throw UserError(window_text(config) + " has " + std::to_string(window.size()) +
                      " channels of the energy axis, " + describe(axis) + "; at least " +
                      std::to_string(smallest_window) + " are needed");
    AlignmentReference& reference = shifts.reference;
    reference.margin = std::min(window.size() / 4, largest_margin);
    reference.energy_ev = axis.value(static_cast<double>(window.first - reference.margin));
    reference.dispersion_ev = axis.scale;
    auto mean = [&] {
      return mean_spectrum(spectra, window.first - reference.margin, window.size() + 2 * reference.margin,
                           by);
    };
    by.assign(static_cast<size_t>(spectra.count()), 0.0);
    for (int round = 0; round < 2; ++round) {
      reference.spectrum = mean();
      found = compare(spectra, window.first, reference);
      by = moves(found, median(found.clear));
    }
    reference.spectrum = mean();
  }
  for (double& channels : by) channels *= axis.scale;
  shifts.ev = spectra.for_pixels(by);
  shifts.spectra = spectra.count();
  shifts.unclear = shifts.spectra - std::ssize(found.clear);
  shifts.uncertainty_ev = median(found.uncertainties) * axis.scale;
  return shifts;
}

}  // namespace

EnergyShifts measure_shifts(const SpectrumImage& image, const PreprocessConfig& config,
                            const AlignmentReference* fitted) {
  return config.align == Align::zero_loss ? zero_loss_shifts(image, config, fitted)
                                          : feature_shifts(image, config, fitted);
}

}  // namespace eelsvae
