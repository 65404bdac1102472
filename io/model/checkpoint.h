#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/config.h"
#include "engine/detect/comparison.h"
#include "engine/image/spectrum_image.h"
#include "engine/network/model.h"
#include "engine/prepare/alignment.h"
#include "engine/prepare/scaling.h"
#include "engine/train/trainer.h"
#include "io/files/provenance.h"
#include "io/files/safetensors.h"
#include "kernels/backend.h"

namespace eelsvae {

// A checkpoint is a safetensors file: weights under the names, shapes and order of axes of the published
// PyTorch module, Adam's moments as optimizer.m.<name> and optimizer.v.<name> where training is to go on.
// What else belongs to a model travels as JSON text in the file's metadata.
struct CheckpointInfo {
  Config config;
  Axis energy;                                       // of the prepared spectra, eV
  ScalingParameters scaling;                         // fitted on the training image
  std::vector<EpochRecord> history;                  // of the training so far
  std::optional<TrainingState> training;             // in last.safetensors; its history is the one above
  std::optional<AlignmentReference> alignment = {};  // of the training image, if preprocess.align is set
  // What computed the training: a run that goes on takes the same, so that its bits do not depend on when it
  // was stopped. Absent in files that earlier versions wrote.
  std::optional<BackendVariant> computed_by = {};
  std::optional<Comparison> comparison = {};  // on the held-out spectra, if there were any
  // Their scores by config.detection, ascending, for conformal thresholds. Empty: uncalibrated.
  std::vector<float> normal_scores = {};
  Provenance provenance = {};  // empty in files that earlier versions wrote
};

// Writes the model's state beside the target, flushes and renames. Moments are written if info.training is
// set. UserError if it cannot be written.
void write_checkpoint(const std::string& path, const Model& model, const CheckpointInfo& info);

// The same file's bytes in memory, for who keeps models without files.
std::vector<std::byte> checkpoint_content(const Model& model, const CheckpointInfo& info);

// Bytes that write_checkpoint needs on disk, to a few kilobytes.
uint64_t checkpoint_bytes(const ModelShape& shape, bool with_moments);

// UserError if the file carries no model description (weights from elsewhere), or a broken one.
CheckpointInfo read_checkpoint_info(const SafetensorsFile& file);

// Loads weights, and moments if `moments`, of any file with the module's names: ours or one that PyTorch
// wrote. F32, BF16, F16 and F64 are accepted. UserError if a tensor is missing, has another shape, or is not
// known to the module; the model is then in an undefined state.
void load_checkpoint(const SafetensorsFile& file, Model& model, bool moments);

// One epoch as it stands in metrics.jsonl.
nlohmann::json metrics_of(const EpochRecord& record);

}  // namespace eelsvae
