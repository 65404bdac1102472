#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/live/row_session.h"

namespace eelsvae {

// A running scan, as the service needs it: what RowSession does (engine/live/row_session.h), whoever learns
// meanwhile what is normal. One thread at a time.
class LiveScan {
 public:
  virtual ~LiveScan() = default;

  // As RowSession has them.
  virtual Rows push(int64_t first, int64_t count, std::span<const float> spectra) = 0;
  virtual Rows score_provisionally() = 0;
  virtual Rows finish() = 0;
  virtual int64_t final_rows() const = 0;
  virtual int64_t scored_rows() const = 0;
  virtual int64_t complete_rows() const = 0;
  virtual int64_t reach() const = 0;
  virtual const ScanCounts& counts() const = 0;
  virtual std::span<const float> scores() const = 0;
  virtual double threshold() const = 0;  // NaN: there is none yet
  virtual std::vector<AnomalousSpectrum> worst(int64_t most) const = 0;
  virtual Detection result() const = 0;

  // Of the spectra of worst(), and of the channels of their deviations.
  virtual Axis prepared_energy() const = 0;

  // By what it is scored, in a few words.
  virtual std::string scored_by() const = 0;
  // Asked between two calls of the others, while there is time: whether something better scores it from now
  // on. All of the above but counts() and complete_rows() may then be others.
  virtual bool renew() { return false; }
};

// Opens scans, all by the same rules.
class LiveScanSource {
 public:
  virtual ~LiveScanSource() = default;
  // UserError where such a scan cannot be scored, with what would be right.
  virtual std::unique_ptr<LiveScan> open(const ScanPlan& plan) = 0;
  // One of which nothing is kept, to see whether it can be scored, and how fast.
  virtual std::unique_ptr<LiveScan> open_for_trial(const ScanPlan& plan) { return open(plan); }
  // What scores such a scan better, if it can keep up with it; null: nothing. Valid until this is asked
  // again.
  virtual LiveScanSource* better(const ScanPlan&) { return nullptr; }
  // Lines of what has happened since this was last asked, for the operator.
  virtual std::vector<std::string> news() { return {}; }
  // By what scans are scored, in a few words: "state.safetensors".
  virtual std::string description() const = 0;
};

}  // namespace eelsvae
