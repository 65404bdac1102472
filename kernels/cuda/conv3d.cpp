#include "kernels/conv3d.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/choice.h"
#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/edge_conv.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/random_fill.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

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
  ConvolutionRequest request;
  Form form = original;
  size_t before = 0;  // bytes of the workspace in front of the plan's own
  std::shared_ptr<const ConvolutionPlan> plan;

  bool adds_bias() const { return request.bias; }  // and applies the ReLU, if there is one
  bool reads_y() const { return request.pass == ConvolutionPass::backward_data; }
  std::string name() const { return (form == original ? "direct, " : "folded, ") + plan->name(); }
  size_t workspace_bytes() const { return aligned(before) + plan->workspace_bytes(); }
};

std::string text(const Extent3& e) {
  return std::to_string(e.h) + "x" + std::to_string(e.w) + "x" + std::to_string(e.e);
}

// A convolution or its transpose. Both are made of the same three computations, which differ in which of them
// is the layer's forward and which its backward pass.
class CudaConv3d final : public Conv3d {
 public:
  CudaConv3d(CudaBackend& backend, const Conv3dProblem& problem, bool transposed, bool relu, Passes passes)
      : backend_(backend), problem_(problem), transposed_(transposed), relu_(relu), passes_(passes) {
    if (Fold::applies_to(problem)) fold_.emplace(problem);
    const Direction ahead = transposed ? Direction::to_x : Direction::to_y,
                    back = transposed ? Direction::to_y : Direction::to_x;
    struct Task {
      Direction direction;
      bool biased;
      Way& way;
      std::vector<Way> ways;
    };
    std::vector<Task> tasks;
    const auto add = [&](Direction direction, bool biased, Way& way) {
      tasks.push_back({direction, biased, way, ways(direction, biased)});
    };
    add(ahead, true, forward_);
    if (passes == Passes::training) {
      add(back, false, data_);
      add(Direction::to_weights, false, weights_);
    }
    std::unique_ptr<const Trial> trial;
    if (backend.measures_choices()) {
      size_t workspace = 0;
      for (const Task& task : tasks)
        for (const Way& way : task.ways) workspace = std::max(workspace, way.workspace_bytes());
      trial = make_trial(workspace);
    }
    for (const Task& task : tasks) {
      task.way = trial ? fastest_of(task.ways, task.direction, task.biased, *trial) : task.ways.front();
      workspace_bytes_ = std::max(workspace_bytes_, task.way.workspace_bytes());
      if (task.direction != Direction::to_weights) used_[task.way.form] = true;
    }
  }

  size_t workspace_bytes() const override { return workspace_bytes_; }
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

