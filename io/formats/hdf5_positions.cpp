#include "io/formats/hdf5_positions.h"

namespace eelsvae {

void calibrate_by_dataset(Axis& axis, const hdf5::Object& dataset, const std::string& context) {
  calibrate_by_vector(
      axis, hdf5::dataset_shape(dataset, context), hdf5::dataset_dtype(dataset, context),
      [&] { return hdf5::numbers(dataset, context); }, context);
}

}  // namespace eelsvae
