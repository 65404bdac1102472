#include "kernels/conv3d.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/choice.h"
#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/fold.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

// Larger ones belong to algorithms that reorder whole tensors, which channels-last data seldom needs.
constexpr size_t workspace_limit = size_t{256} << 20;

size_t aligned(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}
char* behind(void* memory, size_t bytes) {
  return static_cast<char*>(memory) + aligned(bytes);
}

// What a convolution (x to y), its adjoint (y to x) and the gradient of its weights are computed by.
enum class Direction { to_y, to_x, to_weights };

// The forms of the weights that plans read.
enum Form { original, folded, folded_adjoint, form_count };

// A plan and what has to happen around it.
struct Way {
  std::shared_ptr<const ConvolutionPlan> plan;
  Form form = original;
  bool adjoint = false;  // the plan is the convolution's adjoint: it reads y and writes x
  bool fused = false;    // the plan adds the bias and applies the ReLU
  size_t before = 0;     // bytes of the workspace in front of the plan's own
  std::string name() const { return (form == original ? "direct, " : "folded, ") + plan->name(); }
  size_t workspace_bytes() const { return aligned(before) + plan->workspace_bytes(); }
};

std::string text(const Extent3& e) {
  return std::to_string(e.h) + "x" + std::to_string(e.w) + "x" + std::to_string(e.e);
}

