#include "engine/live/row_session.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "engine/detect/normal_variation.h"
#include "engine/detect/scorer.h"
#include "engine/detect/thresholds.h"
#include "engine/detect/whitened_score.h"
#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/noise/filtered_noise.h"
#include "engine/prepare/filters.h"
#include "engine/prepare/preprocess.h"
#include "kernels/backend.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_open = 32;     // rows beyond the first open one from which spectra are taken
constexpr int64_t most_waiting = 16;  // complete rows that are prepared together
constexpr int64_t most_kept = 64;     // spectra that fit worst

// Some rows of a cube (y, x, E) one after the other, the first of which is row `first` of the scan.
class Band {
 public:
  explicit Band(int64_t row_size) : row_size_(row_size) {}

  int64_t row_size() const { return row_size_; }
  bool empty() const { return std::ssize(values_) == dropped_; }
  int64_t last() const { return first_ + (std::ssize(values_) - dropped_) / row_size_; }
  std::span<const float> rows(int64_t from, int64_t to) const {
    return std::span<const float>(values_).subspan(
        static_cast<size_t>(dropped_ + (from - first_) * row_size_),
        static_cast<size_t>((to - from) * row_size_));
  }
  void append(std::span<const float> more) { values_.insert(values_.end(), more.begin(), more.end()); }
  // Rows before y are no longer needed. What is left moves up when that is less than what is gone.
  void drop_before(int64_t y) {
    if (y <= first_) return;
    dropped_ += (y - first_) * row_size_;
    first_ = y;
    if (2 * dropped_ < std::ssize(values_)) return;
    values_.erase(values_.begin(), values_.begin() + dropped_);
    dropped_ = 0;
  }

 private:
  int64_t row_size_;  // values
  int64_t first_ = 0, dropped_ = 0;
  CountArray values_;
};

struct OpenRow {
  CountArray counts;             // (x, channels used)
  std::vector<uint8_t> arrived;  // (x); excluded pixels, too
  int64_t waiting = 0;           // for so many
};

// The channels of a scan of which the state's are made.
ChannelWindow channels_used(const ScanPlan& plan, const DetectionState& state) {
  return channels_of_model(plan.energy, unbinned(state.fitted.energy, state.preprocess.bin_energy));
}

const ScanPlan& checked(const ScanPlan& plan) {
  if (plan.height < 1 || plan.width < 1 || plan.energy.size < 1)
    throw UserError("a scan of " + std::to_string(plan.height) + " x " + std::to_string(plan.width) +
                    " pixels and " + std::to_string(plan.energy.size) +
                    " channels has no spectra; each must be 1 or more");
  if (!plan.excluded.empty() && std::ssize(plan.excluded) != plan.height * plan.width)
    throw UserError("the mask of excluded pixels has " + std::to_string(plan.excluded.size()) +
                    " values, the scan " + std::to_string(plan.height) + " x " + std::to_string(plan.width) +
                    " pixels; give one for each, in the order y * width + x");
  return plan;
}

}  // namespace

struct RowSession::Parts {
  Parts(std::shared_ptr<const DetectionState> shared, ScanPlan planned, int64_t rows_of_patience,
        std::unique_ptr<RowExpectation> given)
      : state(std::move(shared)),
        plan(std::move(planned)),
        patience(rows_of_patience),
        source(given ? std::move(given) : std::make_unique<BaselineRows>(state->baseline.value())),
        used(channels_used(checked(plan), *state)),
        filter_reach(std::ssize(gaussian_weights(state->preprocess.sigma)) +
                     std::ssize(mean_weights(state->preprocess.xy_window)) - 2),
        processor(make_backend("cpu", "fp32")),
        window(state->detection.window ? channel_window(state->fitted.energy, *state->detection.window)
                                       : ChannelWindow{0, state->fitted.energy.size}),
        filters(state->fitted.energy, state->scores.mean_expected, state->scores.inverse_spreads,
                state->scores.residuals, window),
        amounts(plan.height, plan.width, state->scores.residuals, state->detection.context),
        excluded(static_cast<size_t>(plan.height * plan.width)),
        noise(excluded.size(), 1.0f),
        scores(excluded.size(), std::numeric_limits<float>::quiet_NaN()),
        deviations(excluded.size()),
        reduced(plan.width * state->fitted.energy.size),
        prepared(reduced.row_size()),
        expected(reduced.row_size()),
        own_scores(plan.width) {
    expect(patience >= 1, "a row session without patience");
    for (size_t i = 0; i < plan.excluded.size(); ++i)
      excluded[i] = plan.excluded[i] ? uint8_t{by_request} : uint8_t{0};
  }

