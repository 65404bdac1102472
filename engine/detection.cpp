#include "engine/detection.h"

#include <algorithm>

#include "engine/reconstruction.h"
#include "engine/scores.h"
#include "engine/thresholds.h"

namespace eelsvae {

int64_t Detection::anomalous_pixels() const {
  return std::count(mask.begin(), mask.end(), uint8_t{1});
}

Detection detect(Model& model, const SpectrumImage& prepared, const DetectionConfig& config,
                 const std::function<bool(int64_t, int64_t)>& after_batch) {
  Detection found;
  found.window = config.window ? channel_window(prepared.energy, *config.window)
                               : ChannelWindow{0, prepared.energy.size};
  found.reconstruction = reconstruct_image(model, prepared, config.stride, config.blend, after_batch);
  if (found.reconstruction.empty()) return found;
  found.scores = pearson_scores(prepared, found.reconstruction, found.window);
  found.threshold = config.threshold ? *config.threshold : otsu_threshold(found.scores);
  found.mask = anomalous(found.scores, found.threshold);
  return found;
}

}  // namespace eelsvae
