#include "engine/detect/comparison.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/detect/baselines.h"
#include "engine/detect/injected_changes.h"
#include "engine/short_number.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

double deviance_of(const PredictionSample& sample, const Baseline& baseline) {
  return predictive_deviance(sample,
                             [&](const SpectrumImageView& image) { return expect_from(baseline, image); });
}

// Normal spectra that were held out of a training tell what is normal in another image only as long as that
// is as the model knows it.
std::string drift(const Comparison& here, const SourceDescription& description,
                  const DetectionConfig& config) {
  constexpr double most = 0.02;  // of the noise's variance
  const std::optional<Comparison>& there = description.training;
  if (!config.threshold_by_held_out() || !here.model || !there || !there->model ||
      *here.model <= *there->model + most)
    return "";
  return "the model predicts normal spectra of this image worse than those of its own (predictive deviance " +
         short_number(*here.model, 4) + ", " + short_number(*there->model, 4) +
         " there), so that their scores say little of these; use detection.threshold_method=fdr, or train on "
         "this image";
}

// How well the source itself predicts; absent where it is not among what is compared.
std::optional<double> own_deviance(const Comparison& here, SourceDescription::Kind kind) {
  switch (kind) {
    case SourceDescription::Kind::model:
      return here.model;
    case SourceDescription::Kind::mean:
      return here.mean;
    case SourceDescription::Kind::pca:
      return here.pca;
    case SourceDescription::Kind::local:
    case SourceDescription::Kind::rx:
    case SourceDescription::Kind::other:
      break;
  }
  return std::nullopt;
}

// Where what is expected of normal spectra is wrong by more than their noise, what is left over is not noise,
// and no null is fitted to it with reason.
std::string misfit(const Comparison& here, const SourceDescription& description,
                   const DetectionConfig& config) {
  // A perfect expectation has 1: less says that the unit is wrong.
  constexpr double least = 0.7, most = 2;
  const std::optional<double> own = own_deviance(here, description.kind);
  if (!config.threshold_by_rate() || !own) return "";
  if (*own < least)
    return "neighbouring pixels differ by more than noise, which passed for noise (predictive deviance " +
           short_number(*own, 3) +
           ", 1 at least where it did not); preprocess.crop_y, crop_x or data.exclude leave borders out";
  if (*own <= most) return "";
  const double pca = here.pca.value_or(here.mean);
  std::string remedy =
      "a model of this specimen may describe them better, and data.exclude leaves regions out";
  if (here.mean < *own || pca < *own)
    remedy = std::string("--baseline ") + (here.mean < pca ? "mean" : "pca:auto") + " describes them better";
  return "what is expected of normal spectra is wrong by more than their noise (predictive deviance " +
         short_number(*own, 3) + ", 1 where only noise is left); " + remedy;
}

}  // namespace

SourceDescription::Kind kind_of(const BaselineSpec& spec) {
  switch (spec.kind) {
    case BaselineSpec::Kind::mean:
      return SourceDescription::Kind::mean;
    case BaselineSpec::Kind::local:
      return SourceDescription::Kind::local;
    case BaselineSpec::Kind::pca:
      return SourceDescription::Kind::pca;
    case BaselineSpec::Kind::rx:
      return SourceDescription::Kind::rx;
  }
  return SourceDescription::Kind::other;
}

double predictive_deviance(const PredictionSample& sample,
                           const std::function<Expectation(const SpectrumImageView&)>& source) {
  auto predict = [&](bool with_fresh_noise) {
    CountArray predicted;
    for (int64_t i = 0; i < sample.rectangles(); ++i) {
      const SpectrumImageView rectangle = sample.rectangle(i, with_fresh_noise);
      Expectation expected = source(rectangle);
      if (expected.foretells_totals) take_totals(rectangle, expected.spectra);
      predicted.insert(predicted.end(), expected.spectra.begin(), expected.spectra.end());
    }
    return predicted;
  };
  const CountArray expected = predict(false);
  return predictive_deviance(sample, expected, predict(true));
}

std::optional<Comparison> compare_baselines(const PredictionSample& sample, const SpectrumImageView& image,
                                            std::span<const uint8_t> left_out) {
  Comparison comparison;
  comparison.spectra = sample.spectra();
  try {
    comparison.mean = deviance_of(sample, Baseline(image, left_out, parse_baseline("mean")));
  } catch (const UserError&) {
    return std::nullopt;
  }
  try {
    const Baseline pca(image, left_out, parse_baseline("pca:auto"));
    comparison.pca = deviance_of(sample, pca);
    comparison.components = pca.components();
  } catch (const UserError&) {
    // too few pixels to choose a number of components
  }
  return comparison;
}

