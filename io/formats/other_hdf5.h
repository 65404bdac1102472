#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// HDF5 files that none of the other formats recognises: opening one says so, and what it holds. It has no
// extension, so that it is not among the formats that are named as known, and comes last among them.
extern const ImageFormat other_hdf5_format;

}  // namespace eelsvae