  Axis rows_axis(int64_t count) const { return {"y", "", 0, 1, count}; }
  Axis columns_axis() const { return {"x", "", 0, 1, plan.width}; }
  std::span<const uint8_t> mask_of(int64_t first, int64_t last) const {
    return std::span<const uint8_t>(excluded).subspan(static_cast<size_t>(first * plan.width),
                                                      static_cast<size_t>((last - first) * plan.width));
  }
  SpectrumImageView view(int64_t first, int64_t last, std::span<const float> spectra) const {
    return {rows_axis(last - first), columns_axis(), state->fitted.energy, spectra, mask_of(first, last)};
  }
  bool left_out(int64_t pixel) const {
    return !plan.excluded.empty() && plan.excluded[static_cast<size_t>(pixel)];
  }

  // ---- spectra come in ----

  void check(int64_t first, int64_t count, std::span<const float> spectra) const {
    if (over) throw UserError("the scan is finished; begin another one");
    if (first < 0 || count < 0 || first > plan.height * plan.width - count)
      throw UserError("pixels " + std::to_string(first) + " to " + std::to_string(first + count - 1) +
                      " are not in a scan of " + std::to_string(plan.height) + " x " +
                      std::to_string(plan.width) + " pixels");
    const int64_t channels = plan.energy.size;
    expect(std::ssize(spectra) == count * channels, "spectra of another size");
    for (int64_t i = 0; i < count; ++i) {
      if (left_out(first + i)) continue;
      const float* from = spectra.data() + i * channels;
      if (std::all_of(from + used.first, from + used.last, [](float c) { return std::isfinite(c); }))
        continue;
      throw UserError("the spectrum of pixel " + std::to_string(first + i) + " (y " +
                      std::to_string((first + i) / plan.width) + ", x " +
                      std::to_string((first + i) % plan.width) +
                      ") holds counts that are not finite; exclude the pixel, or send zeros");
    }
  }

  void take(int64_t pixel, const float* spectrum) {
    if (left_out(pixel)) return;
    const int64_t y = pixel / plan.width, x = pixel % plan.width;
    while (y - complete > most_open) close_row();
    if (y < complete) {
      ++counts.late;
      return;
    }
    OpenRow& row = open_row(y);
    if (row.arrived[static_cast<size_t>(x)]) {
      ++counts.repeated;
    } else {
      row.arrived[static_cast<size_t>(x)] = 1;
      ++counts.received;
      if (--row.waiting == 0) ++complete_ahead;
    }
    std::copy_n(spectrum + used.first, used.size(), row.counts.begin() + x * used.size());
  }

  OpenRow& open_row(int64_t y) {
    const auto [place, made] = open.try_emplace(y);
    OpenRow& row = place->second;
    if (!made) return row;
    row.counts.resize(static_cast<size_t>(plan.width * used.size()), 0.0f);
    for (int64_t x = 0; x < plan.width; ++x) row.arrived.push_back(left_out(y * plan.width + x) ? 1 : 0);
    row.waiting = std::count(row.arrived.begin(), row.arrived.end(), 0);
    if (row.waiting == 0) ++complete_ahead;
    return row;
  }

  // Closes rows as far as they are complete or given up.
  void close_rows() {
    while (complete < plan.height && !open.empty() &&
           (open_row(complete).waiting == 0 || complete_ahead >= patience))
      close_row();
  }

