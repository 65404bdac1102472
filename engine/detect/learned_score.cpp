#include "engine/detect/learned_score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/first_failure.h"

namespace eelsvae {
namespace {

// Half the square of a matched filter's response is its log-likelihood ratio, so the root of twice the
// log-odds is in standard deviations, nearly. That changes may be anywhere and of any kind has been charged
// to them: so many nats, with which the scores of normal spectra follow the law of maxima of exponential
// tails.
float as_deviations(double log_odds) {
  constexpr double charged = 4;
  const double shifted = log_odds + charged;
  return static_cast<float>(std::sqrt(2 * (shifted > 30 ? shifted : std::log1p(std::exp(shifted)))));
}

// What the head needs of single pixels, in positions of its axis.
class HeadResiduals {
 public:
  HeadResiduals(const SpectrumImageView& observed, std::span<const float> expected,
                const NormalVariation& variation, const HeadAxis& axis)
      : observed_(observed), expected_(expected), variation_(variation), axis_(axis) {}

  // The share of an amount along component k that is taken away.
  float taken_away(int64_t k, int64_t pixel) const {
    return 1 - std::sqrt(std::max(1 - variation_.weight(k, pixel), 0.0f));
  }
  // Each (positions).
  void read(int64_t pixel, float* z, float* expected, float* noise) const {
    const int64_t channels = observed_.energy.size;
    const ResidualModel& model = variation_.model();
    const float* here = expected_.data() + pixel * channels;
    std::vector<float> values(static_cast<size_t>(channels));
    variation_.residual(pixel, values.data());
    for (int64_t k = 0; k < model.count(); ++k) {
      const float amount = taken_away(k, pixel) * variation_.amount(k, pixel), *u = model.component(k);
      for (int64_t e = 0; e < channels; ++e) values[static_cast<size_t>(e)] -= amount * u[e];
    }
    add_up(axis_, values.data(), true, z);
    add_up(axis_, here, false, expected);
    for (int64_t e = 0; e < channels; ++e)
      values[static_cast<size_t>(e)] =
          static_cast<float>(model.noise.variance(pixel, e, static_cast<double>(here[e])));
    add_up(axis_, values.data(), false, noise);
    for (int64_t p = 0; p < axis_.positions; ++p) noise[p] = std::sqrt(std::max(noise[p], 1e-30f));
  }

 private:
  const SpectrumImageView& observed_;
  std::span<const float> expected_;
  const NormalVariation& variation_;
  const HeadAxis& axis_;
};

constexpr int64_t batch = 64;

}  // namespace

HeadScorer::HeadScorer(const Axis& energy, ChannelWindow window, const ScoreHead& head)
    : axis_(head_axis(energy, window)),
      backend_(make_backend("cpu", "fp32")),
      network_(*backend_, head, axis_.positions, batch),
      rows_(static_cast<size_t>(batch * axis_.positions * head_features)) {}

std::vector<float> HeadScorer::scores(const SpectrumImageView& observed, std::span<const float> expected,
                                      const NormalVariation& variation) {
  const HeadResiduals residuals(observed, expected, variation, axis_);
  const int64_t positions = axis_.positions;
  const std::vector<int64_t>& pixels = variation.pixels();
  std::vector<float> scores(static_cast<size_t>(observed.pixels()), std::numeric_limits<float>::quiet_NaN());
  FirstFailure failure;
  for (int64_t first = 0; first < std::ssize(pixels); first += batch) {
    const int64_t count = std::min(batch, std::ssize(pixels) - first);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < count; ++b)
      failure.guard([&] {
        std::vector<float> z(static_cast<size_t>(positions)), level(z.size()), noise(z.size());
        residuals.read(pixels[static_cast<size_t>(first + b)], z.data(), level.data(), noise.data());
        head_rows(z, expected_shape(level, axis_.background), noise,
                  rows_.data() + b * positions * head_features);
      });
    failure.rethrow();
    const std::vector<double> odds =
        network_.log_odds(std::span(rows_).first(static_cast<size_t>(count * positions * head_features)));
    for (int64_t b = 0; b < count; ++b)
      scores[static_cast<size_t>(pixels[static_cast<size_t>(first + b)])] =
          as_deviations(odds[static_cast<size_t>(b)]);
  }
  return scores;
}

HeadExamples head_examples(const SpectrumImageView& observed, std::span<const float> expected,
                           const NormalVariation& variation, ChannelWindow window, int64_t most,
                           std::span<const uint8_t> left_out) {
  const HeadAxis axis = head_axis(observed.energy, window);
  const HeadResiduals residuals(observed, expected, variation, axis);
  std::vector<int64_t> usable;
  for (const int64_t pixel : variation.pixels())
    if (left_out.empty() || !left_out[static_cast<size_t>(pixel)]) usable.push_back(pixel);
  HeadExamples examples;
  const int64_t positions = examples.positions = axis.positions;
  examples.background = axis.background;
  examples.spectra = std::min(most, std::ssize(usable));
  const auto values = static_cast<size_t>(examples.spectra * positions);
  examples.z.resize(values);
  examples.expected.resize(values);
  examples.noise.resize(values);
  const ResidualModel& model = variation.model();
  examples.taken_away.resize(static_cast<size_t>(examples.spectra * model.count()));
  for (int64_t k = 0; k < model.count(); ++k) {
    std::vector<float> component(static_cast<size_t>(positions));
    add_up(axis, model.component(k), true, component.data());
    examples.components.insert(examples.components.end(), component.begin(), component.end());
  }
  FirstFailure failure;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < examples.spectra; ++i)
    failure.guard([&] {
      const int64_t pixel = usable[static_cast<size_t>(i * std::ssize(usable) / examples.spectra)];
      residuals.read(pixel, examples.z.data() + i * positions, examples.expected.data() + i * positions,
                     examples.noise.data() + i * positions);
      for (int64_t k = 0; k < model.count(); ++k)
        examples.taken_away[static_cast<size_t>(i * model.count() + k)] = residuals.taken_away(k, pixel);
    });
  failure.rethrow();
  return examples;
}

}  // namespace eelsvae
