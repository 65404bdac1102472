#pragma once

#include <memory>

#include "kernels/conv3d.h"

namespace eelsvae::cpu {

// Convolutions of one input channel along the energy axis alone: a network's first layer and, transposed, its
// last. They have too few multiply-adds for a product of matrices; each pass reads and writes its arrays once
// and goes at the memory's speed.
bool is_outer_conv(const Conv3dProblem& problem);

// Needs is_outer_conv(problem).
std::unique_ptr<Conv3d> make_outer_conv(const Conv3dProblem& problem, DType activation, bool transposed,
                                        bool relu, Passes passes);

}  // namespace eelsvae::cpu
