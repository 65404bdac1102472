#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// CEOS Panta Rhei's .prz, after what RosettaSciIO reads of it: an archive of NumPy arrays, the numbers in
// data.npy and what describes them in meta_data_json.npy, or, before version 24.03 and from HyperSpy, as a
// pickle in meta_data.npy.
extern const ImageFormat pantarhei_format;

}  // namespace eelsvae
