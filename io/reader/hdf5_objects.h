#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/containers/hdf5_library.h"

namespace eelsvae::hdf5 {

// What io/containers/hdf5.h says of the functions of the same names, by the library itself.

Handle open_file(const std::string& path);
Handle open_group(hid_t parent, const std::string& name, const std::string& context);
Handle open_dataset(hid_t parent, const std::string& name, const std::string& context);
bool has_group(hid_t parent, const std::string& name, const std::string& context);
bool has_dataset(hid_t parent, const std::string& name, const std::string& context);
std::vector<std::string> members(hid_t group, const std::string& context);
nlohmann::json attribute(hid_t object, const std::string& name, const std::string& context);
nlohmann::json small_dataset(hid_t parent, const std::string& name, const std::string& context);
std::string byte_column(hid_t parent, const std::string& name, const std::string& context);
std::vector<double> numbers(hid_t dataset, const std::string& context);
nlohmann::json group_as_json(hid_t group, const std::vector<std::string>& skip, const std::string& context);
std::vector<int64_t> dataset_shape(hid_t dataset, const std::string& context);
bool is_boolean(hid_t type);  // h5py's: an enumeration of FALSE and TRUE in a byte
std::string dataset_dtype(hid_t dataset, const std::string& context);

}  // namespace eelsvae::hdf5
