#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// How a scan that comes alone is prepared, learnt and searched.
struct AutomaticChoice {
  Config config;
  // Why the scan is too small for a network, so that only baselines are left; empty: it is not.
  std::string no_model;
  // Each begins with the keys that it speaks of.
  std::vector<std::string> reasons;  // what was chosen after a look at the image, and why
  std::vector<std::string> rules;    // what is the same for every scan, but for what the reasons say
};

// By these rules, on an image of counts as its file has it:
//   energies   all; where the axis shows the zero loss, from 5 eV on, for its flanks would outshine the rest
//   spikes     replaced at 8 standard deviations, unless that would take more than a hundredth of a piece of
//              1000 or so spectra
//   filters    none: they spread a spike or a defect over its neighbours
//   scaling    from the 0.01th to the 99.99th percentile
//   tiles      of 24 pixels, half overlapping, or the largest multiple of 4 that fits twice, so that some can
//              be held out; no model below 8, nor with fewer than 16 energy channels
//   atoms      where columns of atoms are resolved: tiles of two cells, 16 to 24 pixels, overlapping by three
//   quarters, 8
//              latent units, a network that knows totals, too (loss poisson), and the joint score, which
//              finds atoms in the wrong place
//   network    (8, 16, 32, 64) features, 16 latent units: what two processor cores train in minutes
//   dose       the electrons that one scaled count stands for, from the noise, so that the loss is the
//              likelihood of what was detected; 30 where it cannot be told
//   training   until held-out spectra, a tenth, are not predicted better for 10 epochs
//   detection  as its defaults have it; of fewer than 100 spectra, what stands out by 5 standard deviations
// tile: side of the tiles, pixels, where that is chosen already; what depends on it follows.
AutomaticChoice choose_configuration(const SpectrumImageView& image, std::optional<int64_t> tile = {});

}  // namespace eelsvae
