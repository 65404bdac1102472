#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "include/eelsvae/eelsvae.h"
#include "interface/caller.h"
#include "io/files/safetensors.h"
#include "io/model/checkpoint.h"

namespace eelsvae {

// A checkpoint in memory, of which any number of networks can be made. It never changes.
struct ModelInMemory {
  // name: for messages. UserError as SafetensorsFile and read_checkpoint_info() have it.
  ModelInMemory(std::vector<std::byte> bytes, const std::string& name);
  ModelInMemory(const ModelInMemory&) = delete;  // the file refers to the content
  ModelInMemory& operator=(const ModelInMemory&) = delete;

  const std::vector<std::byte> content;
  const SafetensorsFile file;
  const CheckpointInfo info;
  const std::string config_text;
};

// path: a checkpoint, or the folder of a run. UserError if it cannot be read.
std::shared_ptr<const ModelInMemory> open_model(const std::string& path);

// A training as io/run/training_job.cpp has it, of an image in a caller's memory. stopped: whether the caller
// ended it; null if no epoch was complete then, or in so many minutes. UserError as TrainingJob and prepare()
// have it.
std::shared_ptr<const ModelInMemory> train_model(const eelsvae_image* image, const Config& config,
                                                 Caller& caller, bool& stopped,
                                                 std::optional<double> minutes = {});

}  // namespace eelsvae
