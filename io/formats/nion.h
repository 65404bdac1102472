#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/formats/image_format.h"

namespace eelsvae {

// What Nion Swift says of an array in the JSON that it keeps beside it, in .h5 as in .ndata files. The keys
// are those of DataItem (nion/swift/model/DataItem.py in github.com/nion-software/nionswift):
// `dimensional_calibrations` (in exported files `spatial_calibrations`), one {offset, scale, units} for each
// dimension, where the first element is at `offset`; the dimensions are, in C order, one of time if
// `is_sequence`, then `collection_dimension_count` of the scan and `datum_dimension_count` of the detector.
// Files before 2019 keep these keys below `data_sources[0]`.

// Title, signal, kind and axes of an array (shape in C order, dtype as NumPy names it). Colour images, whose
// last dimension holds bytes of red, green and blue, get the kind "colour image" and lose that dimension.
// UserError that begins with `context` if the dimensions that are described are not those of the array.
ImageInfo nion_image_info(const nlohmann::json& properties, std::vector<int64_t> shape,
                          const std::string& dtype, const std::string& context);

// In the form of StoredImage::metadata.
nlohmann::json nion_metadata(const nlohmann::json& properties);

// Parses the properties; UserError that begins with `context` if they are not a JSON object, or nested too
// deeply.
nlohmann::json nion_properties(const std::string& text, const std::string& context);

}  // namespace eelsvae
