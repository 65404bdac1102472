#include "kernels/conv3d.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/choose_fastest.h"
#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/outer_conv.h"
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
enum WeightForm { original, folded, folded_adjoint, form_count };

// One way to a result: a plan for the problem itself or for the folded one, and what has to happen around it.
struct Route {
  ConvolutionRequest request;
  WeightForm form = original;
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
      Route& route;
      std::vector<Route> routes;
    };
    std::vector<Task> tasks;
    const auto add = [&](Direction direction, bool biased, Route& route) {
      tasks.push_back({direction, biased, route, routes(direction, biased)});
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
        for (const Route& route : task.routes) workspace = std::max(workspace, route.workspace_bytes());
      trial = make_trial(workspace);
    }
    for (const Task& task : tasks) {
      task.route = trial ? fastest_of(task.routes, task.direction, task.biased, *trial) : task.routes.front();
      workspace_bytes_ = std::max(workspace_bytes_, task.route.workspace_bytes());
      if (task.direction != Direction::to_weights) used_[task.route.form] = true;
    }
  }

  size_t workspace_bytes() const override { return workspace_bytes_; }
  size_t packed_bytes() const override { return offset_of(form_count); }

  void pack(ConstArray weights, void* packed, void*) override {
    expect(weights.count == problem_.weight_count(), "conv3d: wrong weight count");
    auto destination = [&](WeightForm form) {
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
  int64_t form_elements(WeightForm form) const {
    return form == original ? problem_.weight_count() : fold_->weight_count();
  }
  size_t offset_of(int form) const {
    size_t offset = 0;
    for (int before = 0; before < form; ++before)
      if (used_[static_cast<size_t>(before)])
        offset +=
            aligned(static_cast<size_t>(form_elements(static_cast<WeightForm>(before))) * size_of(storage()));
    return offset;
  }
  void check_activations(ConstArray source, ConstArray destination) const {
    if (transposed_) std::swap(source, destination);
    expect(source.count == problem_.x_count() && destination.count == problem_.y_count(),
           "conv3d: wrong activation count");
    expect(source.type == storage() && destination.type == storage(), "conv3d: wrong activation type");
  }

  // Those through the folded problem come first: the emulated device takes the first, and since not every
  // problem can be folded, its tests go through both kinds.
  std::vector<Route> routes(Direction direction, bool biased) const {
    std::vector<Route> result;
    auto add = [&](WeightForm form, const Conv3dProblem& problem, ConvolutionPass pass) {
      Route route;
      route.request = {problem, pass, backend_.math()};
      route.form = form;
      if (pass == ConvolutionPass::backward_weights && (form != original || storage() != DType::f32))
        route.before = static_cast<size_t>(form_elements(form)) * size_of(storage());
      if (biased && pass == ConvolutionPass::forward) {
        Route fused = route;
        fused.request.bias = true;
        fused.request.relu = relu_;
        if (copies_bias(form)) fused.before = static_cast<size_t>(problem.out_channels) * size_of(storage());
        if (add_plans(fused, result)) return;  // a pass of its own for bias and ReLU is slower in any case
      }
      add_plans(route, result);
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
      Route route;
      route.request = {problem_, pass[static_cast<size_t>(direction)], backend_.math()};
      if (direction == Direction::to_weights && storage() != DType::f32)
        route.before = static_cast<size_t>(problem_.weight_count()) * size_of(storage());
      route.plan = convolution_by_definition(route.request);
      result.push_back(route);
    }
    return result;
  }
  // Whether there were any.
  bool add_plans(Route route, std::vector<Route>& list) const {
    auto plans =
        convolution_plans(route.request, backend_.properties(), workspace_limit(backend_.properties()));
    for (auto& plan : plans) {
      route.plan = std::move(plan);
      list.push_back(route);
    }
    return !plans.empty();
  }
  // Plans read the bias in the storage type, and once for each of their channels.
  bool copies_bias(WeightForm form) const { return storage() != DType::f32 || form == folded_adjoint; }

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

  // What the routes of a computation are tried out on: arrays of the sizes of what they read and write.
  struct Trial {
    DeviceMemoryBlock x, y, weights, bias, gradient, workspace;
  };
  // Everything is allocated before any is tried: too little memory is no route's fault.
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

  Route fastest_of(const std::vector<Route>& routes, Direction direction, bool biased,
                   const Trial& trial) const {
    std::vector<Candidate> candidates;
    for (const Route& route : routes) candidates.push_back(candidate(route, direction, biased, trial));
    return routes[choose_fastest(backend_, key(direction, biased), candidates)];
  }
  Candidate candidate(const Route& route, Direction direction, bool biased, const Trial& trial) const {
    const Conv3dProblem& p = problem_;
    const bool to_y = direction == Direction::to_y, to_weights = direction == Direction::to_weights;
    const Array x = {trial.x.data(), storage(), p.x_count()}, y = {trial.y.data(), storage(), p.y_count()},
                w = {trial.weights.data(), storage(), trial_weights()},
                bias = {trial.bias.data(), DType::f32, to_y ? p.out_channels : p.in_channels},
                gradient = {trial.gradient.data(), DType::f32, p.weight_count()};
    const ConstArray added = biased ? ConstArray(bias) : ConstArray();
    void* workspace = trial.workspace.data();
    const auto begin = [=, this, &route] {
      const ConvolutionTensors tensors =
          to_weights ? weight_tensors(route, x, y, gradient, workspace)
                     : tensors_of(route, to_y ? x : y, w.data, added, to_y ? y : x, workspace);
      route.plan->run(backend_.stream(), tensors, behind(workspace, route.before));
      return tensors;
    };
    const auto run = [=, this, &route] {
      const ConvolutionTensors tensors = begin();
      if (to_weights)
        finish_weights(route, tensors, gradient);
      else
        finish(route, added, to_y ? y : x);
    };
    // Another route's results may lie in what this one reads, and bias and ReLU come after what is checked.
    const auto check = [=, this, &route] {
      for (const Array& array : {x, y, w, bias}) random_fill(backend_.stream(), array);
      expect_right(backend_.stream(), route.request, begin(), route.name());
    };
    return {route.name(), run, check};
  }

  void run(const Route& route, ConstArray source, const void* packed, ConstArray bias, Array destination,
           void* workspace) const {
    const void* weights = static_cast<const char*>(packed) + offset_of(route.form);
    route.plan->run(backend_.stream(), tensors_of(route, source, weights, bias, destination, workspace),
                    behind(workspace, route.before));
    finish(route, bias, destination);
  }
  ConvolutionTensors tensors_of(const Route& route, ConstArray source, const void* weights, ConstArray bias,
                                Array destination, void* workspace) const {
    void *from = const_cast<void*>(source.data), *w = const_cast<void*>(weights);
    ConvolutionTensors tensors = {from, w, destination.data, nullptr};
    if (route.reads_y()) std::swap(tensors.x, tensors.y);
    if (!route.adds_bias()) return tensors;
    tensors.bias = bias.data;
    if (copies_bias(route.form)) {
      repeat_bias(backend_.stream(), bias, {workspace, storage(), route.request.problem.out_channels});
      tensors.bias = workspace;
    }
    return tensors;
  }
  void finish(const Route& route, ConstArray bias, Array destination) const {
    if (bias && !route.adds_bias())
      backend_.bias_relu(destination.count / bias.count, bias.count, bias, relu_, destination);
  }

  // The plan's result is put into the workspace where it is not yet the gradient.
  ConvolutionTensors weight_tensors(const Route& route, ConstArray x, ConstArray y, Array gradient,
                                    void* workspace) const {
    return {const_cast<void*>(x.data), route.before > 0 ? workspace : gradient.data,
            const_cast<void*>(y.data), nullptr};
  }
  void finish_weights(const Route& route, const ConvolutionTensors& tensors, Array gradient) const {
    const ConstArray result = {tensors.w, storage(), form_elements(route.form)};
    if (route.form == folded)
      unfold_gradient(backend_.stream(), *fold_, result, gradient);
    else if (route.before > 0)
      backend_.convert(result, gradient);
  }

  CudaBackend& backend_;
  Conv3dProblem problem_;
  bool transposed_, relu_;
  Passes passes_;
  std::optional<Fold> fold_;
  Route forward_, data_, weights_;
  std::array<bool, form_count> used_{};
  size_t workspace_bytes_ = 0;
};

// The first layer and the last, by kernels of our own, which read the weights as they are.
class OuterConv3d final : public Conv3d {
 public:
  OuterConv3d(CudaBackend& backend, const Conv3dProblem& problem, bool transposed, bool relu, Passes passes)
      : backend_(backend), problem_(problem), transposed_(transposed), relu_(relu), passes_(passes) {}

  size_t workspace_bytes() const override {
    return passes_ == Passes::training ? outer_workspace_bytes(problem_) : 0;
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
    outer_backward_weights(backend_.stream(), problem_, source.type, source.data, destination_gradient.data,
                           weight_gradient.as<float>(), workspace);
  }

 private:
  void run(bool to_y, ConstArray source, const void* packed, const float* bias, bool relu,
           Array destination) const {
    (to_y ? outer_forward : outer_backward_data)(backend_.stream(), problem_, source.type, source.data,
                                                 static_cast<const float*>(packed), bias, relu,
                                                 destination.data);
  }
  void check_activations(ConstArray source, ConstArray destination) const {
    if (transposed_) std::swap(source, destination);
    expect(source.count == problem_.x_count() && destination.count == problem_.y_count(),
           "conv3d: wrong activation count");
    const DType type = backend_.storage_type();
    expect(source.type == type && destination.type == type, "conv3d: wrong activation type");
  }

  CudaBackend& backend_;
  Conv3dProblem problem_;
  bool transposed_, relu_;
  Passes passes_;
};

}  // namespace

std::unique_ptr<Conv3d> CudaBackend::make_conv3d(const Conv3dProblem& problem, bool transposed, bool relu,
                                                 Passes passes) {
  use_device();
  if (has_outer_kernels(problem))
    return std::make_unique<OuterConv3d>(*this, problem, transposed, relu, passes);
  return std::make_unique<CudaConv3d>(*this, problem, transposed, relu, passes);
}

}  // namespace eelsvae::EELSVAE_GPU
