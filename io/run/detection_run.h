#pragma once

#include <string>
#include <vector>

namespace eelsvae {

// What eelsvae-detect is asked for; empty: not given.
struct DetectionRequest {
  std::string model;                  // run folder or checkpoint; or instead
  std::string baseline, fit, config;  // its name, the image it is fitted to, the configuration it takes
  std::string data, output = "found", truth;
  std::vector<std::string> settings;  // KEY=VALUE
  bool save_reconstruction = false;
};

// From files to a detection folder, with progress and a log on the terminal. Everything that a user can have
// got wrong is found before anything is written. Returns the program's exit status: 0, or interrupted_status.
// UserError for the user's mistakes, Interrupted while nothing is written yet.
int run_detection(const DetectionRequest& request, const std::string& version);

}  // namespace eelsvae
