#include "engine/live/row_scorer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <utility>

#include "engine/detect/scorer.h"
#include "engine/detect/thresholds.h"
#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/prepare/preprocess.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_waiting = 16;  // complete rows that are prepared together
constexpr int64_t most_kept = 64;     // spectra that fit worst

Axis pixel_axis(const char* name, int64_t count) {
  return {name, "", 0, 1, count};
}

ChannelWindow score_window(const DetectionState& state) {
  return state.detection.window ? channel_window(state.fitted.energy, *state.detection.window)
                                : ChannelWindow{0, state.fitted.energy.size};
}

}  // namespace

RowScorer::RowScorer(std::shared_ptr<const DetectionState> state, int64_t height, int64_t width,
                     std::span<const uint8_t> excluded, std::unique_ptr<RowExpectation> source)
    : state_(std::move(state)),
      height_(height),
      width_(width),
      source_(std::move(source)),
      filter_(height, width, state_->fitted.energy.size, state_->preprocess, state_->fitted.scaling),
      window_(score_window(*state_)),
      filters_(state_->fitted.energy, state_->scores.mean_expected, state_->scores.inverse_spreads,
               state_->scores.residuals, window_),
      amounts_(height, width, state_->scores.residuals, state_->detection.context),
      excluded_(excluded.begin(), excluded.end()),
      noise_(static_cast<size_t>(height * width), 1.0f),
      scores_(noise_.size(), std::numeric_limits<float>::quiet_NaN()),
      deviations_(noise_.size()),
      prepared_(width * state_->fitted.energy.size),
      expected_(prepared_.row_size()),
      own_scores_(width) {
  excluded_.resize(noise_.size());
}

int64_t RowScorer::reach() const {
  return filter_.reach() + source_->reach() + amounts_.reach();
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
    row.counts.assign(static_cast<size_t>(prepared_.row_size()), 0.0f);
  std::copy(row.excluded.begin(), row.excluded.end(), excluded_.begin() + complete_ * width_);
  filter_.add(row.counts);
  ++complete_;
  if (complete_ - filter_.settled() > filter_.reach() + most_waiting) advance();
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
  std::erase_if(worst_provisional_,
                [&](const AnomalousSpectrum& one) { return begin <= one.pixel && one.pixel < end; });
  std::vector<AnomalousSpectrum>& worst = final ? worst_final_ : worst_provisional_;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const float score = scores_[static_cast<size_t>(pixel)];
    if (std::isnan(score) || (std::ssize(worst) == most_kept && score <= worst.back().score)) continue;
    const auto spectrum = [&](std::span<const float> of) {
      const float* from = of.data() + (pixel - begin) * channels;
      return std::vector<float>(from, from + channels);
    };
    AnomalousSpectrum one{
        pixel, score, final, deviations_[static_cast<size_t>(pixel)], spectrum(observed), spectrum(expected)};
    worst.insert(std::ranges::upper_bound(worst, score, std::greater<>(), &AnomalousSpectrum::score),
                 std::move(one));
    if (std::ssize(worst) > most_kept) worst.pop_back();
  }
}

std::vector<AnomalousSpectrum> RowScorer::worst(int64_t most, double above) const {
  std::vector<AnomalousSpectrum> found;
  std::ranges::merge(worst_final_, worst_provisional_, std::back_inserter(found), std::greater<>(),
                     &AnomalousSpectrum::score, &AnomalousSpectrum::score);
  std::erase_if(found, [&](const AnomalousSpectrum& one) { return static_cast<double>(one.score) <= above; });
  found.resize(static_cast<size_t>(std::clamp<int64_t>(most, 0, std::min(std::ssize(found), most_kept))));
  return found;
}

void RowScorer::advance() {
  const PreparedRows more = filter_.settle(excluded_);
  if (!more.noise.empty()) {
    const int64_t first = prepared_.last(), until = filter_.settled();
    prepared_.append(more.spectra);
    std::ranges::copy(more.noise, noise_.begin() + first * width_);
    expect_rows(source_->add(view(first, until, prepared_.rows(first, until))));
  }
  const int64_t there = expected_.last(),
                last = there == height_ ? there : std::max(final_rows_, there - amounts_.reach());
  if (last > final_rows_) {
    amounts_.foretell_rows(excluded_, final_rows_, last, there, there);
    score(final_rows_, last, prepared_.rows(final_rows_, last), expectation_of(final_rows_, last),
          noise_of(final_rows_, last), true);
    final_rows_ = last;
    scored_rows_ = std::max(scored_rows_, last);
    for (RowBand* band : {&prepared_, &expected_}) band->drop_before(last);
    if (!own_scores_.empty()) own_scores_.drop_before(last);
  }
}

// Of the next rows, whose spectra are there.
void RowScorer::expect_rows(Expectation known) {
  const int64_t from = expected_.last(), to = from + std::ssize(known.spectra) / expected_.row_size();
  fill_excluded(mask_of(from, to), known.spectra, 0);
  expected_.append(known.spectra);
  own_scores_.append(known.own_scores);
  foretells_totals_ = known.foretells_totals;
  is_projection_ = known.is_projection;
  if (to > from) measure(from, to, prepared_.rows(from, to), expected_.rows(from, to), noise_of(from, to));
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
  const int64_t first = scored_rows(), known = expected_.last(), ready = prepared_.last(),
                last = source_->guesses() ? complete_ : known;
  if (first >= last) return {first, first};
  // What follows the rows whose spectra and expectation are settled, as it is until now.
  if (last > known) {
    const PreparedRows tail = filter_.tail(excluded_);
    prepared_.append(tail.spectra);
    std::ranges::copy(tail.noise, noise_.begin() + ready * width_);
    expect_rows(source_->guess(view(ready, last, prepared_.rows(ready, last))));
  }
  amounts_.foretell_rows(excluded_, first, last, last, known);
  score(first, last, prepared_.rows(first, last), expectation_of(first, last), noise_of(first, last), false);
  scored_rows_ = last;
  prepared_.drop_from(ready);
  expected_.drop_from(known);
  if (!own_scores_.empty()) own_scores_.drop_from(known);
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
