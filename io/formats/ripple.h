#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// Ripple, the format of NIST's Lispix (https://www.nist.gov/services-resources/software/lispixdoc): a text
// file .rpl says how the numbers of the .raw file of the same name lie, with HyperSpy's additional keys for
// the axes (https://hyperspy.org/rosettasciio/file_specification/ripple-specs.html). Either file can be
// opened. record-by vector: (height, width, depth); record-by image: (depth, height, width), taken for energy
// planes. Sizes of 1 are no axes, as for HyperSpy: spectra and line scans have them. An origin is in the
// axis's units.
extern const ImageFormat ripple_format;

}  // namespace eelsvae
