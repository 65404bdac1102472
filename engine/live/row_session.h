#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/config.h"
#include "engine/detect/baselines.h"
#include "engine/detect/detection.h"
#include "engine/detect/detection_state.h"
#include "engine/live/row_expectation.h"
#include "engine/live/row_scorer.h"
#include "engine/live/scan_rows.h"
#include "kernels/error.h"

namespace eelsvae {

// The first rows of a scan do not suffice to learn its state from.
class NothingLearned : public UserError {
 public:
  using UserError::UserError;
};

// How a scan learns its own state: from its first `rows` rows of which a spectrum has come, or from all of
// these where there are fewer, by learn_state().
struct LearnFromRows {
  int64_t rows = 0;
  BaselineSpec baseline = {};
  PreprocessConfig preprocess = {};
  DetectionConfig detection = {};
  std::optional<std::array<double, 2>> energy_range = {};  // eV; the whole axis if absent
};

// Scores the spectra of a scan while it is running, by a state that does not change (detection_state.h),
// given or learned from its first rows: the final scores are bit for bit those of a detection with this state
// in the whole image. Spectra may come in any order. Rows are worked on from the first one on, as they are
// complete: all their spectra there. When `patience` rows after an incomplete one are complete, or spectra
// come from more than 32 rows after it, it is given up: what is missing of it is from then on an excluded
// pixel.
//
// A score is final once no spectrum that is still to come can change it, reach() rows later. Before that it
// is provisional: what it would have been, had the scan ended with the rows that were complete.
//
// Memory: 21 bytes of maps for each pixel, and spectra of the rows in flight, some five times reach() and
// those open, or those that are learned from. Works in the caller's thread; one thread at a time.
class RowSession {
 public:
  static constexpr int64_t default_patience = 2;

  // For a state with a baseline; or with what a model expects (source), which the state was made with.
  // UserError where the scan cannot be scored by this state, with what would be right: another energy axis
  // than the state's; no pixels; a mask of another size; patience below 1.
  RowSession(std::shared_ptr<const DetectionState> state, ScanPlan plan, int64_t patience = default_patience,
             std::unique_ptr<RowExpectation> source = nullptr);
  // Learns its state from the first rows, once they are complete or given up, and then scores them, too.
  // UserError where such a state cannot be kept, the scan has fewer rows, or these cannot suffice, and as
  // above; push() and finish() throw NothingLearned, with what learn_state() says, where the rows do not
  // suffice.
  RowSession(const LearnFromRows& learning, ScanPlan plan, int64_t patience = default_patience);
  ~RowSession();
  RowSession(RowSession&&) noexcept;

  // Whether push() would take spectra of these pixels, before it has looked at them. UserError.
  void check(int64_t first, int64_t count) const;
  // Takes spectra (count, channels) of the plan's axis, counts, of the pixels first, first + 1, ... in the
  // order y * width + x. Returns the rows whose scores became final. UserError, and nothing is taken: pixels
  // beyond the scan; counts that are not finite in a pixel that is not excluded; after finish(). Whatever
  // else it throws, NothingLearned or what the system has not, ends the session, as it does in the two below:
  // some rows were taken that have no scores, and a further call of the three is a UserError that says why.
  Rows push(int64_t first, int64_t count, std::span<const float> spectra);
  // Scores the complete rows that have no score yet, and returns them. For when no spectra are waiting: it
  // costs up to three times what a final row does.
  Rows score_provisionally();
  // The scan is over: what is missing will not come. All scores are then final; returns the rows that became
  // so.
  Rows finish();
  bool finished() const;

  int64_t height() const;
  int64_t width() const;
  // Scores of the rows below are final; those of the rows from there to scored_rows() are provisional.
  int64_t final_rows() const;
  int64_t scored_rows() const;
  // Rows from 0 on that are complete or given up.
  int64_t complete_rows() const;
  // A row's score is final when so many rows after it are complete. 0 while the state is being learned.
  int64_t reach() const;
  const ScanCounts& counts() const;
  // Null while it is being learned.
  std::shared_ptr<const DetectionState> state() const;

  // (y, x): NaN in excluded pixels and where there is no score yet.
  std::span<const float> scores() const;
  // By the rate and the state's null, of the scores there are: provisional until finished(). Infinite while
  // there is none.
  double threshold() const;
  // The spectra above the threshold that fit worst, the worst first; `most` at most, and no more than 64.
  std::vector<AnomalousSpectrum> worst(int64_t most) const;
  // Scores, threshold, mask and regions, these without deviations and explanations, and why the threshold may
  // not be trusted; as of what is known so far. UserError while there is no score.
  Detection result() const;
  // (y, x), not 0: why a pixel has no score (Exclusion), as far as is known.
  std::span<const uint8_t> excluded() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace eelsvae
