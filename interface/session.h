#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/detect/baselines.h"
#include "engine/detect/detection_state.h"
#include "engine/detect/job.h"
#include "engine/image/image_to_read.h"
#include "engine/network/kernel_choice.h"
#include "engine/prepare/preprocess.h"
#include "include/eelsvae/eelsvae.h"
#include "interface/caller.h"
#include "interface/model_in_memory.h"
#include "io/files/provenance.h"
#include "io/model/detection_source.h"
#include "kernels/device_scope.h"

namespace eelsvae {

// The state of a detection, and what its file holds.
struct StateInMemory {
  explicit StateInMemory(std::shared_ptr<const DetectionState> given);

  const std::shared_ptr<const DetectionState> state;
  const std::vector<std::byte> content;
};

// What a caller's detection found, ready to be handed out.
struct FoundForCaller {
  PreparedImage prepared;  // without counts, unless they are to be kept
  CountArray expected;     // the same
  Detection found;
  int64_t scored_pixels = 0;              // all that are not excluded
  std::vector<std::string> explanations;  // of the regions
  std::string summary;                    // JSON
  // What other scans may be scored by; null where a detection like this one cannot be kept.
  std::shared_ptr<const StateInMemory> state = {};
};

// An image in a file that somebody else opens.
struct ImageFile {
  std::string path;
  DataConfig data;  // how it is taken
  std::function<ImageToRead(const StopToken&)> open;
};
using RecordInputs = std::function<std::vector<InputFile>(const StopToken&)>;

// Detections by one model, by one kind of baseline, or by the state of another one, one after the other, as
// io/run/detection_job.cpp has them.
class Session {
 public:
  // settings: "key=value". UserError for keys that a detection has no say in, and for a device that is not
  // there.
  Session(std::shared_ptr<const ModelInMemory> model, const std::vector<std::string>& settings,
          const eelsvae_options* options);
  Session(const std::string& baseline, const Config& config, const eelsvae_options* options);
  // model: null where the state has a baseline of its own.
  Session(std::shared_ptr<const ModelInMemory> model, std::shared_ptr<const StateInMemory> state,
          const std::vector<std::string>& settings, const eelsvae_options* options);
  ~Session() { leaving_.emplace(); }

  // normal: what a baseline is fitted to, as by eelsvae-detect's --fit; NULL: the image itself. records: of
  // the files that stand behind the detection, for the summary; asked for when it is done. UserError as
  // prepare() and run_detection() have it, and for a normal image beside a model or a state; Interrupted
  // where the caller asks for it.
  std::shared_ptr<const FoundForCaller> detect(const eelsvae_image* image,
                                               const eelsvae_image* normal = nullptr,
                                               const RecordInputs& records = {});
  // The same of an image in a file, of which only what is needed is read.
  std::shared_ptr<const FoundForCaller> detect(const ImageFile& file, const eelsvae_image* normal,
                                               const RecordInputs& records);
  // Of the detections.
  const Config& config() const { return source_.config; }
  // From any thread.
  void stop() { caller_.stop(); }

 private:
  std::optional<DeviceScope> leaving_;  // while all that follows is given back

  void begin();
  // with: source_, and how the image is taken.
  std::shared_ptr<const FoundForCaller> detect_in(const DetectionSource& with,
                                                  const std::function<ImageToRead(const StopToken&)>& open,
                                                  const std::string& path, const eelsvae_image* normal,
                                                  const RecordInputs& records);
  // The network, for so many tiles at a time; it stays for the next image.
  Model& network(int64_t channels, int64_t batch);
  // Scores of held-out spectra, where the threshold asks for them.
  std::vector<float> held_out_scores() const;

  Caller caller_;
  std::shared_ptr<const ModelInMemory> model_;  // or
  BaselineSpec baseline_;
  DetectionSource source_;
  std::shared_ptr<const StateInMemory> state_;  // of the source
  BackendOffer offer_{};
  std::string fallback_;
  std::unique_ptr<Backend> preparing_;
  TrainedModel trained_;
  int64_t batch_ = 0;  // of the network
};

}  // namespace eelsvae
