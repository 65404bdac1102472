#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/serve/live_scan.h"
#include "io/serve/network_training.h"

namespace eelsvae {

// Scans that are scored by what `first` says, until a network has learned from the first of them, in the
// background, how normal spectra look: that scan is then scored anew by it, from its first row on, in the
// background, too, and takes its place when it has caught up; later ones are scored by it from the beginning.
class ImprovingScans : public LiveScanSource {
 public:
  // device: settings of the model's device, "device=cuda". UserError as NetworkTraining has it.
  ImprovingScans(std::unique_ptr<LiveScanSource> first, NetworkTrainingOptions options,
                 std::vector<std::string> device);
  ~ImprovingScans() override;

  std::unique_ptr<LiveScan> open(const ScanPlan& plan) override;
  std::unique_ptr<LiveScan> open_for_trial(const ScanPlan& plan) override;
  LiveScanSource* better(const ScanPlan& plan) override;
  std::string description() const override;
  std::vector<std::string> news() override;

 private:
  class Scan;
  class Rescoring;
  struct Learned;
  struct Shared;

  std::unique_ptr<LiveScanSource> first_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace eelsvae
