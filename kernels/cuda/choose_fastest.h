#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"

namespace eelsvae::EELSVAE_GPU {

// One of several ways to compute the same.
struct Candidate {
  std::string name;           // tells it from the others, also in another process
  std::function<void()> run;  // queues it on the backend's stream, nothing else: it will be part of a graph
  // Runs it on numbers to check it by, waits, and throws if it computed something else; empty for what needs
  // no check.
  std::function<void()> check;
};

// Index of the `fastest` candidate by the device's own clock, remembered for this device with this process's
// libraries and kernels.
//
// They are timed as a step of a model runs them: from a recorded graph, with nothing in the device's second
// cache. A candidate that fails, computes something else or cannot be recorded is passed over, with a note of
// the backend; one that takes three times as long as another is not timed to the end. What is chosen was
// checked in this process, even if another remembered it or there is no other.
//
// Throws UserError if memory does not suffice, and std::runtime_error if no candidate will do.
size_t choose_fastest(CudaBackend& backend, const std::string& key, const std::vector<Candidate>& candidates);

}  // namespace eelsvae::EELSVAE_GPU
