#pragma once

#include <cstdint>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/serve/messages.h"

namespace eelsvae {

// How long after a row's end its scores are there, of the last rows.
class Delays {
 public:
  void add(double seconds);
  // {"last", "p50", "p99", "max"} in ms over the last 1,024 rows, and "rows": so many there were in all; null
  // before the first.
  nlohmann::json in_ms() const;

 private:
  std::vector<float> recent_;
  size_t next_ = 0;
  int64_t rows_ = 0;
  float largest_ = 0;  // of all
};

// How fast spectra come, over the last two seconds.
class RecentRate {
 public:
  void add(double time, int64_t spectra);
  double per_second(double now) const;

 private:
  struct Sample {
    double time;
    int64_t spectra;
  };
  std::vector<Sample> samples_;
};

enum class ScanStage { running, ended, failed };
std::string to_string(ScanStage stage);

// What is known of a scan at a moment, without its maps.
struct ScanState {
  ScanStage stage = ScanStage::running;
  std::string failure;  // why it failed
  std::string series, title;
  std::string scored_by;
  int64_t height = 0, width = 0, channels = 0;
  int64_t reach = 0;
  int64_t final_rows = 0, scored_rows = 0, complete_rows = 0;
  ScanCounts counts;
  double threshold = 0;            // provisional until the scan has ended; NaN: none yet
  double rate = 0;                 // spectra/s
  std::optional<double> capacity;  // spectra/s
  Delays provisional_delay, final_delay;
  int64_t anomalous = 0;            // spectra above the threshold
  std::vector<std::string> doubts;  // why the threshold may not be trusted
};
// As `status` and the page have it.
nlohmann::json to_json(const ScanState& state);

// The scan as the page shows it. Written by the thread that scores, read by those that answer browsers.
class LiveView {
 public:
  // service: its version, for people.
  explicit LiveView(std::string service);

  // A scan begins: nothing of another one is shown any longer.
  void begin(const ScanState& state, const std::vector<uint8_t>& excluded);
  void set_state(const ScanState& state);
  void set_producer_lost(bool lost);
  // Rows [first, last) of the map `scores` (y, x) are new.
  void set_rows(Rows rows, std::span<const float> scores);
  void set_worst(std::vector<AnomalousSpectrum> worst, const Axis& energy);

  // The state, {"scan": null} without one. "producer lost" where it runs and nobody sends.
  nlohmann::json state() const;
  // What has changed since a version that this has given, or everything (-1): the keys of state(), "version"
  // and, of a scan, "all": whether nothing that was told before counts, and then "excluded", if pixels are: a
  // bit for each (base64, the lowest bit of a byte first); "rows": [[first, last), ...], and "scores" of them
  // (base64 of float32, NaN: none, as are all rows that were never told); "more": whether there are more of
  // them than one answer takes, which the version leads to; and, if they are others, "worst".
  nlohmann::json changes_since(int64_t version) const;

 private:
  nlohmann::json state_unlocked() const;

  mutable std::mutex mutex_;
  const std::string service_;
  std::optional<ScanState> scan_;
  bool producer_lost_ = false;
  std::vector<float> scores_;
  std::vector<uint8_t> excluded_;      // bits
  std::vector<int64_t> row_versions_;  // no two the same
  std::vector<AnomalousSpectrum> worst_;
  Axis energy_;
  int64_t version_, begun_ = 0, worst_version_ = 0;  // version_ is higher than those of services before
};

}  // namespace eelsvae
