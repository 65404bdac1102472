#pragma once

#include <cstdint>
#include <vector>

#include "engine/spectrum_image.h"

namespace eelsvae {

// A spectrum image of a BiFeO3 film with known anomalies, modelled on the published one. What was read off
// the published figures (facts) and what is assumed to complete it:
//
//   axes         420.0 eV and 0.3 eV/channel (published); pixels of 1.0 nm (assumed)
//   background   75 counts at 430 eV and, with the edges' continua, 22 at 800 eV (published): a power law
//                75 (E / 430 eV)^-2.70
//   O K          onset 534 eV, maxima at 538 and 546.5 eV (published), 10 and 8 counts high, 3.5 and 8 eV
//   wide,
//                on a step of 12 counts (assumed)
//   Fe L2,3      L3 at 717.5 eV, 26 counts high, 3.4 eV wide, L2 near 730 eV (published), 10 counts high, 4
//   eV
//                wide, on steps of 4 and 2 counts at 715 and 728 eV (assumed). Steps decay as E^-3.
//   thickness    slow variation of intensity over the image, up to 8 % (published: 5 to 10 %)
//   stripes      each scan line brighter or darker by 1.5 % rms (published: 1 to 2 %)
//   drift        the whole spectrum moves by up to 0.1 eV, a third of a channel, over the scan lines
//   (assumed) gain         each channel's response differs by 1 % rms (published) hot pixel    one spectrum,
//   twice as bright (published: one; how bright is assumed) noise        normal, variance 2.7 counts per
//   count + (9 counts)^2 (published); counts can be negative
//
// Widths are full widths at half maximum of Gaussian peaks; heights are counts in a channel of 0.3 eV and
// scale with the dispersion. An anomaly is a chemical shift: the Fe L3 and L2 peaks, and nothing else, are
// moved by +shift_ev or -shift_ev (a fair coin for each anomaly) before the noise is drawn.
struct SimulationSettings {
  int64_t height = 210, width = 210, channels = 1340;
  double energy_offset_ev = 420.0, dispersion_ev = 0.3;
  double pixel_size_nm = 1.0;
  double exposure = 1;  // factor on all counts: dwell time times beam current, 1 as published
  uint64_t seed = 0;
  double shift_ev = 2.4;
  // Below 1 the share of the image's pixels that are anomalous, otherwise the number of anomalies.
  double anomalies = 0.01;
  // An anomaly is every pixel whose centre is at most so far from its own, in pixels; 0: single pixels.
  // Anomalies lie inside the image and do not overlap.
  double anomaly_radius = 0;
};

struct SimulatedImage {
  SpectrumImage image;         // its metadata describes the simulation
  std::vector<uint8_t> truth;  // (y, x), 1 where anomalous
};

// The same settings give the same image on any number of threads. UserError for sizes, axes or anomalies that
// cannot be.
SimulatedImage simulate(const SimulationSettings& settings);

}  // namespace eelsvae