// Memory to measure plans on, filled with random numbers: on zeros a GPU draws less power and so runs faster.
class RandomMemory {
 public:
  RandomMemory(cudaStream_t stream, DType type, size_t bytes) : block_(bytes) {
    constexpr size_t piece = size_t{1} << 20;
    std::vector<char> numbers(std::min(bytes, piece));
    std::minstd_rand generator;
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (size_t i = 0; i + size_of(type) <= numbers.size(); i += size_of(type)) {
      const float number = uniform(generator);
      const bfloat16 rounded(number);
      std::memcpy(&numbers[i], type == DType::bf16 ? static_cast<const void*>(&rounded) : &number,
                  size_of(type));
    }
    char* memory = static_cast<char*>(data());
    for (size_t begin = 0; begin < bytes; begin += piece)
      check(cudaMemcpyAsync(memory + begin, numbers.data(), std::min(piece, bytes - begin),
                            cudaMemcpyHostToDevice, stream),
            "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }
  void* data() const { return block_.data(); }

 private:
  DeviceMemoryBlock block_;
};

// A convolution or its transpose. Both are made of the same three computations, which differ in which of them
// is the layer's forward and which its backward pass.
class CudaConv3d final : public Conv3d {
 public:
  CudaConv3d(CudaBackend& backend, const Conv3dProblem& problem, bool transposed)
      : backend_(backend), problem_(problem), transposed_(transposed) {
    if (Fold::applies_to(problem)) fold_.emplace(problem);
    const Direction ahead = transposed ? Direction::to_x : Direction::to_y,
                    back = transposed ? Direction::to_y : Direction::to_x;
    rectified_ = fastest_of(ahead, true);
    // Inner layers without a ReLU are in no network of ours: the library's favourite will do.
    plain_ = rectified_.fused ? ways(ahead, false).at(0) : rectified_;
    data_ = fastest_of(back, false);
    weights_ = fastest_of(Direction::to_weights, false);
    trial_.reset();
    for (const Way* way : {&rectified_, &plain_, &data_}) used_[way->form] = true;
  }

  size_t workspace_bytes() const override {
    size_t bytes = 0;
    for (const Way* way : {&rectified_, &plain_, &data_, &weights_})
      bytes = std::max(bytes, way->workspace_bytes());
    return bytes;
  }
  size_t packed_bytes() const override { return offset_of(form_count); }

  void pack(ConstArray weights, void* packed, void*) override {
    expect(weights.count == problem_.weight_count(), "conv3d: wrong weight count");
    auto destination = [&](Form form) {
      return Array{static_cast<char*>(packed) + offset_of(form), storage(), form_elements(form)};
    };
    if (used_[original]) {
      const Array copy = destination(original);
      if (copy.type == weights.type)
        check(cudaMemcpyAsync(copy.data, weights.data, weights.bytes(), cudaMemcpyDeviceToDevice,
                              backend_.stream()),
              "cudaMemcpyAsync");
      else
        backend_.convert(weights, copy);
    }
    if (used_[folded]) fold_weights(backend_.stream(), *fold_, weights.as<float>(), destination(folded));
    if (used_[folded_adjoint])
      fold_adjoint_weights(backend_.stream(), *fold_, weights.as<float>(), destination(folded_adjoint));
  }

  void forward(ConstArray source, const void* packed, ConstArray bias, bool relu, Array destination,
               void* workspace) override {
    check_activations(source, destination);
    expect(bias || !relu, "conv3d: a ReLU comes with a bias");
    run(bias && relu ? rectified_ : plain_, source, packed, bias, relu, destination, workspace);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void* workspace) override {
    check_activations(source_gradient, destination_gradient);
    run(data_, destination_gradient, packed, {}, false, source_gradient, workspace);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    check_activations(source, destination_gradient);
    expect(weight_gradient.count == problem_.weight_count(), "conv3d: wrong weight gradient count");
    if (transposed_) std::swap(source, destination_gradient);
    run_weights(weights_, source, destination_gradient, weight_gradient, workspace);
  }

 private:
  DType storage() const { return storage_of(backend_.math()); }
  int64_t form_elements(Form form) const {
    return form == original ? problem_.weight_count() : fold_->weight_count();
  }
  size_t offset_of(int form) const {
    size_t offset = 0;
    for (int before = 0; before < form; ++before)
      if (used_[static_cast<size_t>(before)])
        offset += aligned(static_cast<size_t>(form_elements(static_cast<Form>(before))) * size_of(storage()));
    return offset;
  }
  int64_t channels_of_destination(Direction direction) const {
    return direction == Direction::to_y ? problem_.out_channels : problem_.in_channels;
  }
  void check_activations(ConstArray source, ConstArray destination) const {
    if (transposed_) std::swap(source, destination);
    expect(source.count == problem_.x_count() && destination.count == problem_.y_count(),
           "conv3d: wrong activation count");
    expect(source.type == storage() && destination.type == storage(), "conv3d: wrong activation type");
  }

  // The ways through the folded problem come first: the emulated device, which takes the first, then goes
  // both ways in its tests, since not every problem can be folded.
  std::vector<Way> ways(Direction direction, bool rectified) const {
    std::vector<Way> result;
    auto add = [&](Form form, const Conv3dProblem& problem, ConvolutionPass pass) {
      const bool can_fuse = rectified && pass == ConvolutionPass::forward;
      for (bool fused : {true, false}) {
        if (fused && !can_fuse) continue;
        Way way;
        way.form = form;
        way.adjoint = pass == ConvolutionPass::backward_data;
        way.fused = fused;
        if (fused && copies_bias(way))
          way.before = static_cast<size_t>(problem.out_channels) * size_of(storage());
        if (pass == ConvolutionPass::backward_weights && (form != original || storage() != DType::f32))
          way.before = static_cast<size_t>(form_elements(form)) * size_of(storage());
        auto plans = convolution_plans({problem, pass, backend_.math(), fused, fused}, backend_.properties(),
                                       workspace_limit);
        for (auto& plan : plans) {
          way.plan = std::move(plan);
          result.push_back(way);
        }
        if (!plans.empty()) break;  // a pass of its own for bias and ReLU is slower in any case
      }
    };
    switch (direction) {
      case Direction::to_y:
        if (fold_) add(folded, fold_->folded(), ConvolutionPass::forward);
        add(original, problem_, ConvolutionPass::forward);
        break;
      case Direction::to_x:
        if (fold_) add(folded_adjoint, fold_->adjoint(), ConvolutionPass::forward);
        add(original, problem_, ConvolutionPass::backward_data);
        break;
      case Direction::to_weights:
        if (fold_) add(folded, fold_->folded(), ConvolutionPass::backward_weights);
        add(original, problem_, ConvolutionPass::backward_weights);
        break;
    }
    if (result.empty()) fail(key(direction, rectified) + ": cuDNN offers nothing");
    return result;
  }
  // Plans read the bias in the storage type, and once for each of their channels.
  bool copies_bias(const Way& way) const { return storage() != DType::f32 || way.form == folded_adjoint; }

  std::string key(Direction direction, bool rectified) const {
    const Conv3dProblem& p = problem_;
    const char* what = direction == Direction::to_y   ? "convolution"
                       : direction == Direction::to_x ? "transposed convolution"
                                                      : "convolution's weight gradient";
    return std::string(what) + (rectified ? " + bias + ReLU, " : ", ") + backend_.precision() + ", " +
           std::to_string(p.batch) + " of " + text(p.in) + ", channels " + std::to_string(p.in_channels) +
           "-" + std::to_string(p.out_channels) + ", kernel " + text(p.kernel) + ", stride " +
           text(p.stride) + ", padding " + text(p.padding);
  }

  // Memory of the sizes of all that the passes read and write.
  struct Trial {
    RandomMemory x, y, weights, bias, gradient;
    DeviceMemoryBlock workspace;
  };

  Way fastest_of(Direction direction, bool rectified) {
    std::vector<Way> candidates = ways(direction, rectified);
    std::vector<std::string> names;
    for (const Way& way : candidates) names.push_back(way.name());
    const size_t chosen = choose(backend_.properties(), backend_.stream(), key(direction, rectified), names,
                                 [&](size_t i) { try_out(candidates[i], direction, rectified); });
    return candidates[chosen];
  }
  void try_out(const Way& way, Direction direction, bool rectified) {
    const Conv3dProblem& p = problem_;
    const cudaStream_t stream = backend_.stream();
    if (!trial_) {
      auto memory = [&](DType type, int64_t count) {
        return RandomMemory(stream, type, static_cast<size_t>(count) * size_of(type));
      };
      const int64_t weights = std::max(p.weight_count(), fold_ ? fold_->weight_count() : 0);
      trial_.reset(new Trial{
          memory(storage(), p.x_count()), memory(storage(), p.y_count()), memory(storage(), weights),
          memory(DType::f32, std::max(p.in_channels, p.out_channels)), memory(DType::f32, p.weight_count()),
          DeviceMemoryBlock(workspace_limit + (size_t{1} << 20) +
                            static_cast<size_t>(weights) * size_of(storage()))});
    }
    const Array x = {trial_->x.data(), storage(), p.x_count()},
                y = {trial_->y.data(), storage(), p.y_count()};
    if (direction == Direction::to_weights) {
      run_weights(way, x, y, {trial_->gradient.data(), DType::f32, p.weight_count()},
                  trial_->workspace.data());
      return;
    }
    const bool to_y = direction == Direction::to_y;
    ConstArray bias;
    if (rectified) bias = {trial_->bias.data(), DType::f32, channels_of_destination(direction)};
    run_with(way, to_y ? x : y, trial_->weights.data(), bias, rectified, to_y ? y : x,
             trial_->workspace.data());
  }

  void run(const Way& way, ConstArray source, const void* packed, ConstArray bias, bool relu,
           Array destination, void* workspace) const {
    run_with(way, source, static_cast<const char*>(packed) + offset_of(way.form), bias, relu, destination,
             workspace);
  }
  void run_with(const Way& way, ConstArray source, const void* weights, ConstArray bias, bool relu,
                Array destination, void* workspace) const {
    const void* plan_bias = bias.data;
    if (way.fused && copies_bias(way)) {
      plan_bias = workspace;
      repeat_bias(backend_.stream(), bias,
                  {workspace, storage(), static_cast<int64_t>(way.before / size_of(storage()))});
    }
    void* from = const_cast<void*>(source.data);
    way.plan->run(backend_.stream(),
                  {way.adjoint ? destination.data : from, const_cast<void*>(weights),
                   way.adjoint ? from : destination.data, way.fused ? plan_bias : nullptr},
                  behind(workspace, way.before));
    if (bias && !way.fused)
      backend_.bias_relu(destination.count / bias.count, bias.count, bias, relu, destination);
  }
  void run_weights(const Way& way, ConstArray x, ConstArray y, Array gradient, void* workspace) const {
    void* written = way.before > 0 ? workspace : gradient.data;
    way.plan->run(backend_.stream(), {const_cast<void*>(x.data), written, const_cast<void*>(y.data), nullptr},
                  behind(workspace, way.before));
    const ConstArray result = {written, storage(), form_elements(way.form)};
    if (way.form == folded)
      unfold_gradient(backend_.stream(), *fold_, result, gradient);
    else if (way.before > 0)
      backend_.convert(result, gradient);
  }

  CudaBackend& backend_;
  Conv3dProblem problem_;
  bool transposed_;
  std::optional<Fold> fold_;
  Way rectified_, plain_, data_, weights_;
  std::array<bool, form_count> used_{};
  std::unique_ptr<Trial> trial_;
};

}  // namespace

std::unique_ptr<Conv3d> CudaBackend::make_conv3d(const Conv3dProblem& problem) {
  return std::make_unique<CudaConv3d>(*this, problem, false);
}

std::unique_ptr<Conv3d> CudaBackend::make_transposed_conv3d(const Conv3dProblem& problem) {
  return std::make_unique<CudaConv3d>(*this, problem, true);
}

}  // namespace eelsvae::EELSVAE_GPU
