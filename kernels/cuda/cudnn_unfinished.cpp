#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/library_versions.h"
namespace eelsvae::cuda {
std::vector<std::unique_ptr<ConvolutionPlan>> convolution_plans(const ConvolutionRequest&, const DeviceProperties&, size_t) { return {}; }
std::string library_versions() { return ""; }
}
