#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/network/model.h"
#include "kernels/backend.h"

namespace eelsvae {

// Which of a device's ways to compute (precisions, and kernels for them) is to compute a network, and why.
struct KernelChoice {
  // only: there is nothing to choose from. remembered: measured before, by this user on this device.
  enum class Origin { only, remembered, measured };
  // Estimated seconds of a training step or of a reconstruction of one batch.
  struct Time {
    BackendVariant variant;
    double seconds;
  };
  BackendVariant variant;
  Origin origin = Origin::only;
  std::vector<Time> times;  // if measured
};

// The fastest of what is offered for the network: its layers at their real channels and energies, but on a
// few lines of the scan and a few rows of the Linear layers, are timed in every variant, which takes about
// a second where memory is at hand. The answer is remembered (kernels/plan_cache.h), so that the next process
// takes the same.
KernelChoice choose_kernels(const BackendOffer& offer, const ModelShape& shape, ReconstructionLoss loss,
                            int64_t batch, Purpose purpose);

// Whether and how it was chosen, in one line for a log.
std::string describe(const KernelChoice& choice);

// A network with its weights, ready to reconstruct images (engine/detect/expectation.h).
struct TrainedModel {
  KernelChoice choice;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;  // on the backend, for inference
};

}  // namespace eelsvae
