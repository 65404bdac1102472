#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/math.h"
#include "kernels/cuda/runtime.h"

namespace eelsvae::EELSVAE_GPU {

// c (rows, columns) = a op(b), all row-major in the storage type of `math`; a is (rows, inner), b (columns,
// inner) if transposed, else (inner, columns).
struct MatrixProductRequest {
  int64_t rows = 1, columns = 1, inner = 1;
  bool transposed = false;
  Math math = Math::fp32;
  bool operator==(const MatrixProductRequest&) const = default;
};

// A way to carry out a request, ready to run.
class MatrixProduct {
 public:
  virtual ~MatrixProduct() = default;
  // What tells it from the others of the same request, also in another process.
  virtual std::string name() const = 0;
  virtual size_t workspace_bytes() const = 0;
  virtual void run(cudaStream_t stream, const void* a, const void* b, void* c, void* workspace) const = 0;
};

// The ways that the library offers, its own favourite first; none with a larger workspace.
std::vector<std::unique_ptr<MatrixProduct>> matrix_products(const MatrixProductRequest& request,
                                                            size_t workspace_limit);

}  // namespace eelsvae::EELSVAE_GPU
