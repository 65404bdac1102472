#include "kernels/cuda/cuda_backend.h"
#define UNFINISHED { throw std::logic_error("not yet written"); }
namespace eelsvae::EELSVAE_GPU {
void CudaBackend::adam(ConstArray, const StepScalars*, Array, Array, Array) UNFINISHED
void CudaBackend::adam_outer_product(int64_t, int64_t, int64_t, ConstArray, ConstArray, const StepScalars*, Array, Array, Array, Array) UNFINISHED
}
