#pragma once

#include <string>

#include "io/run/jobs.h"

namespace eelsvae {

// The same detection in many spectrum images, each into a folder of its own. Any number of programs work on
// the same list at once, on one machine or on several that see the results' folder: each takes what nobody
// has begun.
struct BatchRequest {
  std::string list;           // of images (cube_list.h)
  DetectionRequest each;      // without data and truth; output: for all
  bool retry_failed = false;  // try again what has failed in every attempt
};

// Works until every image of the list is done or has failed, whoever worked on it: then cubes.csv, cubes.json
// and index.html in the output folder list them all. What is done already, by the same options, stays. Each
// image is worked on by a program of its own, so that one that ends it takes nothing else with it. Returns 0,
// 1 where an image failed, interrupted_status. UserError for mistakes that concern all of them.
int run_batch(const BatchRequest& request);

}  // namespace eelsvae
