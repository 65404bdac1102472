#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/detect/change.h"
#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// A part of a spectrum: channels [first, first + values); 0 elsewhere.
struct Piece {
  int64_t first = 0;
  std::vector<double> values;
};
Piece difference(const Piece& a, const Piece& b);

// A change that an expected spectrum can undergo, and its parameters.
struct SpectralChange {
  Change change;  // its kind and place
  std::function<Piece(std::span<const double>)> of;
  std::vector<double> steps;                // for differences; larger than rounding, smaller than curvature
  std::vector<double> least, most;          // between which parameters make sense
  std::vector<std::vector<double>> starts;  // from which a fit may begin; the first parameter is an amplitude
  // So many parameters say what changed; the others what is not known of the expected spectrum. Absent: all.
  std::optional<int64_t> counted;
  // `change` with the value and the uncertainties that these parameters and theirs amount to.
  std::function<Change(std::span<const double>, std::span<const double>)> measured;
};

// Of all of it alike, by the parameter more.
SpectralChange scale_of(const std::vector<double>& spectrum);

// All that explain() of change_fit.h tries on a spectrum (E); what is new begins in the window. energy: in
// eV, ascending.
std::vector<SpectralChange> spectral_changes(const std::vector<double>& spectrum, const Axis& energy,
                                             ChannelWindow window);

}  // namespace eelsvae
