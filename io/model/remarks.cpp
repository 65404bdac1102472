#include "io/model/remarks.h"

#include <algorithm>
#include <utility>

#include "engine/image/excluded.h"
#include "engine/short_number.h"

namespace eelsvae {
namespace {

// Why a model may know no more of the specimen than the mean spectrum, and what to do about it.
std::string likely_cause(const Config& config, const EpochRecord& last, const Comparison& comparison,
                         bool settled) {
  if (last.active_latent_units == 0)
    return "the posterior has collapsed and every tile gives the same latent vector; raise loss.dose or "
           "loss.kl_warmup_epochs, or lower loss.kl_weight";
  if (!settled)
    return "the training ended before the prediction had settled; train longer, or raise "
           "training.learning_rate";
  if (comparison.mean < 1.002)
    return "there is nothing more to know, for the spectra differ by little but noise; --baseline mean does "
           "as well";
  if (config.preprocess.xy_window > 1 || config.preprocess.sigma >= 1)
    return "the filters leave few differences between pixels; lower preprocess.xy_window or "
           "preprocess.sigma, or raise loss.dose";
  return "the KL term weighs too much against so few counts; raise loss.dose, or use --baseline pca:auto";
}

}  // namespace

std::vector<Remark> remarks_on(const PreparedImage& prepared, const DetectionResult& result,
                               const DetectionConfig& config) {
  const Detection& found = result.found;
  const int64_t excluded = excluded_pixels(prepared.image.excluded);
  std::string counted = std::to_string(found.anomalous_pixels()) + " of " +
                        std::to_string(prepared.image.pixels() - excluded) +
                        " spectra do not fit (score above " + short_number(found.threshold, 4);
  if (config.threshold_by_rate())  // what the threshold promises
    counted += ", at a false-discovery rate of " + short_number(100 * config.fdr, 3) + " %";
  counted += ")";
  if (excluded > 0) counted += "; " + std::to_string(excluded) + " are excluded";
  std::vector<Remark> remarks = {{false, std::move(counted)}};
  if (result.comparison) {
    remarks.push_back({false, describe(*result.comparison)});
    if (const std::string remark = remark_on(*result.comparison); !remark.empty())
      remarks.push_back({true, remark});
  }
  for (const std::string& doubt : found.doubts) remarks.push_back({true, "Not to be trusted: " + doubt});
  return remarks;
}

std::vector<Remark> remarks_on_training(const Config& config, const std::vector<EpochRecord>& history,
                                        std::optional<Comparison> comparison) {
  std::vector<Remark> remarks;
  const auto info = [&](std::string text) { remarks.push_back({false, std::move(text)}); };
  const auto warn = [&](std::string text) { remarks.push_back({true, std::move(text)}); };
  const EpochRecord& best = *std::ranges::min_element(history, {}, counted);
  const EpochRecord& last = history.back();
  const bool settled = has_settled(history, config);
  if (settled && last.epoch < config.training.epochs)
    info("Ended after " + std::to_string(last.epoch) + " of " + std::to_string(config.training.epochs) +
         " epochs: the held-out spectra were not predicted better for " +
         std::to_string(config.training.patience));
  if (comparison && best.deviance) {
    comparison->model = best.deviance;
    info(describe(*comparison));
    const bool no_better = *best.deviance >= comparison->mean;
    if (const std::string remark = remark_on(*comparison); !no_better && !remark.empty()) warn(remark);
    if (no_better)
      warn("The model describes this specimen no better than the mean spectrum does: " +
           likely_cause(config, last, *comparison, settled));
    else if (last.active_latent_units == 0)
      warn(likely_cause(config, last, *comparison, settled));
  } else {
    info(
        "Best loss of a spectrum " +
        short_number(counted(best) / static_cast<double>(config.tiles.image_size * config.tiles.image_size)));
    if (last.active_latent_units == 0) warn(likely_cause(config, last, {}, settled));
  }
  info(std::to_string(last.active_latent_units) + " of " + std::to_string(config.model.latent_dim) +
       " latent units active");
  return remarks;
}

}  // namespace eelsvae
