#pragma once

// The sources of this folder are compiled twice: by nvcc for the GPU, and by the C++ compiler for the
// emulated device of kernels/emulated, which runs the same kernels on the CPU. Both live in one program, so
// each has a namespace of its own.
#ifdef EELSVAE_EMULATED
#define EELSVAE_GPU emulated
#else
#define EELSVAE_GPU cuda
#endif
