#include "engine/live/row_scorer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "engine/detect/scorer.h"
#include "engine/detect/thresholds.h"
#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/noise/filtered_noise.h"
#include "engine/prepare/filters.h"
#include "engine/prepare/preprocess.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_waiting = 16;  // complete rows that are prepared together
constexpr int64_t most_kept = 64;     // spectra that fit worst

Axis pixel_axis(const char* name, int64_t count) {
  return {name, "", 0, 1, count};
}

// What of it reaches over rows.
int64_t reach_of_filters(const PreprocessConfig& preprocess) {
  return std::ssize(gaussian_weights(preprocess.sigma)) + std::ssize(mean_weights(preprocess.xy_window)) - 2;
}

ChannelWindow score_window(const DetectionState& state) {
  return state.detection.window ? channel_window(state.fitted.energy, *state.detection.window)
                                : ChannelWindow{0, state.fitted.energy.size};
}

}  // namespace

std::span<const float> RowScorer::Band::rows(int64_t from, int64_t to) const {
  return std::span<const float>(values_).subspan(static_cast<size_t>(dropped_ + (from - first_) * row_size_),
                                                 static_cast<size_t>((to - from) * row_size_));
}

void RowScorer::Band::append(std::span<const float> more) {
  values_.insert(values_.end(), more.begin(), more.end());
}

// What is left moves up when it is less than what is gone.
void RowScorer::Band::drop_before(int64_t y) {
  if (y <= first_) return;
  dropped_ += (y - first_) * row_size_;
  first_ = y;
  if (2 * dropped_ < std::ssize(values_)) return;
  values_.erase(values_.begin(), values_.begin() + dropped_);
  dropped_ = 0;
}

RowScorer::RowScorer(std::shared_ptr<const DetectionState> state, int64_t height, int64_t width,
                     std::span<const uint8_t> excluded, std::unique_ptr<RowExpectation> source)
    : state_(std::move(state)),
      height_(height),
      width_(width),
      source_(std::move(source)),
      filter_reach_(reach_of_filters(state_->preprocess)),
      processor_(make_backend("cpu", "fp32")),
      window_(score_window(*state_)),
      filters_(state_->fitted.energy, state_->scores.mean_expected, state_->scores.inverse_spreads,
               state_->scores.residuals, window_),
      amounts_(height, width, state_->scores.residuals, state_->detection.context),
      excluded_(excluded.begin(), excluded.end()),
      noise_(static_cast<size_t>(height * width), 1.0f),
      scores_(noise_.size(), std::numeric_limits<float>::quiet_NaN()),
      deviations_(noise_.size()),
      reduced_(width * state_->fitted.energy.size),
      prepared_(reduced_.row_size()),
      expected_(reduced_.row_size()),
      own_scores_(width) {
  excluded_.resize(noise_.size());
}

int64_t RowScorer::reach() const {
  return filter_reach_ + source_->reach() + amounts_.reach();
}

std::span<const uint8_t> RowScorer::mask_of(int64_t first, int64_t last) const {
  return std::span<const uint8_t>(excluded_).subspan(static_cast<size_t>(first * width_),
                                                     static_cast<size_t>((last - first) * width_));
}

SpectrumImageView RowScorer::view(int64_t first, int64_t last, std::span<const float> spectra) const {
  return {pixel_axis("y", last - first), pixel_axis("x", width_), state_->fitted.energy, spectra,
          mask_of(first, last)};
}

void RowScorer::add_row(SpectrumImage row) {
  if (excluded_pixels(row.excluded) < width_)
    row = reduce(std::move(row), state_->preprocess, std::nullopt, &state_->fitted).image;
  else
    row.counts.assign(static_cast<size_t>(reduced_.row_size()), 0.0f);
  std::copy(row.excluded.begin(), row.excluded.end(), excluded_.begin() + complete_ * width_);
  reduced_.append(row.counts);
  ++complete_;
  if (complete_ - prepared_.last() > filter_reach_ + most_waiting) advance();
}

