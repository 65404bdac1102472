#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace eelsvae {

// A named tensor of weights. Files hold it in PyTorch's order, memory in the engine's; the two differ by an
// exchange of the two middle axes of a four-axis view: files (a, b, c, d), memory (a, c, b, d).
struct Parameter {
  std::string name;            // as in the published PyTorch module: "encoder.0.weight"
  std::vector<int64_t> shape;  // PyTorch's
  std::array<int64_t, 4> view;
  double bound;  // initial values are uniform within +-bound

  int64_t count() const { return view[0] * view[1] * view[2] * view[3]; }
};

// Reads a parameter-shaped array from the backend in PyTorch's order, a block of floats at a time. The array
// has any of the backend's types.
void read_in_file_order(Backend& backend, const Parameter& parameter, ConstArray array,
                        const std::function<void(const float*, int64_t)>& sink);

// The reverse: asks `source` for the next block of floats in PyTorch's order until the array is full.
void write_in_file_order(Backend& backend, const Parameter& parameter, Array array,
                         const std::function<void(float*, int64_t)>& source);

// The numbers of an array in the host's memory, and of one in a backend's.
std::vector<double> as_doubles(ConstArray array);
std::vector<double> downloaded(Backend& backend, ConstArray array);

}  // namespace eelsvae