  // Reduces the first open row, with what has come of it, and takes it further where many wait.
  void close_row() {
    OpenRow row = std::move(open_row(complete));
    open.erase(complete);
    if (row.waiting == 0) --complete_ahead;
    const int64_t begin = complete * plan.width, channels = state->fitted.energy.size;
    SpectrumImage image;
    image.y = rows_axis(1);
    image.x = columns_axis();
    image.energy = unbinned(state->fitted.energy, state->preprocess.bin_energy);
    image.counts = std::move(row.counts);
    for (int64_t x = 0; x < plan.width; ++x) {
      const bool here = row.arrived[static_cast<size_t>(x)];
      if (!here) ++counts.missing;
      image.excluded.push_back(!here || left_out(begin + x) ? by_request : 0);
    }
    if (excluded_pixels(image.excluded) < plan.width)
      image = reduce(std::move(image), state->preprocess, std::nullopt, &state->fitted).image;
    else
      image.counts.assign(static_cast<size_t>(plan.width * channels), 0.0f);
    std::copy(image.excluded.begin(), image.excluded.end(), excluded.begin() + begin);
    reduced.append(image.counts);
    ++complete;
    if (complete - prepared.last() > filter_reach + most_waiting) advance();
  }

  double threshold() const {
    if (state->detection.threshold) return *state->detection.threshold;
    if (std::ranges::all_of(scores, [](float s) { return std::isnan(s); }))
      return std::numeric_limits<double>::infinity();
    return fdr_threshold(scores, state->null, state->detection.fdr, without_score());
  }

  std::vector<uint8_t> without_score() const {
    std::vector<uint8_t> mask;
    for (const float s : scores) mask.push_back(std::isnan(s) ? 1 : 0);
    return mask;
  }

  // ---- from counts to scores ----

  // Rows [first, last) filtered and scaled, and the noise that is left in them, as if none came after those
  // that are complete.
  CountArray filtered(int64_t first, int64_t last, std::vector<float>& pixel_noise) const {
    const int64_t from = std::max<int64_t>(0, first - filter_reach),
                  to = std::min(plan.height, last + filter_reach), there = std::min(to, complete),
                  row_size = reduced.row_size();
    SpectrumImage image;
    image.y = rows_axis(to - from);
    image.x = columns_axis();
    image.energy = state->fitted.energy;
    const std::span<const float> rows = reduced.rows(from, there);
    image.counts.assign(rows.begin(), rows.end());
    image.counts.resize(static_cast<size_t>((to - from) * row_size), 0.0f);
    const std::span<const uint8_t> mask = mask_of(from, there);
    image.excluded.assign(mask.begin(), mask.end());
    image.excluded.resize(static_cast<size_t>((to - from) * plan.width), by_request);
    if (excluded_pixels(image.excluded) < image.pixels())
      smooth_and_scale(image, state->preprocess, &state->fitted.scaling, processor.get());
    const std::vector<float> all =
        filtered_noise(image, state->preprocess.sigma, state->preprocess.xy_window);
    pixel_noise.assign(all.begin() + (first - from) * plan.width, all.begin() + (last - from) * plan.width);
    return {image.counts.begin() + (first - from) * row_size,
            image.counts.begin() + (last - from) * row_size};
  }

  // The state's model of residuals for pixels with such noise.
  ResidualModel residuals_with(std::span<const float> pixel_noise) const {
    ResidualModel model = state->scores.residuals;
    model.noise.pixel_factor.assign(pixel_noise.begin(), pixel_noise.end());
    return model;
  }

  void measure(int64_t first, int64_t last, std::span<const float> observed, std::span<const float> of_model,
               std::span<const float> pixel_noise) {
    amounts.measure(first, view(first, last, observed), of_model, residuals_with(pixel_noise));
  }

  void score(int64_t first, int64_t last, std::span<const float> observed, const Expectation& expectation,
             std::vector<float> pixel_noise, bool final) {
    const SpectrumImageView rows = view(first, last, observed);
    Scorer scorer(rows, expectation, state->preprocess, state->detection, state->scores,
                  Scorer::Surrounded{std::move(pixel_noise), amounts, filters, first});
    const std::vector<float> found = scorer.scores(state->detection.score);
    const std::vector<Deviation>& departures = scorer.whitened().deviations;
    std::copy(found.begin(), found.end(), scores.begin() + first * plan.width);
    std::copy(departures.begin(), departures.end(), deviations.begin() + first * plan.width);
    keep_worst(first, last, observed, expectation.spectra, final);
  }

