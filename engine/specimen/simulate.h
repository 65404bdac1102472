#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "engine/specimen/defects.h"
#include "engine/specimen/specimen.h"

namespace eelsvae {

// A spectrum image of a specimen with known anomalies, modelled on the published image of a BiFeO3 film.
// docs/specimens.md lists what was read off the published figures, what comes from elsewhere and what is
// assumed. In every preset:
//
//   axes         420.0 eV and 0.3 eV/channel (published); pixels of 1.0 nm, of 0.04 nm where atoms are
//                resolved (assumed)
//   thickness    slow variation of intensity over the image, up to 8 % (published: 5 to 10 %)
//   stripes      each scan line brighter or darker by 1.5 % rms (published: 1 to 2 %)
//   gain         each channel's response differs by 1 % rms (published)
//   hot pixel    one spectrum, twice as bright (published: one; how bright is assumed)
//   noise        normal, variance 2.7 counts per count + (9 counts)^2 (published); counts can be negative
struct SimulationSettings {
  Preset preset = Preset::bfo;
  std::optional<SpecimenParameters> specimen;  // absent: the preset's
  int64_t height = 210, width = 210, channels = 1340;
  double energy_offset_ev = 420.0, dispersion_ev = 0.3;
  std::optional<double> pixel_size_nm;  // absent: the preset's
  double exposure = 1;                  // factor on all counts: dwell time times beam current, 1 as published
  // Specimen, anomalies, stripes and gain follow from `seed`, noise from `noise_seed` (absent: from `seed`):
  // another noise_seed is a second recording of the same specimen.
  uint64_t seed = 0;
  std::optional<uint64_t> noise_seed;
  bool noise = true;       // false: counts are what is expected of each pixel
  double correlation = 0;  // of the noise of neighbouring channels, 0 to 0.5: the detector's spread
  // What scans have beside the specimen, both without anomalies: the share of the columns, on the right, that
  // are vacuum with a hundredth of the counts, and of the rows, at the bottom, that were not scanned and hold
  // zeros.
  double vacuum = 0, unscanned = 0;
  // Below 1 the share of the image's pixels that are anomalous, otherwise the number of anomalies; split
  // equally among the defects that have no amount of their own.
  double anomalies = 0.01;
  // A defect that the energy axis does not show is an error. Empty: short for one kind that may be out of
  // sight, fe_shift by shift_ev in discs of anomaly_radius pixels (0: single pixels).
  std::vector<Defect> defects;
  double shift_ev = 2.4;
  double anomaly_radius = 0;
};

struct SimulatedImage {
  SpectrumImage image;          // its metadata describes the simulation
  std::vector<uint8_t> truth;   // (y, x), 1 where anomalous
  std::vector<uint8_t> labels;  // (y, x), 0 normal, k for the k-th defect
  // (y, x), 1 where a changed column of atoms still shows, too little to be called anomalous: neither finding
  // it nor missing it is wrong. Empty without such columns.
  std::vector<uint8_t> faint;
  int64_t hot_pixel = 0;                  // its place in these maps
  std::vector<std::string> defect_names;  // the k-th defect is called defect_names[k - 1]
};

// The same settings give the same image on any number of threads. UserError for sizes, axes, specimens or
// anomalies that cannot be.
SimulatedImage simulate(const SimulationSettings& settings);

// What somebody scores who knows all but where the anomalies are and of which sign: for every pixel (y, x) of
// a recording of these settings, which have one defect, the logarithm of the likelihood of its counts with
// that defect, the mean of both signs', over the likelihood without (Neyman & Pearson, Phil. Trans. R. Soc. A
// 231, 289 (1933)). No score of single spectra finds more. Of a cosmic ray, whose channel nobody knows, it is
// the mean over all channels, as if it never hit two. Pixels that were not scanned have 0. std::logic_error
// if the settings have another number of defects or the image another shape.
std::vector<float> known_defect_scores(const SimulationSettings& settings, const SpectrumImage& recorded);

// The same specimen without any anomaly: its image is the same, bit by bit, wherever truth is 0 and no
// changed column of atoms is near.
SimulationSettings without_defects(SimulationSettings settings);

}  // namespace eelsvae
