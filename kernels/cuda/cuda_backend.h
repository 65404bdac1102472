#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/device_properties.h"
#include "kernels/cuda/math.h"
#include "kernels/cuda/runtime.h"
#include "kernels/storage_type.h"

namespace eelsvae::EELSVAE_GPU {

// The emulated device's times mean nothing, and what it has in place of libraries needs no check: it takes
// the first of every choice, unless a test asks for more.
#ifdef EELSVAE_EMULATED
constexpr bool choices_are_measured = false;
#else
constexpr bool choices_are_measured = true;
#endif

// An NVIDIA GPU: cuDNN for the inner convolutions, cuBLASLt for matrix products, kernels of our own for the
// rest. Masters are f32. Everything is queued on one stream; reductions are split in a way that depends on
// sizes alone.
class CudaBackend final : public Backend {
 public:
  // precision: fp32, tf32 or bf16; measures_choices: whether of several ways to compute the fastest is taken
  // after all were checked, or the first. Throws UserError if the device cannot be used.
  CudaBackend(int device, const std::string& precision, bool measures_choices = choices_are_measured);
  ~CudaBackend() override;

  std::string processor() const override;
  std::string device() const override;
  std::string precision() const override;
  std::vector<std::string> notes() const override { return notes_; }
  DType storage_type() const override { return storage_of(math_); }
  DType master_type() const override { return DType::f32; }

  DeviceMemory memory() const override;
  void* allocate(size_t bytes) override;
  void release(void* memory, size_t bytes) noexcept override;
  void upload_rows(const void* host, size_t width, void* device, size_t pitch, int64_t rows) override;
  void download_rows(const void* device, size_t pitch, void* host, size_t width, int64_t rows) override;
  void synchronize() override;
  size_t staging_bytes(size_t bytes) const override;
  std::unique_ptr<Feed> make_feed(size_t bytes, void* staging) override;
  std::unique_ptr<Drain> make_drain(size_t bytes, void* staging) override;
  std::unique_ptr<Recording> record(std::function<void()> operations) override;
  void convert(ConstArray source, Array destination) override;

  std::unique_ptr<Conv3d> make_conv3d(const Conv3dProblem& problem, bool transposed, bool relu,
                                      Passes passes) override;
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
  size_t image_bytes(const ImageShape& shape) const override;

  // For this folder's own parts.
  cudaStream_t stream() const { return stream_; }
  // Makes the device this thread's current one, as stream() does, for what takes no stream.
  void use_device() const;
  Math math() const { return math_; }
  const DeviceProperties& properties() const { return properties_; }
  bool measures_choices() const { return measures_choices_; }
  void note(const std::string& line);  // once, however often it is said
  // Memory for the partial results of one reduction; the next operation uses it again.
  template <typename T>
  T* partial_results(int64_t count) const {
    expect(static_cast<size_t>(count) * sizeof(T) <= partial_results_.bytes(), "too many partial results");
    return static_cast<T*>(partial_results_.data());
  }

 private:
  int index_;
  Math math_;
  bool measures_choices_;
  DeviceProperties properties_;
  std::vector<std::string> notes_;
  // Each way over the bus has a stream of its own: results wait for the step that makes them, and the next
  // step's tiles must not wait behind them.
  Stream stream_, uploads_, downloads_;
  DeviceMemoryBlock partial_results_;
};

}  // namespace eelsvae::EELSVAE_GPU
