#pragma once

namespace eelsvae {

// How much of a crystal's metal and oxygen the probe sees, beside what it sees of its background; 1 where
// atoms are not resolved.
struct SiteAmounts {
  double metal = 1, oxygen = 1;
};

// A pixel's material: shares of the sites.
struct PixelMaterial {
  double substrate = 0;   // 0 film, 1 substrate
  double manganese = 0;   // of the film's Fe sites
  double damage = 0;      // of the Fe that is left
  double thickness = 0;   // t / mean free path; 0: spectra as published
  double brightness = 1;  // all counts: more on a column of atoms, less between columns
  SiteAmounts film_sites = {}, substrate_sites = {};
  double iron() const { return (1 - substrate) * (1 - manganese) * film_sites.metal; }
};

}  // namespace eelsvae