std::optional<SpreadSample> spread_sample(const SpectrumImageView& image, int64_t tile,
                                          const PreprocessConfig& preprocess) {
  constexpr double share = 0.1;
  auto extent = [&](int64_t size) {
    return std::clamp(size / 2, std::max<int64_t>(tile, 1), std::max<int64_t>(2 * tile, 48));
  };
  const int64_t height = extent(image.y.size), width = extent(image.x.size);
  std::vector<TileOrigin> places;
  for (int64_t y = 0; y + height <= image.y.size; y += height)
    for (int64_t x = 0; x + width <= image.x.size; x += width) places.push_back({y, x});
  const auto all = std::ssize(places);
  if (all == 0) return std::nullopt;
  const auto wanted = std::clamp<int64_t>(std::llround(share * static_cast<double>(all)), 1, all);
  std::vector<TileOrigin> chosen;
  std::vector<uint8_t> pixels(static_cast<size_t>(image.pixels()));
  for (int64_t i = 0; i < wanted; ++i) {
    const TileOrigin place = places[static_cast<size_t>((2 * i + 1) * all / (2 * wanted))];
    chosen.push_back(place);
    for (int64_t y = place.y; y < place.y + height; ++y)
      std::fill_n(pixels.begin() + y * image.x.size + place.x, width, uint8_t{1});
  }
  if (2 * std::ranges::count(pixels, 1) > image.pixels()) return std::nullopt;
  auto sample = make_prediction_sample(image, std::move(chosen), height, width, pixels, preprocess, 0);
  if (!sample) return std::nullopt;
  return SpreadSample{std::move(*sample), std::move(pixels)};
}

std::optional<Comparison> compare(const SpectrumImageView& image, const SourceDescription& description,
                                  const std::function<Expectation(const SpectrumImageView&)>& source,
                                  const PreprocessConfig& preprocess) {
  if (description.own_image) return description.training;
  const auto spread = spread_sample(image, description.tile, preprocess);
  if (!spread) return std::nullopt;
  std::optional<Comparison> comparison = compare_baselines(spread->sample, image, spread->pixels);
  if (comparison && description.kind == SourceDescription::Kind::model)
    comparison->model = predictive_deviance(spread->sample, source);
  return comparison;
}

std::vector<std::string> doubts_of(const Comparison& here, const SourceDescription& description,
                                   const DetectionConfig& config) {
  std::vector<std::string> doubts = {drift(here, description, config), misfit(here, description, config)};
  std::erase(doubts, "");
  return doubts;
}

std::optional<Comparison::Finds> compare_finds(
    const SpectrumImageView& image, int64_t tile,
    const std::function<Expectation(const SpectrumImageView&)>& model, const PreprocessConfig& preprocess,
    const DetectionConfig& config) {
  if (needs_model(config.score)) return std::nullopt;
  constexpr int64_t side = 64, repetitions = 2;
  Comparison::Finds finds;
  double pca = 0;
  bool has_pca = true;
  for (uint64_t seed = 0; seed < repetitions; ++seed) {
    const auto changes = inject_changes(image, std::max(side, 2 * tile), preprocess, seed);
    if (!changes) return std::nullopt;
    try {
      const Baseline mean(changes->image, {}, parse_baseline("mean"));
      finds.mean += precision_on(
          *changes, [&](const SpectrumImageView& of) { return expect_from(mean, of); }, preprocess, config);
      finds.model += precision_on(*changes, model, preprocess, config);
    } catch (const UserError&) {
      return std::nullopt;
    }
    try {
      const Baseline components(changes->image, {}, parse_baseline("pca:auto"));
      pca += precision_on(
          *changes, [&](const SpectrumImageView& of) { return expect_from(components, of); }, preprocess,
          config);
    } catch (const UserError&) {
      has_pca = false;
    }
  }
  finds.mean /= repetitions;
  finds.model /= repetitions;
  if (has_pca) finds.pca = pca / repetitions;
  return finds;
}

std::string remark_on(const Comparison& here) {
  constexpr double clearly = 0.02;
  if (here.model && *here.model < here.mean) {
    if (!here.finds || here.finds->model >= here.finds->mean - clearly) return "";
    return "Less is found by the model than by the mean spectrum of changes that were put into single "
           "spectra (average precision " +
           short_number(here.finds->model, 2) + ", " + short_number(here.finds->mean, 2) +
           "); for such changes --baseline mean may find more";
  }
  if (!here.model) return "";
  return "The model describes these spectra no better than the mean spectrum does; a model of this specimen, "
         "or --baseline, may find more";
}

std::string describe(const Comparison& comparison) {
  auto number = [](double deviance) { return short_number(deviance, 4); };
  std::string text =
      "Predictive deviance of " + std::to_string(comparison.spectra) + " spectra (1: only noise is left): ";
  if (comparison.model) text += "model " + number(*comparison.model) + ", ";
  text += "mean spectrum " + number(comparison.mean);
  if (comparison.pca)
    text += ", PCA of " + std::to_string(comparison.components) +
            (comparison.components == 1 ? " component " : " components ") + number(*comparison.pca);
  if (const auto& finds = comparison.finds) {
    text += "; average precision on changes put into single spectra: model " + short_number(finds->model, 2) +
            ", mean spectrum " + short_number(finds->mean, 2);
    if (finds->pca) text += ", PCA " + short_number(*finds->pca, 2);
  }
  return text;
}

}  // namespace eelsvae
