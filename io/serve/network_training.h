#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/serve/recorded_scan.h"

namespace eelsvae {

struct NetworkTrainingOptions {
  std::string folder = "live";        // where each training gets a folder of its own: 1, 2, ...
  double minutes = 5;                 // for all of it
  std::optional<int64_t> rows;        // it begins with so many; absent: with all, when the scan has ended
  std::vector<std::string> settings;  // KEY=VALUE
};

// Trains a network on a recorded scan in another program, eelsvae-detect as for a file that comes alone,
// which also measures by it what running scans need, or finds that a baseline predicts spectra better. The
// program has what processor time others leave. One training at a time.
class NetworkTraining {
 public:
  // UserError where there is no such program, no network can be trained for running scans by the settings, or
  // files cannot be made in the folder.
  explicit NetworkTraining(NetworkTrainingOptions options);
  // Asks a training that runs to end; what it has so far stays in its folder.
  ~NetworkTraining();
  NetworkTraining(const NetworkTraining&) = delete;
  NetworkTraining& operator=(const NetworkTraining&) = delete;

  const NetworkTrainingOptions& options() const { return options_; }

  // A new folder for a scan and what is learned from it. UserError.
  std::string new_folder() const;
  // Trains on the file of a scan that was recorded in such a folder. UserError.
  void begin(const RecordedScan& scan, const std::string& folder);
  bool running() const { return process_ > 0; }
  // Of one that has ended since this was last asked: its folder; "" where there was nothing to learn, with a
  // line. UserError where nothing came of it, with why.
  struct Ended {
    std::string folder, line;
  };
  std::optional<Ended> ended();

  // What a training leaves in its folder: a detection's folder with a state, and in it, if a network predicts
  // best, a run.
  static std::string found_in(const std::string& folder) { return folder + "/found"; }
  static std::string model_in(const std::string& folder) { return folder + "/found/model"; }

 private:
  NetworkTrainingOptions options_;
  std::string program_, folder_;
  pid_t process_ = -1;
};

}  // namespace eelsvae
