#include "io/model/detection_source.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/detect/detection.h"
#include "engine/detect/kept_detection.h"
#include "io/config/config.h"
#include "io/config/detection_settings.h"
#include "io/model/model_rows.h"
#include "io/model/trained_model.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

bool is_of_model(const DetectionSource& source) {
  return source.description.kind == SourceDescription::Kind::model;
}

// What an image has to hold to be compared with one that has the energies `needed`. Half a channel is left to
// rounding.
void check_holds(const Axis& own, const Axis& needed) {
  const double half = 0.5 * own.scale;
  if (needed.value(0) >= own.value(0) - half && needed.value(static_cast<double>(needed.size - 1)) <=
                                                    own.value(static_cast<double>(own.size - 1)) + half)
    return;
  throw UserError("the image that the baseline is fitted to has the energies " + describe(own) +
                  ", the image under test " + describe(needed) + "; fit to one that has all of these");
}

}  // namespace

DetectionSource source_of_model(const CheckpointInfo& info, const std::vector<std::string>& settings,
                                bool own_image, const std::string& origin) {
  DetectionSource source{info.config};
  if (!own_image) forget_training_image(source.config.preprocess);
  source.forgotten = apply_to_detection(settings, source.config, origin);
  source.fitted = FittedPreprocess{info.energy, info.scaling, info.alignment};
  source.description = {SourceDescription::Kind::model, source.config.tiles.image_size, info.comparison,
                        own_image && source.config.preprocess == info.config.preprocess};
  return source;
}

bool taken_alike(const ReadOptions& here, const ReadOptions& there) {
  return here == there;
}

DetectionSource source_of_baseline(const BaselineSpec& spec, Config config) {
  DetectionSource source{std::move(config)};
  source.description.kind = kind_of(spec);
  return source;
}

void take_state(std::shared_ptr<const DetectionState> state, const SafetensorsFile* model,
                const std::vector<std::string>& settings, const std::string& origin,
                DetectionSource& source) {
  if (model) check_made_with(*model, *state);
  if (!model && !state->baseline)
    throw UserError("the state was made with a model, which expects the spectra; give that, too");
  constexpr std::array of_image = {"preprocess.crop_y", "preprocess.crop_x", "device", "precision"};
  constexpr std::array of_threshold = {"detection.fdr", "detection.threshold", "detection.elements",
                                       "detection.batch_size"};
  for (const std::string& setting : settings) {
    const std::string key = setting.substr(0, setting.find('='));
    const bool of_reading = key.starts_with("data.") && key != "data.energy_range";
    if (!of_reading && std::ranges::find(of_image, key) == of_image.end() &&
        std::ranges::find(of_threshold, key) == of_threshold.end())
      throw UserError(origin + " " + key +
                      ": belongs to the state; beside it may be set data.*, but energy_range, "
                      "preprocess.crop_y, crop_x, detection.fdr, threshold, elements, batch_size, device and "
                      "precision");
  }
  source.config.preprocess = state->preprocess;
  source.config.detection = state->detection;
  for (const std::string& setting : settings) set_value(source.config, setting);
  check_config(source.config, origin);
  source.fitted = state->fitted;
  if (state->baseline) source.description.kind = kind_of(state->baseline->spec());
  source.state = std::move(state);
}

PreparedImage prepare_for_detection(const DetectionSource& source, ImageToRead image,
                                    std::optional<ImageToRead> drift_image, Backend& backend) {
  const Config& config = source.config;
  PreparedImage prepared =
      prepare(std::move(image), config.preprocess, source.fitted ? std::nullopt : config.data.energy_range,
              source.fitted ? &*source.fitted : nullptr, std::move(drift_image), &backend);
  if (is_of_model(source)) check_non_negative(prepared.image, config.loss.reconstruction);
  check_detection(prepared.image, is_of_model(source) ? config.tiles.image_size : 0, config.detection);
  return prepared;
}

Baseline baseline_for(const DetectionSource& source, const BaselineSpec& spec, const PreparedImage& prepared,
                      const OpenNormal& open_normal, Backend& backend) {
  if (source.state) return source.state->baseline.value();
  if (!open_normal) return Baseline(prepared.image, {}, spec);
  Config config = source.config;
  forget_training_image(config.preprocess);
  config.data.exclude_path.reset();
  config.data.exclude.clear();
  ImageToRead image = open_normal(config);
  check_holds(image.image.energy, prepared.image.energy);
  const FittedPreprocess fitted{prepared.image.energy, prepared.scaling, prepared.alignment};
  const PreparedImage normal =
      prepare(std::move(image), config.preprocess, std::nullopt, &fitted, std::nullopt, &backend);
  return Baseline(normal.image, {}, spec);
}

std::shared_ptr<const DetectionState> state_to_keep(const DetectionSource& source,
                                                    const PreparedImage& prepared, const Detection& found,
                                                    const Baseline* baseline, const SafetensorsFile* model) {
  if (source.state) return source.state;
  const Config& config = source.config;
  if ((!baseline && !model) || !found.null || !why_not_kept(config.preprocess, config.detection).empty())
    return nullptr;
  DetectionState state = keep_detection(prepared, found, baseline, config.preprocess, config.detection);
  if (model) state.model_fingerprint = model_fingerprint(*model);
  return std::make_shared<const DetectionState>(std::move(state));
}

}  // namespace eelsvae
