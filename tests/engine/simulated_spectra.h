#pragma once

#include <omp.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "engine/specimen/simulate.h"
#include "engine/specimen/specimen_spectra.h"

namespace eelsvae {

inline const Axis published_axis = {"Energy loss", "eV", 420, 0.3, 1340};

// Noiseless spectra of one material, without drift: a specimen of a single pixel, which a defect may have.
inline std::vector<double> expected_spectrum(const PixelMaterial& material,
                                             const std::vector<Defect>& defects = {}, int sign = 1,
                                             const Axis& energy = published_axis) {
  const Specimen specimen = {1, 1, {0.0}, {material}};
  const DefectPlaces places = {{static_cast<uint8_t>(defects.size())}, {static_cast<int8_t>(sign)}};
  const ExpectedSpectra spectra(energy, specimen, defects, places);
  std::vector<double> counts(static_cast<size_t>(energy.size));
  ExpectedSpectra::Line(spectra, 0).spectrum(0, counts.data());
  return counts;
}

inline double total(const std::vector<double>& counts) {
  return std::accumulate(counts.begin(), counts.end(), 0.0);
}

inline std::vector<double> difference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> result(a.size());
  std::transform(a.begin(), a.end(), b.begin(), result.begin(), std::minus<>());
  return result;
}

inline double at_ev(const std::vector<double>& counts, double ev) {
  return counts[static_cast<size_t>(std::lround(published_axis.index(ev)))];
}

}  // namespace eelsvae
