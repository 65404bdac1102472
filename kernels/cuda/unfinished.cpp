#include "kernels/cuda/cuda_backend.h"
#define UNFINISHED \
  { throw std::logic_error("not yet written"); }
namespace eelsvae::EELSVAE_GPU {
// ---- linear
    std::unique_ptr<Linear> CudaBackend::make_linear(const LinearProblem&) UNFINISHED
    // ---- element-wise, reductions, optimizer
    void CudaBackend::convert(ConstArray, Array) UNFINISHED
    void CudaBackend::bias_relu(int64_t, int64_t, ConstArray, bool, Array) UNFINISHED
    void CudaBackend::bias_relu_backward(int64_t, int64_t, ConstArray, bool, Array, Array) UNFINISHED
    void CudaBackend::reparameterize(int64_t, int64_t, ConstArray, bool, const StepScalars*, Array,
                                     Array) UNFINISHED
    void CudaBackend::reparameterize_backward(int64_t, int64_t, ConstArray, ConstArray, const StepScalars*,
                                              Array) UNFINISHED
    void CudaBackend::reconstruction_loss(ReconstructionLoss, int64_t, int64_t, int64_t, ConstArray,
                                          ConstArray, const StepScalars*, Array, Array) UNFINISHED
    void CudaBackend::reconstruct(ReconstructionLoss, int64_t, int64_t, ConstArray, ConstArray,
                                  Array) UNFINISHED void CudaBackend::squared_norm(ConstArray, Array)
        UNFINISHED size_t CudaBackend::outer_product_workspace_bytes(int64_t) const UNFINISHED
    void CudaBackend::squared_norm_outer_product(int64_t, int64_t, int64_t, ConstArray, ConstArray, Array,
                                                 void*) UNFINISHED
    void CudaBackend::clip(ConstArray, double, Array, StepScalars*) UNFINISHED
    void CudaBackend::adam(ConstArray, const StepScalars*, Array, Array, Array) UNFINISHED
    void CudaBackend::adam_outer_product(int64_t, int64_t, int64_t, ConstArray, ConstArray,
                                         const StepScalars*, Array, Array, Array, Array) UNFINISHED
}  // namespace eelsvae::EELSVAE_GPU
