#pragma once

#include "io/run/job_folder.h"
#include "io/run/jobs.h"

namespace eelsvae {

// A detection for which everything is chosen, into its folder, which it prepares.
int run_automatic(const DetectionRequest& request, JobFolder& output);

// A detection by a model or a baseline, into its folder, which it prepares unless that is done.
int detect_into(JobFolder& output, const DetectionRequest& request);

}  // namespace eelsvae
