#include "engine/detect/kept_detection.h"

#include <utility>

#include "engine/detect/expectation.h"
#include "engine/image/excluded.h"
#include "kernels/error.h"

namespace eelsvae {

std::string why_not_kept(const PreprocessConfig& preprocess, const DetectionConfig& detection) {
  std::string with;
  if (!can_be_kept(detection.score))
    with =
        "this detection.score, which sets several scores of an image against each other; use whitened or "
        "learned";
  else if (detection.pooling > 0)
    with = "detection.pooling, which needs the scores of the whole image; leave it at 0";
  else if (!detection.threshold && detection.threshold_method != ThresholdMethod::fdr)
    with = "this detection.threshold_method, which looks at each image anew; use fdr";
  else if (preprocess.despike > 0)
    with = "preprocess.despike, which measures the noise of the whole image; leave it at 0";
  else if (preprocess.align != Align::none)
    with = "preprocess.align, which gives unclear spectra the shift of the others; leave it at none";
  else if (preprocess.bin_xy > 1)
    with = "preprocess.bin_xy; bin in energy alone, or let the scan take larger steps";
  return with.empty() ? "" : "the state of a detection cannot be kept with " + with;
}

void check_can_be_kept(const PreprocessConfig& preprocess, const DetectionConfig& detection) {
  if (const std::string why = why_not_kept(preprocess, detection); !why.empty()) throw UserError(why);
}

DetectionState keep_detection(const PreparedImage& prepared, const Detection& found, const Baseline* baseline,
                              const PreprocessConfig& preprocess, const DetectionConfig& detection) {
  check_can_be_kept(preprocess, detection);
  if (!found.null)
    throw UserError(
        "the state of a detection cannot be kept: too few spectra, or all alike, to tell how normal ones "
        "score; take a larger scan");
  DetectionState state;
  state.preprocess = preprocess;
  state.preprocess.crop_y = state.preprocess.crop_x = std::nullopt;
  state.detection = detection;
  state.fitted = {prepared.image.energy, prepared.scaling, std::nullopt, prepared.set_aside};
  if (baseline) state.baseline = *baseline;
  state.scores = found.measured.value();
  state.null = *found.null;
  state.null.normal_share = 1;
  state.spectra = prepared.image.pixels() - excluded_pixels(prepared.image.excluded);
  state.doubts = found.doubts;
  return state;
}

DetectionState learn_state(ImageToRead image, const BaselineSpec& spec, const PreprocessConfig& preprocess,
                           const DetectionConfig& detection,
                           const std::optional<std::array<double, 2>>& energy_range, Backend* backend) {
  check_can_be_kept(preprocess, detection);
  const PreparedImage prepared =
      prepare(std::move(image), preprocess, energy_range, nullptr, std::nullopt, backend);
  const Baseline baseline(prepared.image, {}, spec);
  const Detection found =
      detect_pixels(prepared.image, expect_from(baseline, prepared.image), preprocess, detection);
  return keep_detection(prepared, found, &baseline, preprocess, detection);
}

}  // namespace eelsvae
