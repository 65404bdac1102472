#include "kernels/cuda/matrix_product.h"
namespace eelsvae::cuda {
std::vector<std::unique_ptr<MatrixProduct>> matrix_products(const MatrixProductRequest&, size_t) {
  return {};
}
}  // namespace eelsvae::cuda
