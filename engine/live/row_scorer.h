#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/detect/detection.h"
#include "engine/detect/detection_state.h"
#include "engine/detect/expectation.h"
#include "engine/detect/learned_score.h"
#include "engine/detect/normal_variation.h"
#include "engine/detect/whitened_score.h"
#include "engine/image/spectrum_image.h"
#include "engine/live/row_band.h"
#include "engine/live/row_expectation.h"
#include "engine/live/row_filter.h"

namespace eelsvae {

// Rows [first, last) of a scan.
struct Rows {
  int64_t first = 0, last = 0;
  int64_t count() const { return last - first; }
  bool operator==(const Rows&) const = default;
};

// A spectrum that does not fit, for who looks at it while the scan is running.
struct AnomalousSpectrum {
  int64_t pixel = 0;  // y * width + x
  float score = 0;
  bool final = false;
  Deviation deviation;
  std::vector<float> observed, expected;  // (E) prepared, on DetectionState::fitted.energy
};

// Scores the rows of a scan one after the other, by the state of another detection; the final scores are bit
// for bit those of a detection with this state in the whole image. A score is final once no row that is still
// to come can change it, reach() rows later.
class RowScorer {
 public:
  // Bits of `excluded` that are known before (y, x), or none. UserError as MatchedFilters has it.
  RowScorer(std::shared_ptr<const DetectionState> state, int64_t height, int64_t width,
            std::span<const uint8_t> excluded, std::unique_ptr<RowExpectation> source);

  // Takes the next row of counts (1, x, E), which has the channels that the state's are made of.
  void add_row(SpectrumImage row);
  // Scores what can be scored for good; add_row() does so now and then, too.
  void advance();
  // Scores the rows that have no score yet as if none came after those that are there; returns them.
  Rows score_provisionally();

  int64_t complete_rows() const { return complete_; }
  int64_t final_rows() const { return final_rows_; }
  int64_t scored_rows() const { return std::max(scored_rows_, final_rows_); }
  int64_t reach() const;
  const std::vector<float>& scores() const { return scores_; }  // (y, x), NaN without
  const std::vector<uint8_t>& excluded() const { return excluded_; }
  double threshold() const;  // infinite while there is no score
  // Those above a score that fit worst, the worst first; `most` at most, and no more than 64.
  std::vector<AnomalousSpectrum> worst(int64_t most, double above) const;
  Detection result() const;  // as RowSession::result() has it

 private:
  std::span<const uint8_t> mask_of(int64_t first, int64_t last) const;
  SpectrumImageView prepared(int64_t first, int64_t last) const;
  void take_prepared(const PreparedRows& more);
  void take_expected();
  const ResidualModel& model_of(int64_t first, int64_t last);
  void score(int64_t first, int64_t last, bool final);
  void keep_worst(int64_t first, int64_t last, bool final);
  std::vector<uint8_t> without_score() const;

  std::shared_ptr<const DetectionState> state_;
  int64_t height_, width_;
  std::unique_ptr<RowExpectation> source_;
  RowFilter filter_;
  ChannelWindow window_;
  ResidualModel model_;  // with the noise of the rows that are worked on
  MatchedFilters filters_;
  AmountMaps amounts_;
  std::optional<HeadScorer> head_;  // of Score::learned
  std::vector<uint8_t> excluded_;
  std::vector<float> scores_;
  std::vector<Deviation> deviations_;
  int64_t first_prepared_ = 0;  // that is kept
  RowBand prepared_, expected_, own_scores_, noise_;
  Expectation known_;  // of the rows that are worked on
  int64_t complete_ = 0, final_rows_ = 0, scored_rows_ = 0;
  // Each the worst of all its rows, the worst first: a provisional score is gone with its row's final one,
  // and takes no final one's place.
  std::vector<AnomalousSpectrum> worst_final_, worst_provisional_;
};

}  // namespace eelsvae
