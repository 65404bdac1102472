#pragma once

#include <cstdint>
#include <vector>

#include "engine/config.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// A feature's window has at least so many channels, and is looked for at most so many channels away.
constexpr int64_t smallest_window = 8, largest_margin = 64;

// Where aligned spectra stand. Fitted on a training image and kept with the model, so that the spectra of any
// other image are brought to the same energies.
struct AlignmentReference {
  // zero_loss: to what energy the peak is brought. feature: energy of the first channel of `spectrum`.
  double energy_ev = 0;
  // feature only: the aligned mean spectrum, over the window and `margin` channels on either side.
  double dispersion_ev = 0;
  int64_t margin = 0;
  std::vector<double> spectrum;
  bool operator==(const AlignmentReference&) const = default;
};

struct EnergyShifts {
  std::vector<double> ev;        // (y, x), to be added to a spectrum's energies
  AlignmentReference reference;  // to which they lead
  int64_t spectra = 0;           // that were measured: pixels or scan lines
  int64_t unclear = 0;           // of these, in which nothing was found; they have the others' median shift
  double uncertainty_ev = 0;     // feature: standard deviation of a shift, median over the spectra
};

// Measures the energy drift over an image, in each pixel or, for align_by row, in the mean spectrum of each
// scan line (y).
//
// zero_loss: the peak's position is the highest point of the spectrum, smoothed over three channels, within
//   align_window (or anywhere), refined by its centre of mass under a Gaussian as wide as the peak of the
//   mean spectrum, moved until it sits on that centre. That is where the spectrum correlates best with such a
//   peak, so every channel of it counts and noise in the tails does not. A spectrum whose peak is less than
//   five times its noise is unclear.
//   Shifts lead to fitted->energy_ev, or else to the median position.
// feature: align_window, of at least 8 channels, is compared with the mean spectrum moved by up to a quarter
//   of the window (at most 64 channels) in steps of an eighth of a channel. The best fit of the moved mean
//   spectrum times a factor plus a straight line, which is the largest correlation after a straight line is
//   taken off both, is refined by a parabola. Once more against the mean of spectra aligned in this way; the
//   median shift is 0. With `fitted`, its spectrum is the reference, and one comparison is enough. A spectrum
//   is unclear whose factor is less than five times its standard deviation, or whose best fit is the farthest
//   one.
//
// UserError: the window misses the axis or is too narrow; no peak or feature in any spectrum; an axis without
// 0 eV for zero_loss without a window; another dispersion than that of the fitted reference.
EnergyShifts measure_shifts(const SpectrumImage& image, const PreprocessConfig& config,
                            const AlignmentReference* fitted = nullptr);

}  // namespace eelsvae
