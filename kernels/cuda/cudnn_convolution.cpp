#include <algorithm>
#include <array>
#include <optional>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/cudnn_descriptors.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

using cudnn::Descriptor;

// More are not worth the time to measure them: the heuristics' order is good.
constexpr size_t most_plans = 8;
constexpr int64_t most_configurations = 64;

// Names of the tensors in a graph.
enum TensorId : int64_t { x_id = 1, w_id, y_id, bias_id, convolved_id, biased_id };

struct Shape {
  int64_t n, c;
  Extent3 extent;
};

cudnnDataType_t data_type(Math math) {
  return math == Math::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

// cuDNN counts the axes as N, C, H, W, E, whatever their order in memory, which here is channels-last.
// Virtual tensors are results that stay in registers, in f32.
Descriptor tensor(TensorId id, cudnnDataType_t type, const Shape& s, bool is_virtual = false) {
  const Extent3 e = s.extent;
  Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, static_cast<int64_t>(id))
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, is_virtual ? CUDNN_DATA_FLOAT : type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::vector<int64_t>{s.n, s.c, e.h, e.w, e.e})
      .set(CUDNN_ATTR_TENSOR_STRIDES,
           std::vector<int64_t>{e.volume() * s.c, 1, e.w * e.e * s.c, e.e * s.c, s.c})
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16})
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual);
  return descriptor.finalize();
}

std::vector<int64_t> axes(const Extent3& e) {
  return {e.h, e.w, e.e};
}

Descriptor convolution(const Conv3dProblem& p) {
  Descriptor descriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{3})
      .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, axes(p.padding))
      .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, axes(p.padding))
      .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, axes(p.stride))
      .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, axes({1, 1, 1}));
  return descriptor.finalize();
}

Descriptor pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor* b,
                     const Descriptor& y) {
  Descriptor function(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  function.set(CUDNN_ATTR_POINTWISE_MODE, mode)
      .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT)
      .finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, function)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  if (b) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  return operation.finalize();
}

std::vector<Descriptor> operations(const ConvolutionRequest& r) {
  const Conv3dProblem& p = r.problem;
  const cudnnDataType_t type = data_type(r.math);
  const Shape y_shape = {p.batch, p.out_channels, p.out()};
  const Descriptor x = tensor(x_id, type, {p.batch, p.in_channels, p.in}),
                   w = tensor(w_id, type, {p.out_channels, p.in_channels, p.kernel}),
                   y = tensor(y_id, type, y_shape), conv = convolution(p);
  if (r.pass == ConvolutionPass::backward_data) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, conv)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, x)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, w)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, y)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f);
    return {operation.finalize()};
  }
  if (r.pass == ConvolutionPass::backward_weights) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, conv)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, x)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, w)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, y)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0f);
    return {operation.finalize()};
  }
  const Descriptor convolved = r.bias || r.relu ? tensor(convolved_id, type, y_shape, true) : y;
  const Descriptor biased = !r.bias ? convolved : r.relu ? tensor(biased_id, type, y_shape, true) : y;
  Descriptor forward(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  forward.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, conv)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, convolved)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
  std::vector<Descriptor> result = {forward.finalize()};
  if (r.bias) {
    const Descriptor bias = tensor(bias_id, type, {1, p.out_channels, {1, 1, 1}});
    result.push_back(pointwise(CUDNN_POINTWISE_ADD, convolved, &bias, biased));
  }
  if (r.relu) result.push_back(pointwise(CUDNN_POINTWISE_RELU_FWD, biased, nullptr, y));
  return result;
}

struct Engine {
  std::string name;
  bool deterministic, on_tensor_cores;
};

