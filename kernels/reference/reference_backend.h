#pragma once

#include "kernels/backend.h"

namespace eelsvae {

// Every operation as the plain loop of the formula in its header, in double and in the machine's own memory.
// It is what the other backends are tested against, so it shares no code with them but the random numbers.
class ReferenceBackend final : public Backend {
 public:
  std::string processor() const override { return "reference: plain loops in double, for tests"; }
  std::string device() const override { return "reference"; }
  std::string precision() const override { return "fp64"; }
  DType storage_type() const override { return DType::f64; }
  DType master_type() const override { return DType::f64; }

  DeviceMemory memory() const override;
  void* allocate(size_t bytes) override;
  void release(void* memory, size_t bytes) noexcept override;
  void upload_rows(const void* host, size_t width, void* device, size_t pitch, int64_t rows) override;
  void download_rows(const void* device, size_t pitch, void* host, size_t width, int64_t rows) override;
  void synchronize() override {}
  void convert(ConstArray source, Array destination) override;

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
  size_t outer_product_workspace_bytes(int64_t) const override { return 0; }
  void squared_norm_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                                  Array result, void* workspace) override;
  void clip(ConstArray squares, double limit, Array norm, StepScalars* scalars) override;

  void adam(ConstArray gradient, const StepScalars* scalars, Array w, Array m, Array v) override;
  void adam_outer_product(int64_t batch, int64_t in, int64_t out, ConstArray x, ConstArray d,
                          const StepScalars* scalars, Array w, Array m, Array v, Array shadow) override;

  std::unique_ptr<DeviceImage> take_image(const ImageShape& shape, float* counts,
                                          const uint8_t* excluded) override;
};

extern const BackendFactory reference_backend;

// The elements of an array that must hold exactly `count` of them.
inline const double* elements(ConstArray array, int64_t count) {
  expect(array.count == count, "array of another size");
  return array.as<double>();
}
inline double* elements(Array array, int64_t count) {
  expect(array.count == count, "array of another size");
  return array.as<double>();
}

}  // namespace eelsvae
