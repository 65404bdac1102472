#include "engine/expectation.h"

#include <utility>

#include "engine/excluded.h"

namespace eelsvae {

Expectation expect_from(Model& model, const SpectrumImage& prepared, const DetectionConfig& config,
                        const std::function<bool(int64_t, int64_t)>& after_batch) {
  Reconstruction reconstruction =
      reconstruct_image(model, prepared, config.stride, config.blend, after_batch);
  if (!reconstruction.spectra.empty()) fill_excluded(prepared.excluded, reconstruction.spectra, 0);
  return {std::move(reconstruction.spectra),
          {},
          std::move(reconstruction.grid),
          std::move(reconstruction.latent)};
}

Expectation expect_from(const Baseline& baseline, const SpectrumImage& prepared) {
  return {baseline.expected(prepared), baseline.own_scores(prepared).value_or(std::vector<float>{}), {}, {}};
}

}  // namespace eelsvae
