#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// Nion Swift's HDF5 files: in a library (.h5) one dataset /data, in an exported .nhdf file datasets /data/0,
// /data/1, ...; each has the attribute `properties`, JSON as described in nion.h. The layout is that of
// nion/swift/model/HDF5Handler.py in github.com/nion-software/nionswift.
extern const ImageFormat nion_h5_format;

}  // namespace eelsvae
