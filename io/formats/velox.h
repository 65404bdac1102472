#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// Thermo Fisher Velox's .emd files: HDF5 with a group for each recording, /Data/<kind>/<id>, whose `Metadata`
// and `AcquisitionMetadata` hold JSON as columns of bytes, one for each frame or row. The layout is not
// published; it is described by the reader in RosettaSciIO (rsciio/emd/_emd_velox.py) and was checked
// against files.
//
// EELS is read: /Data/EelsSpectrumImage/<id>/Data is (x, E, y), one for each energy range that the
// spectrometer recorded, which become images in the order of their energies. Counts stay as stored: the
// detector's `intensityScale` and `intensityOffset` are in the metadata. Images, EDS spectra and EDS event
// streams are only listed.
extern const ImageFormat velox_format;

}  // namespace eelsvae
