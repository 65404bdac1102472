#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "io/config/scan_choice.h"
#include "io/run/job_folder.h"
#include "io/run/jobs.h"

namespace eelsvae {

// What is chosen for a scan, of which the settings say how it is read.
ScanChoice choose_for_scan(const std::string& data, const std::vector<std::string>& settings);

// What the user says takes precedence. UserError as check_config has it.
void apply_settings(Config& config, const std::string& data, const std::vector<std::string>& settings);

// A detection for which everything is chosen, into its folder, which it prepares.
int run_automatic(const DetectionRequest& request, JobFolder& output);

// What is chosen for a job that is part of a detection in `folder`, in place of a configuration in a file.
struct Chosen {
  Config config;
  JobFolder* folder = nullptr;  // prepared before the job's own
  // Called when nothing can be refused any more, before the job writes its first file.
  std::function<void()> begin = {};
};

// A training by `chosen`, or by the request's configuration if that is null. Refused, too, is what a
// detection with the model would refuse.
int train_into(const TrainingRequest& request, const Chosen* chosen);

// A detection by a model or a baseline, into its folder, which it prepares unless that is done. chosen: the
// configuration that a baseline takes, in place of the request's.
int detect_into(JobFolder& output, const DetectionRequest& request, const Chosen* chosen = nullptr);

}  // namespace eelsvae
