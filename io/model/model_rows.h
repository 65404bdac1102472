#pragma once

#include <cstdint>
#include <memory>

#include "engine/config.h"
#include "engine/detect/detection_state.h"
#include "engine/live/row_expectation.h"
#include "engine/network/kernel_choice.h"
#include "io/files/safetensors.h"

namespace eelsvae {

// What a model expects of the rows of a scan of so many pixels, by a state that was made with it. config: of
// the model, with the device's keys. UserError for another model than the state's, and as
// load_trained_model() and RowReconstruction have it.
std::unique_ptr<RowExpectation> load_model_rows(const SafetensorsFile& file, const Config& config,
                                                const DetectionState& state, int64_t height, int64_t width,
                                                const BackendOffer& offer);

}  // namespace eelsvae
