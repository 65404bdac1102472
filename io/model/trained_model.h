#pragma once

#include <cstdint>

#include "engine/config.h"
#include "engine/network/kernel_choice.h"
#include "io/files/safetensors.h"
#include "kernels/backend.h"

namespace eelsvae {

// The network that the configuration describes, for spectra of `channels`, with the file's weights; computed
// in the fastest of the ways that are offered, `batch` tiles at a time. UserError as model_shape() and
// load_checkpoint() have it, or if the device has too little memory.
TrainedModel load_trained_model(const SafetensorsFile& file, const Config& config, int64_t channels,
                                int64_t batch, const BackendOffer& offer);

}  // namespace eelsvae
