#pragma once

#include "io/run/jobs.h"

namespace eelsvae {

// A study of recorded scenes with a known truth.
int run_scenes(const StudyRequest& request);

}  // namespace eelsvae
