#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/live/row_session.h"
#include "engine/network/kernel_choice.h"
#include "io/files/safetensors.h"
#include "io/serve/live_scan.h"

namespace eelsvae {

// Scans that are scored by a state that was kept.
class ScansByState : public LiveScanSource {
 public:
  // name: of the state, for people. UserError where running scans cannot be scored by it.
  ScansByState(std::shared_ptr<const DetectionState> state, std::string name);
  std::unique_ptr<LiveScan> open(const ScanPlan& plan) override;
  std::string description() const override { return name_; }

 private:
  std::shared_ptr<const DetectionState> state_;
  std::string name_;
};

// Scans that are scored by a trained model and the state of a detection with it. The model stays loaded from
// one scan to the next of the same size.
class ScansByModel : public LiveScanSource {
 public:
  // file: the model's; config: its configuration, with the device's keys. UserError where the state was made
  // with another model, or the network cannot reconstruct rows as they come.
  ScansByModel(SafetensorsFile file, const Config& config, BackendOffer offer,
               std::shared_ptr<const DetectionState> state, std::string name);
  std::unique_ptr<LiveScan> open(const ScanPlan& plan) override;
  std::string description() const override { return name_; }

 private:
  SafetensorsFile file_;
  Config config_;
  BackendOffer offer_;
  std::shared_ptr<const DetectionState> state_;
  std::string name_;
  std::shared_ptr<TrainedModel> model_;  // for scans of so many pixels:
  int64_t height_ = 0, width_ = 0;
};

// Scans each of which learns its state from its first rows, or from all of them where it has fewer. Where
// nothing can be learned from them, push() and finish() throw a std::runtime_error, for the scan is over.
class LearningScans : public LiveScanSource {
 public:
  // UserError where a detection by this configuration cannot be kept, with what would be right.
  explicit LearningScans(LearnFromRows learning);
  std::unique_ptr<LiveScan> open(const ScanPlan& plan) override;
  std::string description() const override;

 private:
  LearnFromRows learning_;
};

// Scans that are scored by a state, which has this name for people, and by the model that it was made with, a
// run or a file; "": it has a baseline. settings: of the model's device. said: gets a line where another
// device is taken than was asked for. UserError as ScansByState and ScansByModel have it, and for other
// settings.
std::unique_ptr<LiveScanSource> scans_by(std::shared_ptr<const DetectionState> state, const std::string& name,
                                         const std::string& model, const std::vector<std::string>& settings,
                                         std::string* said = nullptr);

}  // namespace eelsvae