// Rows [first, last) filtered and scaled, and the noise that is left in them, as if none came after those
// that are complete.
CountArray RowScorer::filtered(int64_t first, int64_t last, std::vector<float>& pixel_noise) const {
  const int64_t from = std::max<int64_t>(0, first - filter_reach_),
                to = std::min(height_, last + filter_reach_), there = std::min(to, complete_),
                row_size = reduced_.row_size();
  SpectrumImage image;
  image.y = pixel_axis("y", to - from);
  image.x = pixel_axis("x", width_);
  image.energy = state_->fitted.energy;
  const std::span<const float> rows = reduced_.rows(from, there);
  image.counts.assign(rows.begin(), rows.end());
  image.counts.resize(static_cast<size_t>((to - from) * row_size), 0.0f);
  const std::span<const uint8_t> mask = mask_of(from, there);
  image.excluded.assign(mask.begin(), mask.end());
  image.excluded.resize(static_cast<size_t>((to - from) * width_), by_request);
  if (excluded_pixels(image.excluded) < image.pixels())
    smooth_and_scale(image, state_->preprocess, &state_->fitted.scaling, processor_.get());
  const std::vector<float> all =
      filtered_noise(image, state_->preprocess.sigma, state_->preprocess.xy_window);
  pixel_noise.assign(all.begin() + (first - from) * width_, all.begin() + (last - from) * width_);
  return {image.counts.begin() + (first - from) * row_size, image.counts.begin() + (last - from) * row_size};
}

void RowScorer::measure(int64_t first, int64_t last, std::span<const float> observed,
                        std::span<const float> expected, std::span<const float> pixel_noise) {
  ResidualModel model = state_->scores.residuals;
  model.noise.pixel_factor.assign(pixel_noise.begin(), pixel_noise.end());
  amounts_.measure(first, view(first, last, observed), expected, model);
}

void RowScorer::score(int64_t first, int64_t last, std::span<const float> observed,
                      const Expectation& expectation, std::vector<float> pixel_noise, bool final) {
  const SpectrumImageView rows = view(first, last, observed);
  Scorer scorer(rows, expectation, state_->preprocess, state_->detection, state_->scores,
                Scorer::Surrounded{std::move(pixel_noise), amounts_, filters_, first});
  const std::vector<float> found = scorer.scores(state_->detection.score);
  const std::vector<Deviation>& departures = scorer.whitened().deviations;
  std::copy(found.begin(), found.end(), scores_.begin() + first * width_);
  std::copy(departures.begin(), departures.end(), deviations_.begin() + first * width_);
  keep_worst(first, last, observed, expectation.spectra, final);
}

void RowScorer::keep_worst(int64_t first, int64_t last, std::span<const float> observed,
                           std::span<const float> expected, bool final) {
  const int64_t begin = first * width_, end = last * width_, channels = state_->fitted.energy.size;
  std::erase_if(worst_, [&](const AnomalousSpectrum& one) { return begin <= one.pixel && one.pixel < end; });
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const float score = scores_[static_cast<size_t>(pixel)];
    if (std::isnan(score) || (std::ssize(worst_) == most_kept && score <= worst_.back().score)) continue;
    const auto spectrum = [&](std::span<const float> of) {
      const float* from = of.data() + (pixel - begin) * channels;
      return std::vector<float>(from, from + channels);
    };
    AnomalousSpectrum one{
        pixel, score, final, deviations_[static_cast<size_t>(pixel)], spectrum(observed), spectrum(expected)};
    worst_.insert(std::ranges::upper_bound(worst_, score, std::greater<>(), &AnomalousSpectrum::score),
                  std::move(one));
    if (std::ssize(worst_) > most_kept) worst_.pop_back();
  }
}

void RowScorer::advance() {
  const bool all = complete_ == height_;
  if (const int64_t until = all ? complete_ : complete_ - filter_reach_; until > prepared_.last()) {
    const int64_t first = prepared_.last();
    std::vector<float> pixel_noise;
    prepared_.append(filtered(first, until, pixel_noise));
    std::copy(pixel_noise.begin(), pixel_noise.end(), noise_.begin() + first * width_);
    reduced_.drop_before(until - filter_reach_);
    Expectation known = source_->add(view(first, until, prepared_.rows(first, until)));
    const int64_t from = expected_.last(), more = std::ssize(known.spectra) / expected_.row_size();
    fill_excluded(mask_of(from, from + more), known.spectra, 0);
    expected_.append(known.spectra);
    own_scores_.append(known.own_scores);
    foretells_totals_ = known.foretells_totals;
    is_projection_ = known.is_projection;
    if (const int64_t to = expected_.last(); to > from)
      measure(from, to, prepared_.rows(from, to), expected_.rows(from, to), noise_of(from, to));
  }
  const int64_t there = expected_.last(),
                last = there == height_ ? there : std::max(final_rows_, there - amounts_.reach());
  if (last > final_rows_) {
    amounts_.foretell_rows(excluded_, final_rows_, last, there, there);
    score(final_rows_, last, prepared_.rows(final_rows_, last), expectation_of(final_rows_, last),
          noise_of(final_rows_, last), true);
    final_rows_ = last;
    scored_rows_ = std::max(scored_rows_, last);
    for (Band* band : {&prepared_, &expected_}) band->drop_before(last);
    if (!own_scores_.empty()) own_scores_.drop_before(last);
  }
}

