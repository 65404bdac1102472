#pragma once

#include <memory>

#include "kernels/image_operations.h"

namespace eelsvae::cpu {

// An image worked on where it lies. Memory limits its steps, not vectors: this is compiled once.
std::unique_ptr<DeviceImage> make_host_image(const ImageShape& shape, float* counts, const uint8_t* excluded);

}  // namespace eelsvae::cpu
