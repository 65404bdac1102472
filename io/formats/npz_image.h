#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// NumPy's .npz archives, stored or compressed
// (https://numpy.org/doc/stable/reference/generated/numpy.savez.html). Every array of numbers is an image,
// the one called `data` the first, except for its axes, vectors (n,), (1, n) or (n, 1): of energies (eV)
// where the name speaks of energy or loss, or is ev, e or x_axis; x and y (nm). An energy array belongs to
// the axis of its length, the last one if there are several, and must be even to a tenth of a channel. Three
// axes make a spectrum image and two a line scan, calibrated or not. What is not certain is said in
// ImageInfo::notes.
extern const ImageFormat npz_format;

}  // namespace eelsvae
