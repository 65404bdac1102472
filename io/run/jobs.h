#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/specimen/simulate.h"

// The jobs of the programs, each by what its command line asks for; empty: not given. They read and write
// files and have progress and a log on the terminal. Everything that a user can have got wrong is found
// before anything is written. They return the program's exit status: 0, or interrupted_status. UserError for
// the user's mistakes, Interrupted while nothing is written yet.
namespace eelsvae {

// A model, from a configuration and a spectrum image to a run folder. Or, with `init`, a configuration fitted
// to that image by the rules of engine/detect/automatic.h: complete, on stdout, where nothing else goes; what
// was chosen and why goes to stderr, a line each.
struct TrainingRequest {
  std::string init;
  std::string config, data, output = "run";
  std::string weights;                // checkpoint to start from
  std::vector<std::string> settings;  // KEY=VALUE, here and below
  std::optional<double> minutes;      // to train, at most
  bool resume = false;
  std::string go_on = "--resume";  // what the user does to train on
  std::string plan;                // print the memory plan and stop: "summary", or "full" with every buffer
};
int run_training(const TrainingRequest& request);

// From a model, a baseline or somebody else's expectation, and a spectrum image to a detection folder.
// Without any of them everything is chosen: a configuration by the rules of engine/detect/automatic.h, a
// model that is trained into the folder "model" of the output, and what predicts held-out spectra best, that
// model or a baseline.
struct DetectionRequest {
  std::string model;                // run folder or checkpoint; or instead
  std::string baseline;             // its name; or instead
  std::string expectation;          // what another program expects, an image of DATA's size and units
  std::string state;                // of a detection in another scan, its folder or file; beside a model, or
                                    // instead, for then it has a baseline
  std::string fit;                  // the image that a baseline is fitted to
  std::string config;               // the configuration that a baseline or an expectation takes
  std::vector<std::string> beside;  // baselines whose maps are to stand beside what is found, by name
  std::string data, output = "found", truth;
  std::vector<std::string> settings;
  std::optional<double> minutes;  // for everything, where a model is to be trained; 5 if absent
  bool save_reconstruction = false;
  std::vector<std::string> choices;  // that were made on the way to this request
};
int run_detection(const DetectionRequest& request);

// A study, to its folder: of simulated specimens, as a configuration says, or of the scenes in a folder, .npz
// with the arrays data (y, x, E) and truth (y, x), each scored as a detection without model and baseline
// would, and by every one of its candidates.
struct StudyRequest {
  std::string config, scenes, output;
  std::vector<std::string> settings;
  double minutes = 5;  // for each scene
  bool resume = false;
  bool plan = false;  // say how much there is to do and stop
};
int run_study(const StudyRequest& request);

// A spectrum image to another file, with what preprocessing the settings ask for and no other.
struct ConversionRequest {
  std::string input, output;
  std::string report;  // JSON: notes, replaced spikes, energy shifts
  int64_t dataset = -1;
  std::vector<std::string> settings;
};
int run_conversion(const ConversionRequest& request);

// A simulated spectrum image; of the specimen what is not given is the preset's.
struct SimulationRequest {
  SimulationSettings settings;  // but for preset, specimen and defects
  std::vector<int64_t> shape = {settings.height, settings.width,
                                settings.channels};  // channels may be absent
  std::string preset = "bfo", output, truth, labels;
  std::vector<std::string> defects;
  std::optional<double> shift_ev, anomaly_radius;
  std::optional<double> interface_angle_deg, interface_position, interface_width_nm, manganese_direction_deg,
      grain_nm, drift_ev, thickness_direction_deg, damage;
  std::optional<std::array<double, 2>> manganese, thickness;
};
int run_simulation(const SimulationRequest& request);

// How fast a device trains and applies a network.
struct BenchmarkRequest {
  std::string device, precision, kernels = "auto", config;
  std::string json;  // file for everything, written again after every figure
  int64_t energy = 1328;
  std::vector<int64_t> batches;
  bool training = false, inference = false;  // neither: both
  bool roofline = false, processor_time = false;
  double seconds = 1;  // for each figure
};
int run_benchmark(const BenchmarkRequest& request);  // 1 where results differ from the reference

// What is in a file, by its headers, as text or as JSON.
std::string contents_of(const std::string& path, bool as_json);

}  // namespace eelsvae
