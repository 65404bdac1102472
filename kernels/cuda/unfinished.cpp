#include "kernels/cuda/cuda_backend.h"
#define UNFINISHED \
  { throw std::logic_error("not yet written"); }
namespace eelsvae::EELSVAE_GPU {
// ---- convolutions
std::unique_ptr<Conv3d> CudaBackend::make_conv3d(const Conv3dProblem&)
    UNFINISHED std::unique_ptr<Conv3d> CudaBackend::make_transposed_conv3d(const Conv3dProblem&) UNFINISHED
    // ---- linear
    std::unique_ptr<Linear> CudaBackend::make_linear(const LinearProblem&) UNFINISHED
    // ---- optimizer
    void CudaBackend::adam(ConstArray, const StepScalars*, Array, Array, Array) UNFINISHED
    void CudaBackend::adam_outer_product(int64_t, int64_t, int64_t, ConstArray, ConstArray,
                                         const StepScalars*, Array, Array, Array, Array) UNFINISHED
}  // namespace eelsvae::EELSVAE_GPU
