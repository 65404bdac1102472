#include "engine/detect/expectation.h"

#include <utility>

#include "engine/image/excluded.h"
#include "engine/stop_token.h"

namespace eelsvae {

Expectation expect_from(Model& model, const SpectrumImageView& prepared, const DetectionConfig& config,
                        const TilesDone& tiles_done, const StopToken& stop) {
  Reconstruction reconstruction =
      reconstruct_image(model, prepared, config.stride, config.blend, config.passes, tiles_done, stop);
  fill_excluded(prepared.excluded, reconstruction.spectra, 0);
  return {std::move(reconstruction.spectra),
          {},
          reconstruction.latent.empty() ? std::nullopt : std::optional(std::move(reconstruction.grid)),
          std::move(reconstruction.latent),
          model.loss_kind() == ReconstructionLoss::poisson};
}

Expectation expect_from(const Baseline& baseline, const SpectrumImageView& prepared) {
  return {baseline.expected(prepared),
          baseline.own_scores(prepared).value_or(std::vector<float>{}),
          {},
          {},
          false,
          baseline.components() > 0};
}

}  // namespace eelsvae
