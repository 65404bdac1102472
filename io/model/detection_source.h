#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/detect/baselines.h"
#include "engine/detect/comparison.h"
#include "engine/detect/detection_state.h"
#include "engine/detect/job.h"
#include "engine/image/image_to_read.h"
#include "engine/prepare/preprocess.h"
#include "io/files/safetensors.h"
#include "io/model/checkpoint.h"

// What a detection works with and how it goes on, whoever asks for it: eelsvae-detect for a file, another
// program for its arrays. Settings are "key=value"; messages about them begin with `origin`, such as "--set".
namespace eelsvae {

struct DetectionSource {
  Config config;                                // of the detection
  std::optional<FittedPreprocess> fitted = {};  // absent: preprocessing is fitted to the image itself
  SourceDescription description = {};
  bool forgotten = false;                            // the training excluded pixels
  std::shared_ptr<const DetectionState> state = {};  // of another scan, which scores this one
};

// By a trained model. own_image: the image is the one that it was trained on, which is then cropped and
// aligned as it was. UserError as apply_to_detection() has it.
DetectionSource source_of_model(const CheckpointInfo& info, const std::vector<std::string>& settings,
                                bool own_image, const std::string& origin);

// Whether a file is taken as another one was; only then the model's own image is that still.
bool taken_alike(const ReadOptions& here, const ReadOptions& there);

// By a baseline that is fitted to the image, or to another one.
DetectionSource source_of_baseline(const BaselineSpec& spec, Config config);

// Puts the state of another scan's detection into a source: that of the model, or (model: null) an empty one.
// UserError for a state of another model, and for settings that belong to the state.
void take_state(std::shared_ptr<const DetectionState> state, const SafetensorsFile* model,
                const std::vector<std::string>& settings, const std::string& origin, DetectionSource& source);

// The image as it is looked at. UserError as prepare() has it, and where the detection cannot be done in it.
PreparedImage prepare_for_detection(const DetectionSource& source, ImageToRead image,
                                    std::optional<ImageToRead> drift_image, Backend& backend);

// The image that a baseline is fitted to, opened as a configuration says.
using OpenNormal = std::function<ImageToRead(const Config& config)>;

// The baseline that expects the spectra of a prepared image: the state's, or else fitted to that image or,
// where open_normal is not empty, to the one that it opens; that is prepared as this one was, but what is
// cropped and excluded is of the image under test alone. UserError as prepare() and Baseline have it, and for
// a normal image without these energies.
Baseline baseline_for(const DetectionSource& source, const BaselineSpec& spec, const PreparedImage& prepared,
                      const OpenNormal& open_normal, Backend& backend);

// By which other scans may be scored as this one. baseline, model: what expected its spectra; the other is
// null, and both where that came from elsewhere. Null where a detection like this cannot be kept; the
// source's own where it has one.
std::shared_ptr<const DetectionState> state_to_keep(const DetectionSource& source,
                                                    const PreparedImage& prepared, const Detection& found,
                                                    const Baseline* baseline, const SafetensorsFile* model);

}  // namespace eelsvae