  void keep_worst(int64_t first, int64_t last, std::span<const float> observed,
                  std::span<const float> of_model, bool final) {
    const int64_t begin = first * plan.width, end = last * plan.width, channels = state->fitted.energy.size;
    std::erase_if(kept, [&](const AnomalousSpectrum& one) { return begin <= one.pixel && one.pixel < end; });
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const float score = scores[static_cast<size_t>(pixel)];
      if (std::isnan(score) || (std::ssize(kept) == most_kept && score <= kept.back().score)) continue;
      const auto spectrum = [&](std::span<const float> of) {
        const float* from = of.data() + (pixel - begin) * channels;
        return std::vector<float>(from, from + channels);
      };
      AnomalousSpectrum one{pixel,
                            score,
                            final,
                            deviations[static_cast<size_t>(pixel)],
                            spectrum(observed),
                            spectrum(of_model)};
      kept.insert(std::ranges::upper_bound(kept, score, std::greater<>(), &AnomalousSpectrum::score),
                  std::move(one));
      if (std::ssize(kept) > most_kept) kept.pop_back();
    }
  }

  // Takes the complete rows as far as their scores are final.
  Rows advance() {
    const bool all = complete == plan.height;
    const int64_t rows_before = final_rows;
    if (const int64_t until = all ? complete : complete - filter_reach; until > prepared.last()) {
      const int64_t first = prepared.last();
      std::vector<float> pixel_noise;
      prepared.append(filtered(first, until, pixel_noise));
      std::copy(pixel_noise.begin(), pixel_noise.end(), noise.begin() + first * plan.width);
      reduced.drop_before(until - filter_reach);
      Expectation known = source->add(view(first, until, prepared.rows(first, until)));
      const int64_t from = expected.last();
      expected.append(known.spectra);
      own_scores.append(known.own_scores);
      foretells_totals = known.foretells_totals;
      is_projection = known.is_projection;
      if (const int64_t to = expected.last(); to > from)
        measure(from, to, prepared.rows(from, to), expected.rows(from, to), noise_of(from, to));
    }
    const int64_t there = expected.last(),
                  last = there == plan.height ? there : std::max(final_rows, there - amounts.reach());
    if (last > final_rows) {
      amounts.foretell_rows(excluded, final_rows, last, there, there);
      score(final_rows, last, prepared.rows(final_rows, last), expectation_of(final_rows, last),
            noise_of(final_rows, last), true);
      final_rows = last;
      scored_rows = std::max(scored_rows, last);
      for (Band* band : {&prepared, &expected}) band->drop_before(last);
      if (!own_scores.empty()) own_scores.drop_before(last);
    }
    return {rows_before, final_rows};
  }

  std::vector<float> noise_of(int64_t first, int64_t last) const {
    return {noise.begin() + first * plan.width, noise.begin() + last * plan.width};
  }

  Expectation expectation_of(int64_t first, int64_t last) const {
    Expectation part;
    const std::span<const float> spectra = expected.rows(first, last);
    part.spectra.assign(spectra.begin(), spectra.end());
    if (!own_scores.empty()) {
      const std::span<const float> own = own_scores.rows(first, last);
      part.own_scores.assign(own.begin(), own.end());
    }
    part.foretells_totals = foretells_totals;
    part.is_projection = is_projection;
    return part;
  }

  Rows score_provisionally() {
    const int64_t first = std::max(scored_rows, final_rows), known = expected.last();
    // The rows beyond those whose spectra and expectation are settled, as they are until now.
    std::vector<float> tail_noise;
    CountArray tail;
    std::optional<Expectation> guess;
    if (known == prepared.last() && complete > known) {
      tail = filtered(known, complete, tail_noise);
      guess = source->guess(view(known, complete, tail));
    }
    const int64_t last = guess ? complete : known;
    if (first >= last) return {scored_rows, scored_rows};
    const int64_t settled = std::min(first, known);
    const std::span<const float> rows = prepared.rows(settled, known);
    CountArray observed(rows.begin(), rows.end());
    Expectation expectation = expectation_of(settled, known);
    std::vector<float> pixel_noise = noise_of(settled, known);
    if (guess) {
      measure(known, last, tail, guess->spectra, tail_noise);
      const auto add = [&](const auto& of_tail, int64_t row_size, auto& to) {
        if (!of_tail.empty())
          to.insert(to.end(), of_tail.begin() + std::max<int64_t>(0, first - known) * row_size,
                    of_tail.end());
      };
      add(tail, prepared.row_size(), observed);
      add(guess->spectra, prepared.row_size(), expectation.spectra);
      add(guess->own_scores, plan.width, expectation.own_scores);
      add(tail_noise, plan.width, pixel_noise);
    }
    amounts.foretell_rows(excluded, first, last, last, known);
    score(first, last, observed, expectation, std::move(pixel_noise), false);
    scored_rows = last;
    return {first, last};
  }

  std::shared_ptr<const DetectionState> state;
  ScanPlan plan;
  int64_t patience;
  std::unique_ptr<RowExpectation> source;
  ChannelWindow used;
  int64_t filter_reach;
  std::unique_ptr<Backend> processor;
  ChannelWindow window;
  MatchedFilters filters;
  AmountMaps amounts;
  std::vector<uint8_t> excluded;
  std::vector<float> noise, scores;
  std::vector<Deviation> deviations;
  Band reduced, prepared, expected, own_scores;
  bool foretells_totals = false, is_projection = false;
  std::map<int64_t, OpenRow> open;
  int64_t complete_ahead = 0;  // open rows that are complete
  int64_t complete = 0, final_rows = 0, scored_rows = 0;
  ScanCounts counts;
  std::vector<AnomalousSpectrum> kept;  // the worst first
  bool over = false;
};

