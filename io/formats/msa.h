#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// EMSA/MAS (ISO 22029), .msa: a single spectrum as text. Lines "#KEYWORD : value", then "#SPECTRUM", the
// counts (DATATYPE Y) or energies and counts by turns (XY), and "#ENDOFDATA". Energies of XY calibrate the
// axis, and have to be even; OFFSET and XPERCHAN do otherwise.
extern const ImageFormat msa_format;

}  // namespace eelsvae
