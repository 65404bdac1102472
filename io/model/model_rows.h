#pragma once

#include <cstdint>
#include <memory>

#include "engine/config.h"
#include "engine/detect/detection_state.h"
#include "engine/live/row_expectation.h"
#include "engine/network/kernel_choice.h"
#include "io/files/safetensors.h"

namespace eelsvae {

// UserError where a state was not made with this model, with what would be right.
void check_made_with(const SafetensorsFile& file, const DetectionState& state);

// A model for the rows of scans of so many pixels, by a state that was made with it. config: of the model,
// with the device's keys. UserError for another model than the state's, and as load_trained_model() has it.
std::shared_ptr<TrainedModel> load_row_model(const SafetensorsFile& file, const Config& config,
                                             const DetectionState& state, int64_t height, int64_t width,
                                             const BackendOffer& offer);

// What it expects of the rows of such a scan. Several scans may share a model, in one thread. UserError as
// RowReconstruction has it.
std::unique_ptr<RowExpectation> rows_of_model(std::shared_ptr<TrainedModel> model,
                                              const DetectionState& state, int64_t height, int64_t width);

// Both, for one scan.
std::unique_ptr<RowExpectation> load_model_rows(const SafetensorsFile& file, const Config& config,
                                                const DetectionState& state, int64_t height, int64_t width,
                                                const BackendOffer& offer);

}  // namespace eelsvae
