#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// Nion Swift's .ndata: a zip archive of an array, data.npy, and of what nion.h reads, metadata.json
// (nion/swift/model/NDataHandler.py in github.com/nion-software/nionswift).
extern const ImageFormat nion_ndata_format;

}  // namespace eelsvae
