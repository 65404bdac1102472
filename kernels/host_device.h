#pragma once

// Marks formulas that the CPU and the CUDA backend share.
#ifdef __CUDACC__
#define EELSVAE_HOST_DEVICE __host__ __device__
#else
#define EELSVAE_HOST_DEVICE
#endif
