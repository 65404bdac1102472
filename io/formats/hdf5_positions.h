#pragma once

#include <string>

#include "io/containers/hdf5.h"
#include "io/formats/image_format.h"

namespace eelsvae {

// Gives an axis the offset and scale of a dataset of the positions of its elements, or of the first two;
// a dataset of words, which name channels of different kinds, leaves it alone. UserError, which begins with
// `context`, if it has another length or is not even (calibrate_by_positions).
void calibrate_by_dataset(Axis& axis, const hdf5::Object& dataset, const std::string& context);

}  // namespace eelsvae
