#include "engine/detect/automatic.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/detect/empirical_null.h"
#include "engine/image/atomic_pitch.h"
#include "engine/image/excluded.h"
#include "engine/image/middle.h"
#include "engine/prepare/spikes.h"
#include "engine/short_number.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr double first_loss_ev = 5, spike_threshold = 8;
constexpr int64_t least_channels = 16;  // the network halves them four times

// Electrons that a count scaled to the image's range stands for.
double electrons_per_unit(const SpectrumImage& piece) {
  std::vector<float> counts(piece.counts.begin(), piece.counts.end());
  std::erase_if(counts, [](float c) { return !std::isfinite(c); });
  if (counts.empty()) return 0;
  auto quantile = [&](double share) {
    const auto at = counts.begin() + std::llround(share * static_cast<double>(counts.size() - 1));
    std::nth_element(counts.begin(), at, counts.end());
    return static_cast<double>(*at);
  };
  const double middle = quantile(0.5), range = quantile(0.9999) - quantile(0.0001);
  const CountNoise noise = estimate_count_noise(piece);
  const double variance = noise.variance(middle);
  return middle > 0 && variance > 0 ? range * middle / variance : 0;
}

}  // namespace

AutomaticChoice choose_configuration(const SpectrumImageView& image, std::optional<int64_t> tile) {
  AutomaticChoice choice;
  Config& config = choice.config;
  auto say = [&](std::string reason) { choice.reasons.push_back(std::move(reason)); };

  const Axis& energy = image.energy;
  const double last = energy.value(static_cast<double>(energy.size - 1));
  if (energy.units == "eV" && energy.offset < 0 && last > first_loss_ev) {
    config.data.energy_range = {{first_loss_ev, last}};
    say("data.energy_range from " + short_number(first_loss_ev) + " eV on, beyond the zero-loss peak");
  }

  const SpectrumImage piece = middle_of(image, 32);
  config.preprocess.sigma = 0;
  config.preprocess.xy_window = 1;
  config.preprocess.percentiles = {0.01, 99.99};
  choice.rules = {
      "preprocess.sigma 0, xy_window 1: no filters, which spread a spike or a defect over its neighbours",
      "preprocess.percentiles 0.01,99.99: what is scaled to 0 and 1, so that the brightest edges are not "
      "clipped",
      "preprocess.set_aside " + short_number(config.preprocess.set_aside) +
          ": vacuum, dead and saturated pixels are left out"};
  try {
    SpectrumImage searched = piece;
    remove_spikes(searched, spike_threshold);
    config.preprocess.despike = spike_threshold;
    choice.rules.push_back("preprocess.despike " + short_number(spike_threshold) +
                           ", standard deviations: what stands out by more is replaced");
  } catch (const UserError&) {
    say("preprocess.despike 0: spikes are left as they are, for too much would pass for one");
  }

  const int64_t side = std::min(image.y.size, image.x.size);
  config.tiles.image_size = tile.value_or(std::min<int64_t>(24, side / 2 / 4 * 4));
  config.tiles.sliding_window_stride = std::max<int64_t>(config.tiles.image_size / 2, 1);
  if (side < 16)
    choice.no_model = "no model, for the image has no room for two tiles of 8 x 8 pixels either way";
  else if (energy.size < least_channels)
    choice.no_model =
        "no model, for the image has fewer than " + std::to_string(least_channels) + " energy channels";
  if (!choice.no_model.empty()) {
    config.tiles = {};
    say(choice.no_model);
  } else if (!tile && config.tiles.image_size < 24) {
    say("tiles.image_size " + std::to_string(config.tiles.image_size) +
        ", pixels, for the image has no room for more");
  }
  config.model = {{8, 16, 32, 64}, 128, 16};
  if (const std::optional<double> pitch = atomic_pitch(image); pitch && choice.no_model.empty()) {
    const int64_t two_cells = std::clamp<int64_t>(std::llround(2 * *pitch / 4) * 4, 16, 24);
    config.tiles.image_size = tile.value_or(std::min(two_cells, config.tiles.image_size));
    config.tiles.sliding_window_stride = config.tiles.image_size / 4;
    config.detection.stride = std::max<int64_t>(config.tiles.image_size / 8, 1);
    config.model.latent_dim = 8;
    config.loss.reconstruction = ReconstructionLoss::poisson;
    config.detection.score = Score::joint;
    say((tile ? "" : "tiles.image_size " + std::to_string(config.tiles.image_size) + ", ") +
        "model.latent_dim 8, loss.reconstruction poisson and detection.score joint, for columns of atoms "
        "are resolved, " +
        short_number(*pitch, 3) +
        " pixels apart: where they are is learnt, too, and an atom in the wrong place, whose spectrum is "
        "ordinary, is looked for");
  }
  choice.rules.push_back("tiles.sliding_window_stride " + std::to_string(config.tiles.sliding_window_stride) +
                         ": tiles of " + std::to_string(config.tiles.image_size) + " pixels overlap");
  choice.rules.push_back("model.channels 8,16,32,64, hidden 128, latent_dim " +
                         std::to_string(config.model.latent_dim) +
                         ": what two processor cores train in minutes");
  const double dose = electrons_per_unit(piece);
  config.loss.dose = dose > 0 ? std::stod(short_number(dose, 2)) : 30;
  say(dose > 0 ? "loss.dose " + short_number(config.loss.dose) + ", the electrons that the noise speaks of"
               : "loss.dose 30, for the noise does not tell the number of electrons");

  if (image.pixels() - excluded_pixels(image.excluded) < fewest_scores) {
    config.detection.threshold = 5;
    say("detection.threshold 5, standard deviations, for so few spectra tell no false-discovery rate");
  }

  config.training.epochs = 1000;
  config.training.batch_size = 4;
  config.training.learning_rate = 1e-3;
  config.training.lr_patience = 4;
  config.training.patience = 10;
  choice.rules.push_back("training.epochs 1000, patience 10: until held-out spectra, " +
                         short_number(100 * config.training.validation_fraction) +
                         " % of the tiles, are not predicted better for 10 epochs");
  config.training.augment = true;
  config.training.seed = 1;
  return choice;
}

}  // namespace eelsvae
