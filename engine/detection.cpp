#include "engine/detection.h"

#include <algorithm>
#include <limits>

#include "engine/excluded.h"
#include "engine/reconstruction.h"
#include "engine/scores.h"
#include "engine/thresholds.h"
#include "kernels/error.h"

namespace eelsvae {

int64_t Detection::anomalous_pixels() const {
  return std::count(mask.begin(), mask.end(), uint8_t{1});
}

void check_detection(const SpectrumImage& prepared, const TilesConfig& tiles, const DetectionConfig& config) {
  if (config.score != "pearson")
    throw UserError("detection.score: there is no score '" + config.score + "'; there is pearson");
  if (config.window) channel_window(prepared.energy, *config.window);
  if (std::min(prepared.y.size, prepared.x.size) < tiles.image_size)
    throw UserError("the image, " + std::to_string(prepared.y.size) + " x " +
                    std::to_string(prepared.x.size) + " pixels, is smaller than the model's tiles, " +
                    std::to_string(tiles.image_size) + " x " + std::to_string(tiles.image_size));
}

Detection detect(Model& model, const SpectrumImage& prepared, const DetectionConfig& config,
                 const std::function<bool(int64_t, int64_t)>& after_batch) {
  Detection found;
  expect(config.score == "pearson", "detect: unknown score");
  found.window = config.window ? channel_window(prepared.energy, *config.window)
                               : ChannelWindow{0, prepared.energy.size};
  found.reconstruction = reconstruct_image(model, prepared, config.stride, config.blend, after_batch);
  if (found.reconstruction.empty()) return found;
  fill_excluded(prepared.excluded, found.reconstruction, 0);
  found.scores = pearson_scores(prepared, found.reconstruction, found.window);
  for (size_t pixel = 0; pixel < prepared.excluded.size(); ++pixel)
    if (prepared.excluded[pixel]) found.scores[pixel] = std::numeric_limits<float>::quiet_NaN();
  found.threshold = config.threshold ? *config.threshold : otsu_threshold(found.scores, prepared.excluded);
  found.mask = anomalous(found.scores, found.threshold);
  return found;
}

}  // namespace eelsvae
