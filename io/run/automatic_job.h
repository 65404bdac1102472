#pragma once

#include "io/run/jobs.h"

namespace eelsvae {

// A detection that was given neither a model nor a baseline.
int run_automatic(const DetectionRequest& request);

// UserError unless a training can last so long.
void check_minutes(double minutes);

}  // namespace eelsvae
