#include "io/formats/hdf5_positions.h"

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {

void calibrate_by_dataset(Axis& axis, const hdf5::Object& dataset, const std::string& context) {
  constexpr int64_t longest_axis = int64_t{1} << 24;
  const std::vector<int64_t> shape = hdf5::dataset_shape(dataset, context);
  const std::string dtype = hdf5::dataset_dtype(dataset, context);
  if (!dtype.starts_with("int") && !dtype.starts_with("uint") && !dtype.starts_with("float")) return;
  if (shape.size() != 1 || (shape[0] != axis.size && shape[0] != 2) || shape[0] > longest_axis)
    throw UserError(context + ": the vector has the shape " + shape_text(shape) + ", " +
                    std::to_string(axis.size) + " or 2 numbers are needed");
  if (shape[0] == 0) return;
  calibrate_by_positions(axis, hdf5::numbers(dataset, context), context);
}

}  // namespace eelsvae
