#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/detect/detection.h"
#include "engine/detect/detection_state.h"
#include "engine/image/spectrum_image.h"
#include "engine/live/row_expectation.h"

namespace eelsvae {

// A scan that is still to come: its grid, the energies of its spectra, and the pixels that will not be looked
// at (y, x; nonzero), or none.
struct ScanPlan {
  int64_t height = 0, width = 0;
  Axis energy;  // eV
  std::vector<uint8_t> excluded = {};
};

// Rows [first, last) of a scan.
struct Rows {
  int64_t first = 0, last = 0;
  int64_t count() const { return last - first; }
  bool operator==(const Rows&) const = default;
};

// What became of the spectra so far. Pixels that the plan excludes are not counted.
struct ScanCounts {
  int64_t received = 0;  // that were taken, each pixel once
  int64_t repeated = 0;  // that came again while their row was open: the last one counts
  int64_t late = 0;      // that came when their row was complete or given up: not taken
  int64_t missing = 0;   // that had not come when their row was given up: excluded pixels from then on
  bool operator==(const ScanCounts&) const = default;
};

// A spectrum that does not fit, for who looks at it while the scan is running.
struct AnomalousSpectrum {
  int64_t pixel = 0;  // y * width + x
  float score = 0;
  bool final = false;
  Deviation deviation;
  std::vector<float> observed, expected;  // (E) prepared, on DetectionState::fitted.energy
};

// Scores the spectra of a scan while it is running, by a state that does not change (detection_state.h): the
// final scores are bit for bit those of a detection with this state in the whole image. Spectra may come in
// any order. Rows are worked on from the first one on, as they are complete: all their spectra there. When
// `patience` rows after an incomplete one are complete, or spectra come from more than 32 rows after it, it
// is given up: what is missing of it is from then on an excluded pixel.
//
// A score is final once no spectrum that is still to come can change it, reach() rows later. Before that it
// is provisional: what it would have been, had the scan ended with the rows that were complete.
//
// Memory: maps of the scan, and spectra of the rows in flight, some three times reach() and those open. Works
// in the caller's thread; one thread at a time.
class RowSession {
 public:
  static constexpr int64_t default_patience = 2;

  // For a state with a baseline; or with what a model expects (source), which the state was made with.
  // UserError where the scan cannot be scored by this state, with what would be right: another energy axis
  // than the state's; no pixels; a mask of another size.
  RowSession(std::shared_ptr<const DetectionState> state, ScanPlan plan, int64_t patience = default_patience,
             std::unique_ptr<RowExpectation> source = nullptr);
  ~RowSession();
  RowSession(RowSession&&) noexcept;

  // Takes spectra (count, channels) of the plan's axis, counts, of the pixels first, first + 1, ... in the
  // order y * width + x. Returns the rows whose scores became final. UserError, and nothing is taken: pixels
  // beyond the scan; counts that are not finite in a pixel that is not excluded; after finish().
  Rows push(int64_t first, int64_t count, std::span<const float> spectra);
  // Scores the complete rows that have no score yet, and returns them. For when no spectra are waiting: it
  // costs several times what a final row does.
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
  // A row's score is final when so many rows after it are complete.
  int64_t reach() const;
  const ScanCounts& counts() const;
  const DetectionState& state() const;

  // (y, x): NaN in excluded pixels and where there is no score yet.
  std::span<const float> scores() const;
  std::span<const Deviation> deviations() const;
  // (y, x), not 0: why a pixel has no score (Exclusion), as far as is known.
  std::span<const uint8_t> excluded() const;
  // By the rate and the state's null, of the scores there are: provisional until finished(). Infinite while
  // there is none.
  double threshold() const;
  // The spectra above the threshold that fit worst, the worst first; `most` at most, and no more than 64.
  std::vector<AnomalousSpectrum> worst(int64_t most) const;
  // Scores, threshold, mask and regions, these without deviations and explanations, and why the threshold may
  // not be trusted; as of what is known so far. UserError while there is no score.
  Detection result() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace eelsvae
