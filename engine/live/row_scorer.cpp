#include "engine/live/row_scorer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <utility>

#include "engine/detect/learned_score.h"
#include "engine/detect/scorer.h"
#include "engine/detect/thresholds.h"
#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/prepare/preprocess.h"
#include "engine/score_head/shipped.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_waiting = 4;  // complete rows that are prepared together
constexpr int64_t most_kept = 64;    // spectra that fit worst

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
      model_(state_->scores.residuals),
      filters_(state_->fitted.energy, state_->scores.mean_expected, state_->scores.inverse_spreads, model_,
               window_),
      amounts_(height, width, state_->scores.residuals, state_->detection.context),
      excluded_(excluded.begin(), excluded.end()),
      scores_(static_cast<size_t>(height * width), std::numeric_limits<float>::quiet_NaN()),
      deviations_(scores_.size()),
      prepared_(width * state_->fitted.energy.size),
      expected_(prepared_.row_size()),
      own_scores_(width),
      noise_(width) {
  excluded_.resize(scores_.size());
  if (state_->detection.score == Score::learned)
    head_.emplace(state_->fitted.energy, window_, shipped_score_head());
}

int64_t RowScorer::reach() const {
  return filter_.reach() + source_->reach() + amounts_.reach();
}

std::span<const uint8_t> RowScorer::mask_of(int64_t first, int64_t last) const {
  return std::span<const uint8_t>(excluded_).subspan(static_cast<size_t>(first * width_),
                                                     static_cast<size_t>((last - first) * width_));
}

SpectrumImageView RowScorer::prepared(int64_t first, int64_t last) const {
  return {pixel_axis("y", last - first), pixel_axis("x", width_), state_->fitted.energy,
          prepared_.rows(first, last), mask_of(first, last)};
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

const ResidualModel& RowScorer::model_of(int64_t first, int64_t last) {
  const std::span<const float> noise = noise_.rows(first, last);
  model_.noise.pixel_factor.assign(noise.begin(), noise.end());
  return model_;
}

void RowScorer::score(int64_t first, int64_t last, bool final) {
  Expectation expectation;  // but for the spectra, which stay where they are
  expectation.is_projection = known_.is_projection;
  if (!own_scores_.empty()) {
    const std::span<const float> own = own_scores_.rows(first, last);
    expectation.own_scores.assign(own.begin(), own.end());
  }
  const SpectrumImageView rows = prepared(first, last);
  Scorer scorer(rows, expectation, state_->preprocess, state_->detection,
                Scorer::Surrounded{expected_.rows(first, last), model_of(first, last), amounts_, filters_,
                                   head_ ? &*head_ : nullptr, first});
  const std::vector<float> found = scorer.scores(state_->detection.score);
  const std::vector<Deviation>& departures = scorer.whitened().deviations;
  std::copy(found.begin(), found.end(), scores_.begin() + first * width_);
  std::copy(departures.begin(), departures.end(), deviations_.begin() + first * width_);
  keep_worst(first, last, final);
}

void RowScorer::keep_worst(int64_t first, int64_t last, bool final) {
  const int64_t begin = first * width_, end = last * width_, channels = state_->fitted.energy.size;
  std::erase_if(worst_provisional_,
                [&](const AnomalousSpectrum& one) { return begin <= one.pixel && one.pixel < end; });
  std::vector<AnomalousSpectrum>& worst = final ? worst_final_ : worst_provisional_;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const float score = scores_[static_cast<size_t>(pixel)];
    if (std::isnan(score) || (std::ssize(worst) == most_kept && score <= worst.back().score)) continue;
    const auto spectrum = [&](const RowBand& of) {
      const float* from = of.rows(first, last).data() + (pixel - begin) * channels;
      return std::vector<float>(from, from + channels);
    };
    AnomalousSpectrum one{pixel,
                          score,
                          final,
                          deviations_[static_cast<size_t>(pixel)],
                          spectrum(prepared_),
                          spectrum(expected_)};
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
    take_prepared(more);
    source_->add(prepared(first_prepared_, prepared_.last()), first_prepared_, known_);
    take_expected();
  }
  const int64_t there = expected_.last(),
                last = there == height_ ? there : std::max(final_rows_, there - amounts_.reach());
  if (last > final_rows_) {
    amounts_.foretell_rows(excluded_, final_rows_, last, there, there);
    score(final_rows_, last, true);
    final_rows_ = last;
    scored_rows_ = std::max(scored_rows_, last);
    expected_.drop_before(last);
    if (!own_scores_.empty()) own_scores_.drop_before(last);
  }
  first_prepared_ = std::max(first_prepared_, std::min(final_rows_, expected_.last() - source_->before()));
  prepared_.drop_before(first_prepared_);
  noise_.drop_before(first_prepared_);
  amounts_.forget_before(final_rows_ - amounts_.reach());
}

void RowScorer::take_prepared(const PreparedRows& more) {
  prepared_.append(more.spectra);
  noise_.append(more.noise);
}

// Of the next rows, whose spectra are there.
void RowScorer::take_expected() {
  const int64_t from = expected_.last(), to = from + std::ssize(known_.spectra) / expected_.row_size();
  if (to == from) return;
  fill_excluded(mask_of(from, to), known_.spectra, 0);
  expected_.append(known_.spectra);
  own_scores_.append(known_.own_scores);
  amounts_.measure(from, prepared(from, to), expected_.rows(from, to), model_of(from, to));
}

Rows RowScorer::score_provisionally() {
  const int64_t first = scored_rows(), known = expected_.last(), ready = prepared_.last(),
                last = source_->guesses() ? complete_ : known;
  if (first >= last) return {first, first};
  // What follows the rows whose spectra and expectation are settled, as it is until now.
  if (last > known) {
    take_prepared(filter_.tail(excluded_));
    source_->guess(prepared(first_prepared_, last), first_prepared_, known_);
    take_expected();
  }
  amounts_.foretell_rows(excluded_, first, last, last, known);
  score(first, last, false);
  scored_rows_ = last;
  prepared_.drop_from(ready);
  noise_.drop_from(ready);
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
