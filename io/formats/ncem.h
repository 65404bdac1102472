#pragma once

#include "io/formats/image_format.h"

namespace eelsvae {

// NCEM's (Berkeley) EMD files, https://emdatasets.com/format: HDF5 in which groups anywhere, marked by the
// attribute `emd_group_type` = 1 (in EMD 1.0 "array"), hold a dataset `data` and for its axes the vectors
// `dim1`, `dim2`, ... (in EMD 1.0 from `dim0` on) with the attributes `name` and `units`, "[n_m]" for nm.
// A vector is as long as its axis or gives the first two positions.
//
// The energy axis is the one with a unit of energy or with a name that speaks of it, or else the last.
// HyperSpy writes axes in the opposite order, (E, x, y), openNCEM as (y, x, E): names x and y decide, and
// without them, whether energy comes first.
extern const ImageFormat ncem_format;

}  // namespace eelsvae
