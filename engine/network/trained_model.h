#pragma once

#include <memory>

#include "engine/network/kernel_choice.h"
#include "engine/network/model.h"
#include "kernels/backend.h"

namespace eelsvae {

// A network with its weights, ready to reconstruct images (engine/detect/expectation.h).
struct TrainedModel {
  KernelChoice choice;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;  // on the backend, for inference
};

}  // namespace eelsvae
