#pragma once

#include "io/run/jobs.h"

namespace eelsvae {

// A detection that was given neither a model nor a baseline.
int run_automatic(const DetectionRequest& request);

}  // namespace eelsvae
