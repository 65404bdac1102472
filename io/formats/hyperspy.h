#pragma once

// Internal to io/: what HyperSpy keeps in HDF5 (.hspy) and in Zarr (.zspy) alike
// (https://hyperspy.org/rosettasciio/file_specification/hspy.html). One image lies in /Experiments/<title>:
// `data`, a group `axis-i` per dimension, `metadata` and `original_metadata`, which are read without large
// arrays. The signal axis may stand anywhere.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/formats/image_format.h"

namespace eelsvae {

// A file of groups, arrays and attributes. Objects are named by their paths in it; those that contain one
// need not exist. `context` begins the message of every UserError, unless that begins with the place of a
// file.
class HyperspyFile {
 public:
  virtual ~HyperspyFile() = default;
  virtual bool has_group(const std::string& name, const std::string& context) const = 0;
  virtual bool has_array(const std::string& name, const std::string& context) const = 0;
  virtual std::vector<std::string> members(const std::string& group, const std::string& context) const = 0;
  // Null if there is no such attribute.
  virtual nlohmann::json attribute(const std::string& object, const std::string& name,
                                   const std::string& context) const = 0;
  // Attributes, small arrays and groups below a group; members named in `skip` left out at every level.
  virtual nlohmann::json tree(const std::string& group, const std::vector<std::string>& skip,
                              const std::string& context) const = 0;
  virtual std::vector<int64_t> shape(const std::string& array, const std::string& context) const = 0;
  virtual std::string dtype(const std::string& array, const std::string& context) const = 0;
  // An array of one dimension.
  virtual std::vector<double> numbers(const std::string& array, const std::string& context) const = 0;
  // The array's axis order[i] is the image's axis i; null if it is not of integers or floats. notes: takes
  // what there is to say of how it lies in the file.
  virtual std::shared_ptr<const ImageValues> values(const std::string& array, std::vector<size_t> order,
                                                    std::vector<std::string>& notes,
                                                    const std::string& context) const = 0;
};

// All images of a file, as ImageFormat::open gives them.
std::vector<StoredImage> hyperspy_images(const std::shared_ptr<const HyperspyFile>& file,
                                         const std::string& path);

}  // namespace eelsvae
