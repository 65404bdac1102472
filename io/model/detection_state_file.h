#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/detect/detection_state.h"
#include "io/files/safetensors.h"

namespace eelsvae {

// The state of a detection in a safetensors file: its arrays as tensors, the rest as JSON text in the file's
// metadata. What is read back has the same bits.

// UserError if it cannot be written.
void write_detection_state(const std::string& path, const DetectionState& state);
// The same file's bytes in memory, for who keeps states without files.
std::vector<std::byte> detection_state_content(const DetectionState& state);

// UserError if the file is no state of a detection, or a broken one.
DetectionState read_detection_state(const SafetensorsFile& file);

// path: the file, or the folder of a detection, which holds it as detection_state_name.
DetectionState load_detection_state(const std::string& path);
// The file that load_detection_state() reads.
std::string state_file(const std::string& path);
inline constexpr const char* detection_state_name = "state.safetensors";

}  // namespace eelsvae