  void forward(ConstArray source, const void* packed, ConstArray bias, Array destination,
               void* workspace) override {
    check_activations(source, destination);
    expect(bias.count == (transposed_ ? problem_.in_channels : problem_.out_channels),
           "conv3d: wrong bias count");
    run(forward_, source, packed, bias, destination, workspace);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void* workspace) override {
    expect_training(passes_);
    check_activations(source_gradient, destination_gradient);
    run(data_, destination_gradient, packed, {}, source_gradient, workspace);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    expect_training(passes_);
    check_activations(source, destination_gradient);
    expect(weight_gradient.count == problem_.weight_count(), "conv3d: wrong weight gradient count");
    if (transposed_) std::swap(source, destination_gradient);
    const ConvolutionTensors tensors =
        weight_tensors(weights_, source, destination_gradient, weight_gradient, workspace);
    weights_.plan->run(backend_.stream(), tensors, behind(workspace, weights_.before));
    finish_weights(weights_, tensors, weight_gradient);
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
  void check_activations(ConstArray source, ConstArray destination) const {
    if (transposed_) std::swap(source, destination);
    expect(source.count == problem_.x_count() && destination.count == problem_.y_count(),
           "conv3d: wrong activation count");
    expect(source.type == storage() && destination.type == storage(), "conv3d: wrong activation type");
  }

  // The ways through the folded problem come first: the emulated device, which takes the first, then goes
  // both ways in its tests, since not every problem can be folded.
  std::vector<Way> ways(Direction direction, bool biased) const {
    std::vector<Way> result;
    auto add = [&](Form form, const Conv3dProblem& problem, ConvolutionPass pass) {
      Way way;
      way.request = {problem, pass, backend_.math()};
      way.form = form;
      if (pass == ConvolutionPass::backward_weights && (form != original || storage() != DType::f32))
        way.before = static_cast<size_t>(form_elements(form)) * size_of(storage());
      if (biased && pass == ConvolutionPass::forward) {
        Way fused = way;
        fused.request.bias = true;
        fused.request.relu = relu_;
        if (copies_bias(form)) fused.before = static_cast<size_t>(problem.out_channels) * size_of(storage());
        if (add_plans(fused, result)) return;  // a pass of its own for bias and ReLU is slower in any case
      }
      add_plans(way, result);
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
    if (result.empty()) {  // for few or odd channels, say
      backend_.note(key(direction, biased) +
                    ": cuDNN has nothing, a slow kernel that goes by the definition stands in");
      const std::array<ConvolutionPass, 3> pass = {ConvolutionPass::forward, ConvolutionPass::backward_data,
                                                   ConvolutionPass::backward_weights};
      Way way;
      way.request = {problem_, pass[static_cast<size_t>(direction)], backend_.math()};
      if (direction == Direction::to_weights && storage() != DType::f32)
        way.before = static_cast<size_t>(problem_.weight_count()) * size_of(storage());
      way.plan = convolution_by_definition(way.request);
      result.push_back(way);
    }
    return result;
  }
  // Whether there were any.
  bool add_plans(Way way, std::vector<Way>& list) const {
    auto plans =
        convolution_plans(way.request, backend_.properties(), workspace_limit(backend_.properties()));
    for (auto& plan : plans) {
      way.plan = std::move(plan);
      list.push_back(way);
    }
    return !plans.empty();
  }
  // Plans read the bias in the storage type, and once for each of their channels.
  bool copies_bias(Form form) const { return storage() != DType::f32 || form == folded_adjoint; }

  std::string key(Direction direction, bool biased) const {
    const Conv3dProblem& p = problem_;
    const char* what = direction == Direction::to_y   ? "convolution"
                       : direction == Direction::to_x ? "transposed convolution"
                                                      : "convolution's weight gradient";
    return std::string(what) +
           (!biased ? ", "
            : relu_ ? " + bias + ReLU, "
                    : " + bias, ") +
           backend_.precision() + ", " + std::to_string(p.batch) + " of " + text(p.in) + ", channels " +
           std::to_string(p.in_channels) + "-" + std::to_string(p.out_channels) + ", kernel " +
           text(p.kernel) + ", stride " + text(p.stride) + ", padding " + text(p.padding);
  }

  // What the ways of one computation are tried out on: arrays of the sizes of all that they read and write.
  struct Trial {
    DeviceMemoryBlock x, y, weights, bias, gradient, workspace;
  };
  // Everything is allocated before a way is tried: too little memory is no way's fault.
  std::unique_ptr<const Trial> make_trial(size_t workspace_bytes) const {
    auto block = [](int64_t count, DType type) {
      return DeviceMemoryBlock(static_cast<size_t>(count) * size_of(type));
    };
    const Conv3dProblem& p = problem_;
    return std::unique_ptr<const Trial>(new Trial{
        block(p.x_count(), storage()), block(p.y_count(), storage()), block(trial_weights(), storage()),
        block(std::max(p.in_channels, p.out_channels), DType::f32), block(p.weight_count(), DType::f32),
        DeviceMemoryBlock(workspace_bytes)});
  }
  int64_t trial_weights() const {
    return std::max(problem_.weight_count(), fold_ ? fold_->weight_count() : 0);
  }

  Way fastest_of(const std::vector<Way>& ways, Direction direction, bool biased, const Trial& trial) const {
    std::vector<Candidate> candidates;
    for (const Way& way : ways) candidates.push_back(candidate(way, direction, biased, trial));
    return ways[choose(backend_, key(direction, biased), candidates)];
  }
  Candidate candidate(const Way& way, Direction direction, bool biased, const Trial& trial) const {
    const Conv3dProblem& p = problem_;
    const bool to_y = direction == Direction::to_y, to_weights = direction == Direction::to_weights;
    const Array x = {trial.x.data(), storage(), p.x_count()}, y = {trial.y.data(), storage(), p.y_count()},
                w = {trial.weights.data(), storage(), trial_weights()},
                bias = {trial.bias.data(), DType::f32, to_y ? p.out_channels : p.in_channels},
                gradient = {trial.gradient.data(), DType::f32, p.weight_count()};
    const ConstArray added = biased ? ConstArray(bias) : ConstArray();
    void* workspace = trial.workspace.data();
    const auto begin = [=, this, &way] {
      const ConvolutionTensors tensors =
          to_weights ? weight_tensors(way, x, y, gradient, workspace)
                     : tensors_of(way, to_y ? x : y, w.data, added, to_y ? y : x, workspace);
      way.plan->run(backend_.stream(), tensors, behind(workspace, way.before));
      return tensors;
    };
    const auto run = [=, this, &way] {
      const ConvolutionTensors tensors = begin();
      if (to_weights)
        finish_weights(way, tensors, gradient);
      else
        finish(way, added, to_y ? y : x);
    };
    // Another way's results may lie in what this one reads, and bias and ReLU come after what is checked.
    const auto check = [=, this, &way] {
      for (const Array& array : {x, y, w, bias}) random_fill(backend_.stream(), array);
      expect_right(backend_.stream(), way.request, begin(), way.name());
    };
    return {way.name(), run, check};
  }

  void run(const Way& way, ConstArray source, const void* packed, ConstArray bias, Array destination,
           void* workspace) const {
    const void* weights = static_cast<const char*>(packed) + offset_of(way.form);
    way.plan->run(backend_.stream(), tensors_of(way, source, weights, bias, destination, workspace),
                  behind(workspace, way.before));
    finish(way, bias, destination);
  }
  ConvolutionTensors tensors_of(const Way& way, ConstArray source, const void* weights, ConstArray bias,
                                Array destination, void* workspace) const {
    void *from = const_cast<void*>(source.data), *w = const_cast<void*>(weights);
    ConvolutionTensors tensors = {from, w, destination.data, nullptr};
    if (way.reads_y()) std::swap(tensors.x, tensors.y);
    if (!way.adds_bias()) return tensors;
    tensors.bias = bias.data;
    if (copies_bias(way.form)) {
      repeat_bias(backend_.stream(), bias, {workspace, storage(), way.request.problem.out_channels});
      tensors.bias = workspace;
    }
    return tensors;
  }
  void finish(const Way& way, ConstArray bias, Array destination) const {
    if (bias && !way.adds_bias())
      backend_.bias_relu(destination.count / bias.count, bias.count, bias, relu_, destination);
  }

  // The plan's result is put into the workspace where it is not yet the gradient.
  ConvolutionTensors weight_tensors(const Way& way, ConstArray x, ConstArray y, Array gradient,
                                    void* workspace) const {
    return {const_cast<void*>(x.data), way.before > 0 ? workspace : gradient.data, const_cast<void*>(y.data),
            nullptr};
  }
  void finish_weights(const Way& way, const ConvolutionTensors& tensors, Array gradient) const {
    const ConstArray result = {tensors.w, storage(), form_elements(way.form)};
    if (way.form == folded)
      unfold_gradient(backend_.stream(), *fold_, result, gradient);
    else if (way.before > 0)
      backend_.convert(result, gradient);
  }

  CudaBackend& backend_;
  Conv3dProblem problem_;
  bool transposed_, relu_;
  Passes passes_;
  std::optional<Fold> fold_;
  Way forward_, data_, weights_;
  std::array<bool, form_count> used_{};
  size_t workspace_bytes_ = 0;
};

// The first layer and the last, by kernels of our own, which read the weights as they are.
class EdgeConv3d final : public Conv3d {
 public:
  EdgeConv3d(CudaBackend& backend, const Conv3dProblem& problem, bool transposed, bool relu, Passes passes)
      : backend_(backend), problem_(problem), transposed_(transposed), relu_(relu), passes_(passes) {}

  size_t workspace_bytes() const override {
    return passes_ == Passes::training ? edge_workspace_bytes(problem_) : 0;
  }
  size_t packed_bytes() const override {
    return static_cast<size_t>(problem_.weight_count()) * sizeof(float);
  }
  void pack(ConstArray weights, void* packed, void*) override {
    expect(weights.count == problem_.weight_count(), "conv3d: wrong weight count");
    backend_.convert(weights, {packed, DType::f32, weights.count});
  }

  void forward(ConstArray source, const void* packed, ConstArray bias, Array destination, void*) override {
    check_activations(source, destination);
    expect(bias.count == (transposed_ ? 1 : problem_.out_channels), "conv3d: wrong bias count");
    run(!transposed_, source, packed, bias.as<float>(), relu_, destination);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void*) override {
    expect_training(passes_);
    check_activations(source_gradient, destination_gradient);
    run(transposed_, destination_gradient, packed, nullptr, false, source_gradient);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    expect_training(passes_);
    check_activations(source, destination_gradient);
    expect(weight_gradient.count == problem_.weight_count(), "conv3d: wrong weight gradient count");
    if (transposed_) std::swap(source, destination_gradient);
    edge_backward_weights(backend_.stream(), problem_, source.type, source.data, destination_gradient.data,
                          weight_gradient.as<float>(), workspace);
  }

 private:
  void run(bool to_y, ConstArray source, const void* packed, const float* bias, bool relu,
           Array destination) const {
    (to_y ? edge_forward : edge_backward_data)(backend_.stream(), problem_, source.type, source.data,
                                               static_cast<const float*>(packed), bias, relu,
                                               destination.data);
  }
  void check_activations(ConstArray source, ConstArray destination) const {
    if (transposed_) std::swap(source, destination);
    expect(source.count == problem_.x_count() && destination.count == problem_.y_count(),
           "conv3d: wrong activation count");
    const DType type = backend_.activation_type();
    expect(source.type == type && destination.type == type, "conv3d: wrong activation type");
  }

  CudaBackend& backend_;
  Conv3dProblem problem_;
  bool transposed_, relu_;
  Passes passes_;
};

std::unique_ptr<Conv3d> make(CudaBackend& backend, const Conv3dProblem& problem, bool transposed, bool relu,
                             Passes passes) {
  if (has_edge_kernels(problem))
    return std::make_unique<EdgeConv3d>(backend, problem, transposed, relu, passes);
  return std::make_unique<CudaConv3d>(backend, problem, transposed, relu, passes);
}

}  // namespace

std::unique_ptr<Conv3d> CudaBackend::make_conv3d(const Conv3dProblem& problem, bool relu, Passes passes) {
  use_device();
  return make(*this, problem, false, relu, passes);
}

std::unique_ptr<Conv3d> CudaBackend::make_transposed_conv3d(const Conv3dProblem& problem, bool relu,
                                                            Passes passes) {
  use_device();
  return make(*this, problem, true, relu, passes);
}

}  // namespace eelsvae::EELSVAE_GPU