// Nothing if the engine computes with less precision than `math` says.
std::optional<Engine> engine_of(const Descriptor& configuration, Math math) {
  const Descriptor engine =
      configuration.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1).at(0);
  const auto notes = engine.values<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                                CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  auto has = [&](cudnnBackendNumericalNote_t note) {
    return std::find(notes.begin(), notes.end(), note) != notes.end();
  };
  if (has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)) return std::nullopt;
  if (has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return std::nullopt;
  if (math == Math::fp32 && has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) return std::nullopt;

  const bool on_tensor_cores = has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  std::string name = "engine " + std::to_string(engine.value<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX)) +
                     (on_tensor_cores ? ", tensor cores (" : " (");
  const char* separator = "";
  for (const Descriptor& knob : configuration.descriptors(
           CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS)) {
    // Numbers from cuDNN's list of knobs, such as 2 for the tile's size and 27 for the cluster's.
    const auto type = knob.value<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE);
    const auto value = knob.value<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
    name += separator + std::to_string(type) + "=" + std::to_string(value);
    separator = ", ";
  }
  return Engine{name + ")", !has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC), on_tensor_cores};
}

class CudnnPlan final : public ConvolutionPlan {
 public:
  CudnnPlan(Descriptor plan, std::string name, bool bias)
      : plan_(std::move(plan)),
        name_(std::move(name)),
        workspace_bytes_(static_cast<size_t>(plan_.value<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))),
        bias_(bias) {}

  std::string name() const override { return name_; }
  size_t workspace_bytes() const override { return workspace_bytes_; }
  void run(cudaStream_t stream, const ConvolutionTensors& tensors, void* workspace) const override {
    std::vector<int64_t> ids = {x_id, w_id, y_id};
    std::vector<void*> pointers = {tensors.x, tensors.w, tensors.y};
    if (bias_) {
      ids.push_back(bias_id);
      pointers.push_back(const_cast<void*>(tensors.bias));  // the interface knows no constness
    }
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, pointers)
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace)
        .finalize();
    cudnn::execute(stream, plan_, pack);
  }

 private:
  Descriptor plan_;
  std::string name_;
  size_t workspace_bytes_;
  bool bias_;
};

}  // namespace

std::vector<std::unique_ptr<ConvolutionPlan>> convolution_plans(const ConvolutionRequest& request,
                                                                const DeviceProperties& device,
                                                                size_t workspace_limit) {
  const bool present = device.cudnn_json.empty();
  std::optional<Descriptor> written_down;
  if (!present) {
    written_down.emplace(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    const std::string& json = device.cudnn_json;
    written_down
        ->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>(json.c_str(), json.size() + 1))
        .finalize();
  }
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations(request));
  if (present) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, cudnn::handle());
  if (!graph.try_finalize()) return {};

  // By kind, the best first: sums in an order that changes from run to run are taken only where there is
  // nothing else, and so are engines for bf16 that leave the tensor cores out.
  std::array<std::vector<std::unique_ptr<ConvolutionPlan>>, 4> kinds;
  for (cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
    if (!present) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *written_down);
    if (!heuristics.try_finalize()) continue;
    for (const Descriptor& configuration : heuristics.descriptors(
             CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, most_configurations)) {
      const std::optional<Engine> engine = engine_of(configuration, request.math);
      if (!engine) continue;
      const bool slow = request.math == Math::bf16 && !engine->on_tensor_cores;
      const size_t kind = (engine->deterministic ? 0u : 2u) + (slow ? 1u : 0u);
      auto& list = kinds[kind];
      auto known = [&](const auto& plan) { return plan->name() == engine->name; };
      auto some = [](const auto& plans) { return !plans.empty(); };
      if (list.size() == most_plans || std::any_of(list.begin(), list.end(), known) ||
          std::any_of(kinds.begin(), kinds.begin() + static_cast<std::ptrdiff_t>(kind), some))
        continue;
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (present)
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, cudnn::handle());
      else
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *written_down);
      if (!plan.try_finalize()) continue;
      auto made = std::make_unique<CudnnPlan>(plan, engine->name, request.bias);
      if (made->workspace_bytes() <= workspace_limit) list.push_back(std::move(made));
    }
  }
  for (auto& plans : kinds)
    if (!plans.empty()) return std::move(plans);
  return {};
}

}  // namespace eelsvae::EELSVAE_GPU
