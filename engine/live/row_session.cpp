#include "engine/live/row_session.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "engine/detect/empirical_null.h"
#include "engine/detect/kept_detection.h"
#include "engine/image/energy_axis.h"
#include "engine/image/excluded.h"
#include "engine/prepare/preprocess.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t most_apart = 32;  // rows that show nothing between two that are learned from

// The channels of a scan of which the state's are made.
ChannelWindow channels_used(const ScanPlan& plan, const DetectionState& state) {
  check_plan(plan);
  if (state.fitted.energy.units == "eV" && !plan.energy.units.empty() && plan.energy.units != "eV")
    throw UserError("the scan's energies are in " + plan.energy.units + "; give them in eV");
  return channels_of_model(plan.energy, unbinned(state.fitted.energy, state.preprocess.bin_energy));
}

ChannelWindow channels_used(const ScanPlan& plan, const LearnFromRows& learning) {
  check_plan(plan);
  check_can_be_kept(learning.preprocess, learning.detection);
  if (learning.rows < 1 || learning.rows > plan.height)
    throw UserError("a scan of " + std::to_string(plan.height) + " rows cannot learn from its first " +
                    std::to_string(learning.rows) + "; give 1 to " + std::to_string(plan.height));
  if (learning.preprocess.crop_y || learning.preprocess.crop_x)
    throw UserError(
        "preprocess.crop_y and crop_x: a scan that learns from its rows is scored as a whole; leave pixels "
        "out "
        "with data.exclude, or scan less");
  if (learning.rows * plan.width < fewest_scores)
    throw UserError("its first " + std::to_string(learning.rows) + " rows of " + std::to_string(plan.width) +
                    " pixels are " + std::to_string(learning.rows * plan.width) +
                    " spectra to learn from, and at least " + std::to_string(fewest_scores) +
                    " are needed; learn from more rows, or scan wider ones");
  ChannelWindow window{0, plan.energy.size};
  if (learning.energy_range) window = channels_within(plan.energy, *learning.energy_range);
  const int64_t channels = window.size() / learning.preprocess.bin_energy;
  if (channels < channel_multiple)
    throw UserError("data.energy_range and preprocess.bin_energy leave " + std::to_string(channels) +
                    " channels, and at least " + std::to_string(channel_multiple) +
                    " are needed; the scan's axis is " + describe(plan.energy));
  return window;
}

int64_t checked_patience(int64_t patience) {
  if (patience < 1)
    throw UserError("a patience of " + std::to_string(patience) +
                    " rows; a row is given up when so many after it are complete, 1 or more");
  return patience;
}

}  // namespace

struct RowSession::Parts {
  Parts(std::shared_ptr<const DetectionState> given, ScanPlan planned, int64_t patience,
        std::unique_ptr<RowExpectation> source)
      : state(std::move(given)),
        plan(std::move(planned)),
        rows(plan, channels_used(plan, *state), checked_patience(patience)) {
    begin(std::move(source));
  }
  Parts(const LearnFromRows& how, ScanPlan planned, int64_t patience)
      : plan(std::move(planned)),
        rows(plan, channels_used(plan, how), checked_patience(patience)),
        learning(how),
        unscored(static_cast<size_t>(plan.height * plan.width), std::numeric_limits<float>::quiet_NaN()),
        planned_mask(mask_of_plan()) {}

  std::vector<uint8_t> mask_of_plan() const {
    std::vector<uint8_t> mask(static_cast<size_t>(plan.height * plan.width));
    for (size_t i = 0; i < plan.excluded.size(); ++i)
      if (plan.excluded[i]) mask[i] = by_request;
    return mask;
  }

  void begin(std::unique_ptr<RowExpectation> source) {
    if (!source) {
      if (!state->baseline) throw UserError("the state was made with a model, which has to come with it");
      source = std::make_unique<BaselineRows>(*state->baseline, plan.height);
    }
    scorer.emplace(state, plan.height, plan.width, mask_of_plan(), std::move(source));
  }

  // Rows that show nothing, lost or left out, are not among those to learn from; of them there is but a mask.
  void take(SpectrumImage row) {
    if (scorer) return scorer->add_row(std::move(row));
    if (excluded_pixels(row.excluded) == plan.width)
      row.counts = {};
    else
      ++to_learn_from;
    waiting.push_back(std::move(row));
    if (to_learn_from == learning.rows || std::ssize(waiting) == plan.height) learn();
  }

  // From the rows that have waited for it, which are then scored.
  void learn() {
    std::vector<SpectrumImage> first = std::exchange(waiting, {});
    if (to_learn_from == 0) throw NothingLearned("no spectra have come");
    SpectrumImage image;
    image.y = first.front().y;
    image.x = first.front().x;
    image.energy = first.front().energy;
    image.y.size = 0;
    int64_t nothing = 0;  // rows that show nothing since the last one that does
    for (const SpectrumImage& row : first) {
      if (row.counts.empty()) {
        ++nothing;
        continue;
      }
      // They keep the rows around them apart, though no further than takes little memory.
      if (image.y.size > 0) image.y.size += std::min(nothing, most_apart);
      nothing = 0;
      image.counts.resize(static_cast<size_t>(image.y.size) * row.counts.size(), 0.0f);
      image.excluded.resize(static_cast<size_t>(image.y.size) * row.excluded.size(), by_request);
      image.counts.insert(image.counts.end(), row.counts.begin(), row.counts.end());
      image.excluded.insert(image.excluded.end(), row.excluded.begin(), row.excluded.end());
      ++image.y.size;
    }
    try {
      state = std::make_shared<DetectionState>(learn_state(std::move(image), learning.baseline,
                                                           learning.preprocess, learning.detection,
                                                           learning.energy_range));
    } catch (const UserError& error) {
      throw NothingLearned(error.what());
    }
    begin(nullptr);
    for (SpectrumImage& row : first) scorer->add_row(std::move(row));
  }

