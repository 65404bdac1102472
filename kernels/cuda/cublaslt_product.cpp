#include <cublasLt.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "kernels/cuda/matrix_product.h"
#include "kernels/error.h"

namespace eelsvae::cuda {
namespace {

// How many ways are looked at; they come in the order of what cuBLASLt expects of them.
constexpr int most_ways = 8;

void check_lt(cublasStatus_t status, const char* call,
              std::source_location place = std::source_location::current()) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail(std::string(call) + ": " + cublasLtGetStatusName(status) + ", " + cublasLtGetStatusString(status),
         place);
}

// One handle for each device, for all backends: threads may call with the same one. They live as long as the
// driver's contexts, which are not ours to outlive.
cublasLtHandle_t handle() {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t> of_device;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard lock(mutex);
  cublasLtHandle_t& handle = of_device[device];
  if (!handle) check_lt(cublasLtCreate(&handle), "cublasLtCreate");
  return handle;
}

// cuBLASLt thinks in columns: a row-major matrix is the transpose of a column-major one of the same memory.
// What is computed is c^T = op(b)^T a^T, with (columns, rows) the size of c^T.
class Description {
 public:
  explicit Description(const MatrixProductRequest& r) {
    const cudaDataType type = storage_of(r.math) == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasComputeType_t compute =
        r.math == Math::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check_lt(cublasLtMatmulDescCreate(&operation, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t first = r.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    check_lt(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first),
             "cublasLtMatmulDescSetAttribute");
    auto layout = [type](cublasLtMatrixLayout_t& matrix, int64_t rows, int64_t columns) {
      check_lt(cublasLtMatrixLayoutCreate(&matrix, type, static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(columns), rows),
               "cublasLtMatrixLayoutCreate");
    };
    if (r.transposed)
      layout(b, r.inner, r.columns);
    else
      layout(b, r.columns, r.inner);
    layout(a, r.inner, r.rows);
    layout(c, r.columns, r.rows);
  }
  ~Description() {
    cublasLtMatmulDescDestroy(operation);
    for (cublasLtMatrixLayout_t matrix : {a, b, c}) cublasLtMatrixLayoutDestroy(matrix);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
};

class LtProduct final : public MatrixProduct {
 public:
  LtProduct(std::shared_ptr<const Description> description, const cublasLtMatmulAlgo_t& algorithm,
            size_t workspace_bytes)
      : description_(std::move(description)), algorithm_(algorithm), workspace_bytes_(workspace_bytes) {}

  std::string name() const override {
    std::string text = "cublasLt";
    std::array<uint64_t, sizeof algorithm_ / sizeof(uint64_t)> words;
    std::memcpy(words.data(), &algorithm_, sizeof algorithm_);
    for (uint64_t word : words) {
      char hexadecimal[20];
      std::snprintf(hexadecimal, sizeof hexadecimal, ".%llx", static_cast<unsigned long long>(word));
      text += hexadecimal;
    }
    return text;
  }
  size_t workspace_bytes() const override { return workspace_bytes_; }

  void run(cudaStream_t stream, const void* a, const void* b, void* c, void* workspace) const override {
    const float one = 1, zero = 0;
    check_lt(cublasLtMatmul(handle(), description_->operation, &one, b, description_->b, a, description_->a,
                            &zero, c, description_->c, c, description_->c, &algorithm_, workspace,
                            workspace_bytes_, stream),
             "cublasLtMatmul");
  }

 private:
  std::shared_ptr<const Description> description_;
  cublasLtMatmulAlgo_t algorithm_;
  size_t workspace_bytes_;
};

}  // namespace

std::vector<std::unique_ptr<MatrixProduct>> matrix_products(const MatrixProductRequest& request,
                                                            size_t workspace_limit) {
  auto description = std::make_shared<const Description>(request);
  cublasLtMatmulPreference_t preference = nullptr;
  check_lt(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  auto prefer = [preference](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check_lt(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
             "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_limit);
  // Sums in place meet in the order in which blocks happen to end.
  const uint32_t in_order = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, in_order);
  // Within the arena operands start at multiples of 256 bytes.
  const uint32_t alignment = 256;
  for (auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    prefer(attribute, alignment);

  std::array<cublasLtMatmulHeuristicResult_t, most_ways> found;
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle(), description->operation, description->b, description->a, description->c, description->c,
      preference, most_ways, found.data(), &count);
  cublasLtMatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) check_lt(status, "cublasLtMatmulAlgoGetHeuristic");

  std::vector<std::unique_ptr<MatrixProduct>> products;
  for (int i = 0; i < count; ++i)
    if (found[static_cast<size_t>(i)].state == CUBLAS_STATUS_SUCCESS)
      products.push_back(std::make_unique<LtProduct>(description, found[static_cast<size_t>(i)].algo,
                                                     found[static_cast<size_t>(i)].workspaceSize));
  return products;
}

}  // namespace eelsvae::cuda
