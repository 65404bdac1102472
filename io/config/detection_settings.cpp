#include "io/config/detection_settings.h"

#include <algorithm>
#include <array>

#include "io/config/config.h"
#include "io/config/config_fields.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Keys that speak of one image and not of what the model learned from it. Made when they are asked for: what
// a library makes when it is loaded would have to run on every processor.
const std::vector<std::string>& image_keys() {
  static const std::vector<std::string> keys = {"preprocess.crop_y", "preprocess.crop_x",
                                                "preprocess.set_aside", "preprocess.align_path",
                                                "preprocess.align_dataset"};
  return keys;
}

}  // namespace

bool apply_to_detection(const std::vector<std::string>& settings, Config& config, const std::string& origin) {
  const bool forgotten = config.data.exclude_path || !config.data.exclude.empty();
  config.data.exclude_path.reset();
  config.data.exclude.clear();
  for (const std::string& setting : settings) {
    const std::string key = setting.substr(0, setting.find('='));
    if (key == "data.energy_range")
      throw UserError(origin + " " + key +
                      ": belongs to the trained model, which has the channels that it was trained on; "
                      "detection.window says where a deviation counts");
    if (!key.starts_with("detection.") && !key.starts_with("data.") && key != "device" &&
        key != "precision" && std::ranges::find(image_keys(), key) == image_keys().end())
      throw UserError(origin + " " + key +
                      ": belongs to the trained model; a detection can set detection.*, data.*, " +
                      joined(image_keys(), ", ", ", ") + ", device and precision");
    set_value(config, setting);
  }
  check_config(config, origin);
  return forgotten;
}

void forget_training_image(PreprocessConfig& preprocess) {
  preprocess.crop_y.reset();
  preprocess.crop_x.reset();
  preprocess.align_path.reset();
  preprocess.align_dataset = -1;
}

}  // namespace eelsvae