  void check_not_failed() const {
    if (!failed.empty()) throw UserError("the scan cannot be scored any further: " + failed);
  }

  // Does what changes the rows and scores. Where it throws, some rows were handed on and not scored, and
  // later ones would come to lie in their places: nothing further is done.
  template <class Work>
  Rows change(const Work& work) {
    check_not_failed();
    failed = "its last call did not end";
    try {
      const Rows changed = work();
      failed.clear();
      return changed;
    } catch (const std::bad_alloc&) {
      failed = "the system gave no more memory";
      throw;
    } catch (const std::exception& error) {
      failed = error.what();
      throw;
    }
  }

  Rows advance(int64_t before) {
    if (!scorer) return {0, 0};
    scorer->advance();
    return {before, scorer->final_rows()};
  }
  int64_t final_rows() const { return scorer ? scorer->final_rows() : 0; }

  std::shared_ptr<const DetectionState> state;  // null while it is being learned
  ScanPlan plan;
  ScanRows rows;
  LearnFromRows learning = {};
  std::vector<SpectrumImage> waiting = {};  // complete rows, for the state
  int64_t to_learn_from = 0;                // of them
  std::vector<float> unscored = {};         // (y, x), NaN
  std::vector<uint8_t> planned_mask = {};
  std::optional<RowScorer> scorer;
  bool over = false;
  std::string failed = {};  // why nothing further can be scored; "": it can
};

RowSession::RowSession(std::shared_ptr<const DetectionState> state, ScanPlan plan, int64_t patience,
                       std::unique_ptr<RowExpectation> source)
    : parts_(std::make_unique<Parts>(std::move(state), std::move(plan), patience, std::move(source))) {}
RowSession::RowSession(const LearnFromRows& learning, ScanPlan plan, int64_t patience)
    : parts_(std::make_unique<Parts>(learning, std::move(plan), patience)) {}
RowSession::~RowSession() = default;
RowSession::RowSession(RowSession&&) noexcept = default;

void RowSession::check(int64_t first, int64_t count) const {
  parts_->check_not_failed();
  if (parts_->over) throw UserError("the scan is finished; begin another one");
  parts_->rows.check(first, count);
}

Rows RowSession::push(int64_t first, int64_t count, std::span<const float> spectra) {
  Parts& parts = *parts_;
  check(first, count);
  parts.rows.check(first, count, spectra);
  return parts.change([&] {
    const int64_t before = parts.final_rows();
    parts.rows.add(first, count, spectra, [&](SpectrumImage row) { parts.take(std::move(row)); });
    return parts.advance(before);
  });
}

Rows RowSession::score_provisionally() {
  return parts_->change([&] { return parts_->scorer ? parts_->scorer->score_provisionally() : Rows{0, 0}; });
}

Rows RowSession::finish() {
  Parts& parts = *parts_;
  return parts.change([&] {
    const int64_t before = parts.final_rows();
    parts.over = true;
    parts.rows.give_up([&](SpectrumImage row) { parts.take(std::move(row)); });
    return parts.advance(before);
  });
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
  return parts_->final_rows();
}
int64_t RowSession::scored_rows() const {
  return parts_->scorer ? parts_->scorer->scored_rows() : 0;
}
int64_t RowSession::complete_rows() const {
  return parts_->rows.complete();
}
int64_t RowSession::reach() const {
  return parts_->scorer ? parts_->scorer->reach() : 0;
}
const ScanCounts& RowSession::counts() const {
  return parts_->rows.counts();
}
std::shared_ptr<const DetectionState> RowSession::state() const {
  return parts_->state;
}
std::span<const float> RowSession::scores() const {
  return parts_->scorer ? parts_->scorer->scores() : parts_->unscored;
}
std::span<const uint8_t> RowSession::excluded() const {
  return parts_->scorer ? parts_->scorer->excluded() : parts_->planned_mask;
}
double RowSession::threshold() const {
  return parts_->scorer ? parts_->scorer->threshold() : std::numeric_limits<double>::infinity();
}

std::vector<AnomalousSpectrum> RowSession::worst(int64_t most) const {
  if (!parts_->scorer) return {};
  return parts_->scorer->worst(most, threshold());
}

Detection RowSession::result() const {
  if (!parts_->scorer) {
    parts_->check_not_failed();
    throw UserError("the scan has no scores yet; its first " + std::to_string(parts_->learning.rows) +
                    " rows are still being learned from");
  }
  return parts_->scorer->result();
}

}  // namespace eelsvae