std::vector<float> RowScorer::noise_of(int64_t first, int64_t last) const {
  return {noise_.begin() + first * width_, noise_.begin() + last * width_};
}

Expectation RowScorer::expectation_of(int64_t first, int64_t last) const {
  Expectation part;
  const std::span<const float> spectra = expected_.rows(first, last);
  part.spectra.assign(spectra.begin(), spectra.end());
  if (!own_scores_.empty()) {
    const std::span<const float> own = own_scores_.rows(first, last);
    part.own_scores.assign(own.begin(), own.end());
  }
  part.foretells_totals = foretells_totals_;
  part.is_projection = is_projection_;
  return part;
}

Rows RowScorer::score_provisionally() {
  const int64_t first = scored_rows(), known = expected_.last(), ready = prepared_.last();
  // What follows the rows whose spectra and expectation are settled, as it is until now.
  std::vector<float> tail_noise;
  CountArray tail;
  std::optional<Expectation> guess;
  if (complete_ > known && source_->guesses()) {
    tail = filtered(ready, complete_, tail_noise);
    guess = source_->guess(view(ready, complete_, tail));
  }
  const int64_t last = guess ? complete_ : known;
  if (first >= last) return {scored_rows(), scored_rows()};
  const int64_t begin = std::min(first, known);
  const auto joined = [&](std::span<const float> settled, const auto& more) {
    CountArray all(settled.begin(), settled.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  // Rows [begin, last).
  const int64_t settled_end = guess ? ready : known;
  CountArray observed = joined(prepared_.rows(begin, settled_end), tail);
  Expectation expectation = expectation_of(begin, known);
  std::vector<float> pixel_noise = noise_of(begin, settled_end);
  pixel_noise.insert(pixel_noise.end(), tail_noise.begin(), tail_noise.end());
  const auto rows_of = [&](const auto& all, int64_t from, int64_t row_size) {
    return std::span<const float>(all).subspan(static_cast<size_t>((from - begin) * row_size));
  };
  if (guess) {
    fill_excluded(mask_of(known, last), guess->spectra, 0);
    expectation.spectra.insert(expectation.spectra.end(), guess->spectra.begin(), guess->spectra.end());
    expectation.own_scores.insert(expectation.own_scores.end(), guess->own_scores.begin(),
                                  guess->own_scores.end());
    expectation.foretells_totals = guess->foretells_totals;
    expectation.is_projection = guess->is_projection;
    measure(known, last, rows_of(observed, known, prepared_.row_size()), guess->spectra,
            rows_of(pixel_noise, known, width_));
  }
  amounts_.foretell_rows(excluded_, first, last, last, known);
  const auto drop = [&](auto& all, int64_t row_size) {
    if (!all.empty()) all.erase(all.begin(), all.begin() + (first - begin) * row_size);
  };
  drop(observed, prepared_.row_size());
  drop(expectation.spectra, prepared_.row_size());
  drop(expectation.own_scores, width_);
  drop(pixel_noise, width_);
  score(first, last, observed, expectation, std::move(pixel_noise), false);
  scored_rows_ = last;
  return {first, last};
}

std::vector<uint8_t> RowScorer::without_score() const {
  std::vector<uint8_t> mask;
  for (const float score : scores_) mask.push_back(std::isnan(score) ? 1 : 0);
  return mask;
}

double RowScorer::threshold() const {
  if (state_->detection.threshold) return *state_->detection.threshold;
  const std::vector<uint8_t> without = without_score();
  if (std::ranges::find(without, 0) == without.end()) return std::numeric_limits<double>::infinity();
  return fdr_threshold(scores_, state_->null, state_->detection.fdr, without);
}

Detection RowScorer::result() const {
  Detection found;
  found.scores = scores_;
  found.deviations = deviations_;
  found.window = window_;
  const std::vector<uint8_t> without = without_score();
  if (std::ranges::find(without, 0) == without.end())
    throw UserError("the scan has no scores yet; they come with its first complete rows");
  judge(found, state_->detection, without, {}, state_.get());
  found.regions = find_regions(pixel_axis("y", height_), pixel_axis("x", width_), found.scores, found.mask);
  return found;
}

}  // namespace eelsvae
