#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// NumPy's .npz archives, stored or compressed
// (https://numpy.org/doc/stable/reference/generated/numpy.savez.html). Every array of numbers is an image,
// the one called `data` the first, except for its axes: one-dimensional arrays called energy, ev, e,
// energy_loss, eloss, energies or energy_axis (eV) and x, y (nm), in small or capital letters. An energy
// array belongs to the axis of its length, the last one if there are several, and must be even to a tenth of
// a channel and rise. Three axes make a spectrum image, calibrated or not.
extern const ImageFormat npz_format;

}  // namespace eelsvae
