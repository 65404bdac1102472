#pragma once

#include <cstdint>
#include <string>

#include "engine/config.h"
#include "engine/network/kernel_choice.h"
#include "engine/stop_token.h"
#include "io/files/safetensors.h"
#include "io/model/checkpoint.h"
#include "kernels/backend.h"

namespace eelsvae {

// The network that the configuration describes, for spectra of `channels`, with the file's weights; computed
// in the fastest of the ways that are offered, `batch` tiles at a time. UserError as model_shape() and
// load_checkpoint() have it, or if the device has too little memory.
TrainedModel load_trained_model(const SafetensorsFile& file, const Config& config, int64_t channels,
                                int64_t batch, const BackendOffer& offer);

// Of a model's weights, 16 hexadecimal digits: another model has another one.
std::string model_fingerprint(const SafetensorsFile& file);

// Puts into the description of a model what only the trained one can tell: what it finds beside the
// baselines, if info.comparison is there, and, for conformal thresholds that then need no training image, the
// scores of the spectra that were held out. prepared: the image that it was trained on. UserError as detect()
// has it, Interrupted while it reconstructs.
void complete_description(CheckpointInfo& info, Model& model, const SpectrumImageView& prepared,
                          const StopToken& stop = {});

}  // namespace eelsvae
