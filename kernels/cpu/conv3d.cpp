#include "kernels/conv3d.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/line_convolution.h"
#include "kernels/cpu/outer_conv.h"
#include "kernels/cpu/weight_gradient.h"

namespace eelsvae {
namespace {

size_t aligned(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

class CpuConv3d final : public Conv3d {
 public:
  using Direction = cpu::LineConvolution::Direction;

  CpuConv3d(const Conv3dProblem& problem, const cpu::Arithmetic& arithmetic, bool transposed, bool relu,
            Passes passes)
      : problem_(problem), transposed_(transposed), relu_(relu), passes_(passes) {
    const bool training = passes == Passes::training;
    if (training || !transposed) convolution_.emplace(problem, Direction::forward, arithmetic);
    if (training || transposed) adjoint_.emplace(problem, Direction::adjoint, arithmetic);
    if (training) weight_gradient_.emplace(problem, arithmetic);
  }

  size_t workspace_bytes() const override {
    const auto bytes = [](const auto& part) { return part ? part->workspace_bytes() : 0; };
    return std::max({bytes(convolution_), bytes(adjoint_), bytes(weight_gradient_)});
  }
  // A gathered convolution finds its form first.
  size_t packed_bytes() const override {
    return adjoint_offset() + (adjoint_ ? adjoint_->packed_bytes() : 0);
  }
  void pack(ConstArray weights, void* packed, void*) override {
    expect(weights.count == problem_.weight_count(), "conv3d: wrong weight count");
    if (convolution_) convolution_->pack(weights.as<float>(), packed);
    if (adjoint_) adjoint_->pack(weights.as<float>(), static_cast<char*>(packed) + adjoint_offset());
  }

  void forward(ConstArray source, const void* packed, ConstArray bias, Array destination,
               void* workspace) override {
    check(source, destination);
    run(transposed_, source, packed, bias.as<float>(), relu_, destination, workspace);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void* workspace) override {
    expect_training(passes_);
    check(source_gradient, destination_gradient);
    run(!transposed_, destination_gradient, packed, nullptr, false, source_gradient, workspace);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    expect_training(passes_);
    check(source, destination_gradient);
    if (transposed_) std::swap(source, destination_gradient);
    weight_gradient_->run(source, destination_gradient, weight_gradient, workspace);
  }

 private:
  size_t adjoint_offset() const { return convolution_ ? aligned(convolution_->packed_bytes()) : 0; }
  void run(bool adjoint, ConstArray from, const void* packed, const float* bias, bool relu, Array to,
           void* workspace) const {
    if (adjoint)
      adjoint_->run(from, static_cast<const char*>(packed) + adjoint_offset(), bias, relu, to, workspace);
    else
      convolution_->run(from, packed, bias, relu, to, workspace);
  }
  void check(ConstArray source, ConstArray destination) const {
    const ConstArray x = transposed_ ? destination : source, y = transposed_ ? source : destination;
    expect(x.count == problem_.x_count() && y.count == problem_.y_count(), "conv3d: wrong activation count");
  }

  Conv3dProblem problem_;
  bool transposed_, relu_;
  Passes passes_;
  std::optional<cpu::LineConvolution> convolution_, adjoint_;
  std::optional<cpu::WeightGradient> weight_gradient_;
};

class CpuGatheredConv3d final : public ForwardConv3d {
 public:
  CpuGatheredConv3d(const Conv3dProblem& problem, LineSources sources, bool relu,
                    const cpu::Arithmetic& arithmetic)
      : x_count_(problem.x_count()),
        y_count_(static_cast<int64_t>(sources.rows.size()) / problem.kernel.h *
                 (static_cast<int64_t>(sources.columns.size()) / problem.kernel.w) * problem.out().e *
                 problem.out_channels),
        relu_(relu),
        convolution_(problem, std::move(sources), arithmetic) {
    expect(problem.batch == 1, "gathered conv3d: one x");
  }

  size_t workspace_bytes() const override { return convolution_.workspace_bytes(); }
  void forward(ConstArray x, const void* packed, ConstArray bias, Array y, void* workspace) override {
    expect(x.count == x_count_ && y.count == y_count_, "gathered conv3d: wrong activation count");
    convolution_.run(x, packed, bias.as<float>(), relu_, y, workspace);
  }

 private:
  int64_t x_count_, y_count_;
  bool relu_;
  cpu::LineConvolution convolution_;
};

// 0, 1, ..., size - 1
bool are_all_in_order(const std::vector<int64_t>& lines, int64_t size) {
  for (int64_t i = 0; i < std::ssize(lines); ++i)
    if (lines[static_cast<size_t>(i)] != i) return false;
  return std::ssize(lines) == size;
}

}  // namespace

std::unique_ptr<Conv3d> CpuBackend::make_conv3d(const Conv3dProblem& problem, bool transposed, bool relu,
                                                Passes passes) {
  if (cpu::is_outer_conv(problem))
    return cpu::make_outer_conv(problem, storage_type(), transposed, relu, passes);
  return std::make_unique<CpuConv3d>(problem, arithmetic_, transposed, relu, passes);
}

std::unique_ptr<ForwardConv3d> CpuBackend::make_gathered_conv3d(const Conv3dProblem& problem,
                                                                LineSources sources, bool relu) {
  if (!cpu::is_outer_conv(problem))
    return std::make_unique<CpuGatheredConv3d>(problem, std::move(sources), relu, arithmetic_);
  // Its lines see themselves alone, so that any convolution along the energy axis will do.
  if (!are_all_in_order(sources.rows, problem.in.h) || !are_all_in_order(sources.columns, problem.in.w))
    return nullptr;
  return cpu::make_outer_conv(problem, storage_type(), /*transposed=*/false, relu, Passes::forward);
}

}  // namespace eelsvae
