#pragma once

#include <string>
#include <vector>

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

// A detection by a model or a baseline, into its folder, which it prepares unless that is done.
int detect_into(JobFolder& output, const DetectionRequest& request);

}  // namespace eelsvae
