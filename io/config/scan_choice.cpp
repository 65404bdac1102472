#include "io/config/scan_choice.h"

#include <algorithm>
#include <utility>

#include "engine/prepare/preprocess.h"
#include "io/config/config.h"

namespace eelsvae {

ScanChoice choose_for_image(ImageToRead image, const std::vector<std::string>& settings) {
  Config given;
  std::optional<int64_t> tile;
  for (const std::string& setting : settings) {
    set_value(given, setting);
    if (setting.starts_with("tiles.image_size=")) tile = given.tiles.image_size;
  }
  PreprocessConfig crops = given.preprocess;
  crops.set_aside = 0;
  crops.despike = 0;
  crops.align = Align::none;
  const bool calibrated = given.preprocess.align == Align::none;  // otherwise alignment tells the energies
  const SpectrumImage used =
      reduce(std::move(image), crops, calibrated ? given.data.energy_range : std::nullopt).image;
  return {choose_configuration(used, tile), used.energy, used.pixels()};
}

Winner best_of(const std::optional<Comparison>& comparison, int64_t pixels, const DetectionConfig& wanted) {
  constexpr int64_t enough_for_pca = 256;
  if (!comparison || !comparison->model)
    return pixels >= enough_for_pca
               ? Winner{false, "pca:auto", "PCA is used, for no model was trained"}
               : Winner{false, "mean", "The mean spectrum is used, for so few spectra tell no more"};
  if (needs_model(wanted.score) || wanted.score == Score::amounts || wanted.threshold_by_held_out())
    return {true, "", "The model is used, for the score or the threshold needs one"};
  constexpr double clearly = 0.001;  // what is simpler is preferred otherwise
  const bool has_pca = comparison->pca && comparison->components > 0;
  if (wanted.score == Score::joint && *comparison->model + clearly <= comparison->mean)
    return {true, "", "The model is used, for it knows from its surroundings what belongs at a place"};
  const double model = *comparison->model + clearly, mean = comparison->mean,
               pca = has_pca ? *comparison->pca : mean;
  const std::string by = " predicts spectra that it was not fitted to best, and is used";
  if (model <= std::min(mean, pca)) return {true, "", "The model" + by};
  if (has_pca && pca <= mean) return {false, "pca:auto", "PCA" + by};
  return {false, "mean", "The mean spectrum" + by};
}

}  // namespace eelsvae