RowSession::RowSession(std::shared_ptr<const DetectionState> state, ScanPlan plan, int64_t patience,
                       std::unique_ptr<RowExpectation> source)
    : parts_(std::make_unique<Parts>(std::move(state), std::move(plan), patience, std::move(source))) {}
RowSession::~RowSession() = default;
RowSession::RowSession(RowSession&&) noexcept = default;

Rows RowSession::push(int64_t first, int64_t count, std::span<const float> spectra) {
  Parts& parts = *parts_;
  parts.check(first, count, spectra);
  const int64_t before = parts.final_rows, width = parts.plan.width;
  for (int64_t i = 0; i < count; ++i) {
    parts.take(first + i, spectra.data() + i * parts.plan.energy.size);
    if ((first + i) % width == width - 1 || i == count - 1) parts.close_rows();
  }
  parts.advance();
  return {before, parts.final_rows};
}

Rows RowSession::score_provisionally() {
  return parts_->score_provisionally();
}

Rows RowSession::finish() {
  Parts& parts = *parts_;
  const int64_t before = parts.final_rows;
  while (parts.complete < parts.plan.height) parts.close_row();
  parts.advance();
  parts.over = true;
  return {before, parts.final_rows};
}

bool RowSession::finished() const {
  return parts_->over;
}
int64_t RowSession::height() const {
  return parts_->plan.height;
}
int64_t RowSession::width() const {
  return parts_->plan.width;
}
int64_t RowSession::final_rows() const {
  return parts_->final_rows;
}
int64_t RowSession::scored_rows() const {
  return parts_->scored_rows;
}
int64_t RowSession::complete_rows() const {
  return parts_->complete;
}
int64_t RowSession::reach() const {
  return parts_->filter_reach + parts_->source->reach() + parts_->amounts.reach();
}
const ScanCounts& RowSession::counts() const {
  return parts_->counts;
}
const DetectionState& RowSession::state() const {
  return *parts_->state;
}
std::span<const float> RowSession::scores() const {
  return parts_->scores;
}
std::span<const Deviation> RowSession::deviations() const {
  return parts_->deviations;
}
std::span<const uint8_t> RowSession::excluded() const {
  return parts_->excluded;
}
double RowSession::threshold() const {
  return parts_->threshold();
}

std::vector<AnomalousSpectrum> RowSession::worst(int64_t most) const {
  std::vector<AnomalousSpectrum> found;
  const double least = threshold();
  for (const AnomalousSpectrum& one : parts_->kept)
    if (std::ssize(found) < most && static_cast<double>(one.score) > least) found.push_back(one);
  return found;
}

Detection RowSession::result() const {
  const Parts& parts = *parts_;
  Detection found;
  found.scores = parts.scores;
  found.deviations = parts.deviations;
  found.window = parts.window;
  const std::vector<uint8_t> without = parts.without_score();
  if (std::ranges::find(without, 0) == without.end())
    throw UserError("the scan has no scores yet; they come with its first complete rows");
  judge(found, parts.state->detection, without, {}, parts.state.get());
  found.regions =
      find_regions(parts.rows_axis(parts.plan.height), parts.columns_axis(), found.scores, found.mask);
  return found;
}

}  // namespace eelsvae
