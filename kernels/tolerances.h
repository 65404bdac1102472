#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/array.h"

namespace eelsvae {

// How far a result may be from the same thing computed in double: ||a - b|| / ||b|| over a whole array, for
// inputs that both sides got in the same rounded form. The only place where tests, and programs that check
// themselves, get such numbers from; whoever changes one writes the reason down here.
struct Tolerance {
  double operation;      // one kernel
  double output;         // a model's forward pass: activations, losses, scores
  double gradient;       // a model's gradients, as long as rounding turns no ReLU on or off
  double relu_gradient;  // the same where arguments of ReLUs lie near zero, and global norms
};

//       unit roundoff   reason
// fp64  1.1e-16         sums of up to 10^4 terms in another order
// fp32  6.0e-8          sums of up to 10^5 terms lose about a hundred roundoffs, worse where terms cancel;
//                       gradients pass through twice as many layers
// tf32  4.9e-4          factors of products are rounded to 11 bits, by some libraries cut off, sums are f32;
//                       what is cut off adds up: a product is off by up to two roundoffs, a model's output by
//                       3.9e-3 and its gradients by 4.1e-2 where the emulated device cuts off
// bf16  3.9e-3          results are rounded to 8 bits once or twice (a mean error of 0.2 % each), sums are
//                       f32; a dozen layers add up like a random walk
//
// relu_gradient: of random arguments about a share u lies within a roundoff u of zero. A ReLU that changes
// sides changes its part of the gradient altogether, so gradients are off by about sqrt(u). PyTorch in double
// with the factors of all products rounded is off by up to 2.0e-2 (tf32) and 7.4e-2 (bf16) in a tensor of the
// PyTorch fixtures, PyTorch's own bf16 autocast by 6.3e-2.
inline Tolerance tolerance_of(const std::string& precision) {
  if (precision == "fp64") return {1e-12, 1e-12, 1e-11, 1e-11};
  if (precision == "fp32") return {1e-5, 1e-5, 1e-4, 1e-4};
  if (precision == "tf32") return {2e-3, 5e-3, 1.5e-2, 7e-2};
  if (precision == "bf16") return {5e-3, 1e-2, 2e-2, 1e-1};
  throw std::logic_error("no tolerances for precision " + precision);
}

// Of one operation whose results are sums of `terms` products. Beyond the 10^5 that the table counts on, sums
// in f32 lose more, like a random walk.
inline double operation_tolerance(const std::string& precision, int64_t terms) {
  const double longer = std::sqrt(std::max(1.0, static_cast<double>(terms) * 1e-5));
  return tolerance_of(precision).operation + (longer - 1) * tolerance_of("fp32").operation;
}

// Of what is stored and computed in `type`, such as losses and optimizer state in the master type.
inline Tolerance tolerance_of(DType type) {
  switch (type) {
    case DType::f64:
      return tolerance_of("fp64");
    case DType::f32:
      return tolerance_of("fp32");
    case DType::bf16:
      return tolerance_of("bf16");
  }
  throw std::logic_error("no tolerances for this type");
}

}  // namespace eelsvae
