#include "kernels/linear.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/cuda/choose_fastest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/matrix_product.h"
#include "kernels/cuda/random_fill.h"
#include "kernels/cuda/small_batch.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr size_t workspace_limit = size_t{64} << 20;

std::string text_of(const LinearProblem& p, Math math, const char* pass) {
  return std::string("linear ") + pass + " " + std::to_string(p.batch) + "x" + std::to_string(p.in) + "x" +
         std::to_string(p.out) + " " + name_of(math);
}

// Both passes have two ways: our own kernels for a few tiles, and cuBLASLt's. Which one is taken is a matter
// of time.
class CudaLinear final : public Linear {
 public:
  CudaLinear(CudaBackend& backend, const LinearProblem& problem, Passes passes)
      : backend_(backend),
        p_(problem),
        passes_(passes),
        own_workspace_bytes_(is_small() ? small_batch_workspace_bytes(p_, backend.storage_type(), passes)
                                        : 0),
        forward_({p_.batch, p_.out, p_.in, /*transposed=*/true, backend.math()}, is_small()) {
    if (passes == Passes::training)
      backward_.emplace(MatrixProductRequest{p_.batch, p_.in, p_.out, /*transposed=*/false, backend.math()},
                        is_small());
    if (backend.measures_choices()) measure();
    forward_.keep_chosen();
    if (backward_) backward_->keep_chosen();
  }

  size_t workspace_bytes() const override {
    return std::max(
        {own_workspace_bytes_, forward_.workspace_bytes(), backward_ ? backward_->workspace_bytes() : 0});
  }

  void forward(ConstArray x, ConstArray weights, ConstArray bias, bool relu, Array y,
               void* workspace) override {
    check(x, weights, y);
    expect(bias.count == p_.out, "linear: wrong bias count");
    run_forward(forward_.chosen, x.data, weights.data, bias, relu, y, workspace);
  }
  void backward_data(ConstArray y_gradient, ConstArray weights, Array x_gradient, void* workspace) override {
    expect_training(passes_);
    check(x_gradient, weights, y_gradient);
    run_backward(backward_->chosen, y_gradient.data, weights.data, x_gradient.data, workspace);
  }

 private:
  // Way 0 is our own where the batch is small; the library's follow.
  struct Pass {
    Pass(const MatrixProductRequest& r, bool own)
        : request(r), products(matrix_products(r, workspace_limit)) {
      if (own) products.insert(products.begin(), nullptr);
      expect(!products.empty(), "cuBLASLt offers no way for a matrix product");
    }
    size_t ways() const { return products.size(); }
    std::string name(size_t way) const { return products[way] ? products[way]->name() : "own"; }
    void keep_chosen() {
      std::unique_ptr<MatrixProduct> kept = std::move(products[chosen]);
      products.clear();
      products.push_back(std::move(kept));
      chosen = 0;
    }
    size_t workspace_bytes() const {
      size_t bytes = 0;
      for (const auto& product : products)
        if (product) bytes = std::max(bytes, product->workspace_bytes());
      return bytes;
    }
    MatrixProductRequest request;
    std::vector<std::unique_ptr<MatrixProduct>> products;
    size_t chosen = 0;
  };

  void run_forward(size_t way, const void* x, const void* w, ConstArray bias, bool relu, Array y,
                   void* workspace) {
    if (const MatrixProduct* product = forward_.products[way].get()) {
      product->run(backend_.stream(), x, w, y.data, workspace);
      backend_.bias_relu(p_.batch, p_.out, bias, relu, y);
    } else {
      small_batch_forward(backend_.stream(), p_, y.type, x, w, bias.as<float>(), relu, y.data, workspace);
    }
  }
  void run_backward(size_t way, const void* dy, const void* w, void* dx, void* workspace) {
    if (const MatrixProduct* product = backward_->products[way].get())
      product->run(backend_.stream(), dy, w, dx, workspace);
    else
      small_batch_backward_data(backend_.stream(), p_, backend_.storage_type(), dy, w, dx, workspace);
  }

  // Chooses the ways by time. A library's way is used only after it was checked in this process.
  void measure() {
    const DType type = backend_.storage_type();
    const cudaStream_t stream = backend_.stream();
    auto filled = [&](int64_t count, DType of) {
      auto block = std::make_unique<DeviceMemoryBlock>(static_cast<size_t>(count) * size_of(of));
      random_fill(stream, {block->data(), of, count});
      return block;
    };
    const auto x = filled(p_.batch * p_.in, type), w = filled(p_.in * p_.out, type),
               y = filled(p_.batch * p_.out, type), bias = filled(p_.out, DType::f32);
    const DeviceMemoryBlock workspace(workspace_bytes());
    const Array xs = {x->data(), type, p_.batch * p_.in}, ys = {y->data(), type, p_.batch * p_.out};
    const ConstArray biases = {bias->data(), DType::f32, p_.out};
    auto choose_way = [&](Pass& pass, const char* name, Array a, Array c, auto run) {
      std::vector<Candidate> candidates;
      for (size_t way = 0; way < pass.ways(); ++way) {
        std::function<void()> check;
        if (const MatrixProduct* product = pass.products[way].get())
          check = [&, a, c, product] {  // without bias and ReLU, on what is no result of another way
            random_fill(stream, a);
            product->run(stream, a.data, w->data(), c.data, workspace.data());
            expect_right(stream, pass.request, {a.data, w->data(), c.data}, product->name());
          };
        candidates.push_back({pass.name(way), [run, way] { run(way); }, check});
      }
      pass.chosen = choose_fastest(backend_, text_of(p_, backend_.math(), name), candidates);
    };
    choose_way(forward_, "forward", xs, ys,
               [&](size_t way) { run_forward(way, xs.data, w->data(), biases, true, ys, workspace.data()); });
    if (backward_)
      choose_way(*backward_, "backward data", ys, xs,
                 [&](size_t way) { run_backward(way, ys.data, w->data(), xs.data, workspace.data()); });
    backend_.synchronize();
  }

  bool is_small() const { return p_.batch <= small_batch_limit; }
  void check(ConstArray x, ConstArray weights, ConstArray y) const {
    expect(x.count == p_.batch * p_.in && weights.count == p_.in * p_.out && y.count == p_.batch * p_.out,
           "linear: wrong sizes");
    const DType type = backend_.storage_type();
    expect(x.type == type && weights.type == type && y.type == type, "linear: wrong types");
  }

  CudaBackend& backend_;
  LinearProblem p_;
  Passes passes_;
  size_t own_workspace_bytes_;
  Pass forward_;
  std::optional<Pass> backward_;  // of Passes::training
};

}  // namespace

std::unique_ptr<Linear> CudaBackend::make_linear(const LinearProblem& problem, Passes passes) {
  use_device();
  return std::make_unique<CudaLinear>(*this, problem, passes);
}

}  // namespace eelsvae::EELSVAE_GPU
