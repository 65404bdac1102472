#pragma once

#include <string>

#include "kernels/backend.h"
#include "kernels/cpu/arithmetic.h"
#include "kernels/cpu/instruction_set.h"

namespace eelsvae {

// The CPU: kernels of our own and OpenMP. Activations are f32 or bf16, masters f32. Every reduction is split
// into pieces whose number and order depend on the sizes alone.
//
// This folder is compiled once for 256-bit vectors and once for 512-bit ones (CMakeLists.txt), each apart
// from the other and from the rest of the program; factory.cpp and instruction_set.cpp choose between them.
class CpuBackend final : public Backend {
 public:
  // activation: f32 or bf16. `set` is one that this compilation is for.
  CpuBackend(DType activation, cpu::InstructionSet set);

  std::string processor() const override;
  std::string device() const override { return "cpu"; }
  std::string precision() const override { return storage_type() == DType::bf16 ? "bf16" : "fp32"; }
  std::string kernels() const override { return cpu::name_of(arithmetic_.set); }
  DType storage_type() const override { return arithmetic_.activation; }
  DType master_type() const override { return DType::f32; }

  DeviceMemory memory() const override;
  void* allocate(size_t bytes) override;
  void release(void* memory, size_t bytes) noexcept override;
  void upload_rows(const void* host, size_t width, void* device, size_t pitch, int64_t rows) override;
  void download_rows(const void* device, size_t pitch, void* host, size_t width, int64_t rows) override;
  void synchronize() override {}
  void convert(ConstArray source, Array destination) override;
  std::vector<CeilingLoop> ceiling_loops(void* memory, size_t bytes) override;

  std::unique_ptr<Conv3d> make_conv3d(const Conv3dProblem& problem, bool transposed, bool relu,
                                      Passes passes) override;
  std::unique_ptr<ForwardConv3d> make_gathered_conv3d(const Conv3dProblem& problem, LineSources sources,
                                                      bool relu) override;
  std::unique_ptr<Linear> make_linear(const LinearProblem& problem, Passes passes) override;

  void bias_relu(int64_t rows, int64_t channels, ConstArray bias, bool relu, Array y) override;
  void bias_relu_backward(int64_t rows, int64_t channels, ConstArray y, bool relu, Array gradient,
                          Array bias_gradient) override;

  void energy_pooling(int64_t batch, int64_t positions, int64_t channels, ConstArray x, Array y) override;
  void energy_pooling_backward(int64_t batch, int64_t positions, int64_t channels, ConstArray x, ConstArray y,
                               ConstArray y_gradient, Array x_gradient) override;

  void reparameterize(int64_t batch, int64_t latent, ConstArray head, bool sample, const StepScalars* scalars,
                      Array z, Array kl) override;
  void reparameterize_backward(int64_t batch, int64_t latent, ConstArray head, ConstArray z_gradient,
                               const StepScalars* scalars, Array head_gradient) override;

  void reconstruction_loss(ReconstructionLoss kind, int64_t tiles, int64_t pixels, int64_t energy,
                           ConstArray logits, ConstArray targets, const StepScalars* scalars, Array loss,
                           Array gradient) override;
  void reconstruct(ReconstructionLoss kind, int64_t spectra, int64_t energy, ConstArray logits,
                   ConstArray targets, Array reconstruction) override;

  void squared_norm(ConstArray values, Array result) override;
  size_t outer_product_workspace_bytes(int64_t batch) const override;
  void squared_norm_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                                  Array result, void* workspace) override;
  void clip(ConstArray squares, double limit, Array norm, StepScalars* scalars) override;

  void adam(ConstArray gradient, const StepScalars* scalars, Array w, Array m, Array v) override;
  void adam_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                          const StepScalars* scalars, Array w, Array m, Array v, Array shadow) override;

  std::unique_ptr<DeviceImage> take_image(const ImageShape& shape, float* counts,
                                          const uint8_t* excluded) override;

 private:
  cpu::Arithmetic arithmetic_;
};

}  // namespace eelsvae
