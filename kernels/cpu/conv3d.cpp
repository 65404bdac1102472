#include "kernels/conv3d.h"

#include <algorithm>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/edge_conv.h"
#include "kernels/cpu/line_convolution.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/weight_gradient.h"

namespace eelsvae {
namespace {

using cpu::over;
using dnnl::memory;
using Tag = memory::format_tag;

size_t aligned(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// By our own kernels (line_convolution.h).
class LineConv3d final : public Conv3d {
 public:
  using Direction = cpu::LineConvolution::Direction;

  LineConv3d(const Conv3dProblem& problem, DType activation, bool transposed)
      : problem_(problem),
        transposed_(transposed),
        convolution_(problem, Direction::forward, activation),
        adjoint_(problem, Direction::adjoint, activation),
        weight_gradient_(problem, activation) {}

  size_t workspace_bytes() const override {
    return std::max(
        {convolution_.workspace_bytes(), adjoint_.workspace_bytes(), weight_gradient_.workspace_bytes()});
  }
  // A gathered convolution finds its form first.
  size_t packed_bytes() const override {
    return aligned(convolution_.packed_bytes()) + adjoint_.packed_bytes();
  }
  void pack(ConstArray weights, void* packed, void*) override {
    expect(weights.count == problem_.weight_count(), "conv3d: wrong weight count");
    convolution_.pack(weights.as<float>(), packed);
    adjoint_.pack(weights.as<float>(), adjoint_form(packed));
  }

  void forward(ConstArray source, const void* packed, ConstArray bias, bool relu, Array destination,
               void* workspace) override {
    check(source, destination);
    run(transposed_, source, packed, bias.as<float>(), relu, destination, workspace);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void* workspace) override {
    check(source_gradient, destination_gradient);
    run(!transposed_, destination_gradient, packed, nullptr, false, source_gradient, workspace);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    check(source, destination_gradient);
    if (transposed_) std::swap(source, destination_gradient);
    weight_gradient_.run(source, destination_gradient, weight_gradient, workspace);
  }

 private:
  template <typename Bytes>
  Bytes* adjoint_form(Bytes* packed) const {
    using Char = std::conditional_t<std::is_const_v<Bytes>, const char, char>;
    return static_cast<Char*>(packed) + aligned(convolution_.packed_bytes());
  }
  void run(bool adjoint, ConstArray from, const void* packed, const float* bias, bool relu, Array to,
           void* workspace) const {
    if (adjoint)
      adjoint_.run(from, adjoint_form(packed), bias, relu, to, workspace);
    else
      convolution_.run(from, packed, bias, relu, to, workspace);
  }
  void check(ConstArray source, ConstArray destination) const {
    const ConstArray x = transposed_ ? destination : source, y = transposed_ ? source : destination;
    expect(x.count == problem_.x_count() && y.count == problem_.y_count(), "conv3d: wrong activation count");
  }

  Conv3dProblem problem_;
  bool transposed_;
  cpu::LineConvolution convolution_, adjoint_;
  cpu::WeightGradient weight_gradient_;
};

class LineGatheredConv3d final : public GatheredConv3d {
 public:
  LineGatheredConv3d(const Conv3dProblem& problem, LineSources sources, DType activation)
      : x_count_(problem.x_count()),
        y_count_(static_cast<int64_t>(sources.rows.size()) / problem.kernel.h *
                 (static_cast<int64_t>(sources.columns.size()) / problem.kernel.w) * problem.out().e *
                 problem.out_channels),
        convolution_(problem, std::move(sources), activation) {
    expect(problem.batch == 1, "gathered conv3d: one x");
  }

  size_t workspace_bytes() const override { return convolution_.workspace_bytes(); }
  void forward(ConstArray x, const void* packed, ConstArray bias, bool relu, Array y,
               void* workspace) override {
    expect(x.count == x_count_ && y.count == y_count_, "gathered conv3d: wrong activation count");
    convolution_.run(x, packed, bias.as<float>(), relu, y, workspace);
  }

 private:
  int64_t x_count_, y_count_;
  cpu::LineConvolution convolution_;
};

// What a convolution and its transpose share where oneDNN computes them: its primitives, and the weight
// gradient, which is ours. Activations are channels-last; weights take whatever order each primitive likes
// best, and are reordered when they are packed.
class Primitives {
 public:
  Primitives(const Conv3dProblem& p, DType activation) : problem_(p), weight_gradient_(p, activation) {
    const auto type = cpu::onednn_type(activation);
    const auto f32 = memory::data_type::f32;
    const Extent3 out = p.out();
    const memory::dims weight_dims = {p.out_channels, p.in_channels, p.kernel.h, p.kernel.w, p.kernel.e};
    const memory::dims strides = {p.stride.h, p.stride.w, p.stride.e};
    const memory::dims padding = {p.padding.h, p.padding.w, p.padding.e};
    // Padding after the last element that the last output still reads.
    auto after = [](int64_t o, int64_t i, int64_t k, int64_t s, int64_t pad) {
      return (o - 1) * s + k - i - pad;
    };
    const memory::dims padding_after = {after(out.h, p.in.h, p.kernel.h, p.stride.h, p.padding.h),
                                        after(out.w, p.in.w, p.kernel.w, p.stride.w, p.padding.w),
                                        after(out.e, p.in.e, p.kernel.e, p.stride.e, p.padding.e)};
    x_ = memory::desc({p.batch, p.in_channels, p.in.h, p.in.w, p.in.e}, type, Tag::ndhwc);
    y_ = memory::desc({p.batch, p.out_channels, out.h, out.w, out.e}, type, Tag::ndhwc);
    bias_ = memory::desc({p.out_channels}, f32, Tag::a);
    master_ = memory::desc(weight_dims, f32, Tag::odhwi);
    const memory::desc any_weights(weight_dims, type, Tag::any);
    const auto direct = dnnl::algorithm::convolution_direct;
    const auto training = dnnl::prop_kind::forward_training;
    auto& engine = cpu::onednn_engine();

    using Forward = dnnl::convolution_forward;
    auto forward = [&](bool with_bias, bool relu) {
      auto attributes = cpu::user_scratchpad();
      if (relu) {
        dnnl::post_ops operations;
        operations.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
        attributes.set_post_ops(operations);
      }
      auto description =
          with_bias
              ? Forward::desc(training, direct, x_, any_weights, bias_, y_, strides, padding, padding_after)
              : Forward::desc(training, direct, x_, any_weights, y_, strides, padding, padding_after);
      return Forward::primitive_desc(description, attributes, engine);
    };
    plain_ = Pass(forward(false, false));
    biased_ = Pass(forward(true, false));
    rectified_ = Pass(forward(true, true));

    using BackwardData = dnnl::convolution_backward_data;
    data_ = Pass(BackwardData::primitive_desc(
        BackwardData::desc(direct, x_, any_weights, y_, strides, padding, padding_after),
        cpu::user_scratchpad(), engine, forward(false, false)));

    std::vector<Pass*> passes = {&plain_, &biased_, &rectified_, &data_};

    // The three forward variants may prefer different orders; each distinct one is packed once.
    for (Pass* pass : passes) {
      auto found =
          std::find_if(forms_.begin(), forms_.end(), [&](const Form& f) { return f.desc == pass->weights; });
      if (found == forms_.end()) {
        forms_.push_back({pass->weights, packed_bytes_, make_reorder(master_, pass->weights)});
        packed_bytes_ += aligned(pass->weights.get_size());
        found = forms_.end() - 1;
      }
      pass->packed_offset = found->offset;
    }

    for (const Pass* pass : passes)
      workspace_bytes_ = std::max(workspace_bytes_, pass->scratchpad.get_size());
    for (const Form& form : forms_)
      workspace_bytes_ = std::max(workspace_bytes_, form.reorder.scratchpad.get_size());
  }

  size_t workspace_bytes() const { return std::max(workspace_bytes_, weight_gradient_.workspace_bytes()); }
  size_t packed_bytes() const { return packed_bytes_; }

  void pack(ConstArray weights, void* packed, void* workspace) {
    expect(weights.count == problem_.weight_count(), "conv3d: wrong weight count");
    for (const Form& form : forms_)
      run(form.reorder.primitive, {{DNNL_ARG_FROM, over(master_, weights.as<float>())},
                                   {DNNL_ARG_TO, over(form.desc, static_cast<char*>(packed) + form.offset)},
                                   {DNNL_ARG_SCRATCHPAD, over(form.reorder.scratchpad, workspace)}});
  }

  // y = conv(x), with bias and ReLU if a bias is given
  void forward(const void* x, const void* packed, ConstArray bias, bool relu, void* y, void* workspace) {
    const Pass& pass = !bias ? plain_ : relu ? rectified_ : biased_;
    Arguments arguments = {{DNNL_ARG_SRC, over(x_, x)},
                           {DNNL_ARG_WEIGHTS, over(pass.weights, weights_of(pass, packed))},
                           {DNNL_ARG_DST, over(y_, y)},
                           {DNNL_ARG_SCRATCHPAD, over(pass.scratchpad, workspace)}};
    if (bias) arguments.emplace(DNNL_ARG_BIAS, over(bias_, bias.as<float>()));
    run(pass.primitive, arguments);
  }

  // x = adjoint of conv, of y, with bias and ReLU if a bias is given
  void backward_data(CpuBackend& backend, ConstArray y, const void* packed, ConstArray bias, bool relu,
                     Array x, void* workspace) {
    run(data_.primitive, {{DNNL_ARG_DIFF_DST, over(y_, y.data)},
                          {DNNL_ARG_WEIGHTS, over(data_.weights, weights_of(data_, packed))},
                          {DNNL_ARG_DIFF_SRC, over(x_, x.data)},
                          {DNNL_ARG_SCRATCHPAD, over(data_.scratchpad, workspace)}});
    // oneDNN's own deconvolution falls into a scalar loop as soon as it has a bias.
    const int64_t channels = problem_.in_channels;
    if (bias) backend.bias_relu(x.count / channels, channels, bias, relu, x);
  }

  void backward_weights(ConstArray x, ConstArray y, Array gradient, void* workspace) {
    weight_gradient_.run(x, y, gradient, workspace);
  }

  void check_activations(ConstArray x, ConstArray y) const {
    expect(x.count == problem_.x_count() && y.count == problem_.y_count(), "conv3d: wrong activation count");
  }

 private:
  using Arguments = std::unordered_map<int, memory>;

  struct Pass {
    dnnl::primitive primitive;
    memory::desc weights, scratchpad;
    size_t packed_offset = 0;

    Pass() = default;
    explicit Pass(const dnnl::convolution_forward::primitive_desc& d)
        : primitive(d), weights(d.weights_desc()), scratchpad(d.scratchpad_desc()) {}
    explicit Pass(const dnnl::convolution_backward_data::primitive_desc& d)
        : primitive(d), weights(d.weights_desc()), scratchpad(d.scratchpad_desc()) {}
  };
  struct Reorder {
    dnnl::primitive primitive;
    memory::desc scratchpad;
  };
  struct Form {
    memory::desc desc;
    size_t offset;
    Reorder reorder;
  };

  static Reorder make_reorder(const memory::desc& from, const memory::desc& to) {
    auto& engine = cpu::onednn_engine();
    dnnl::reorder::primitive_desc d(engine, from, engine, to, cpu::user_scratchpad());
    return {dnnl::reorder(d), d.scratchpad_desc()};
  }
  static const void* weights_of(const Pass& pass, const void* packed) {
    return static_cast<const char*>(packed) + pass.packed_offset;
  }
  static void run(const dnnl::primitive& primitive, const Arguments& arguments) {
    primitive.execute(cpu::onednn_stream(), arguments);
    cpu::onednn_stream().wait();
  }

  Conv3dProblem problem_;
  memory::desc x_, y_, bias_, master_;
  Pass plain_, biased_, rectified_, data_;
  cpu::WeightGradient weight_gradient_;
  std::vector<Form> forms_;
  size_t packed_bytes_ = 0, workspace_bytes_ = 0;
};

class CpuConv3d final : public Conv3d {
 public:
  CpuConv3d(CpuBackend& backend, const Conv3dProblem& problem)
      : backend_(backend), primitives_(problem, backend.activation_type()) {}

  size_t workspace_bytes() const override { return primitives_.workspace_bytes(); }
  size_t packed_bytes() const override { return primitives_.packed_bytes(); }
  void pack(ConstArray weights, void* packed, void* workspace) override {
    primitives_.pack(weights, packed, workspace);
  }
  void forward(ConstArray source, const void* packed, ConstArray bias, bool relu, Array destination,
               void* workspace) override {
    primitives_.check_activations(source, destination);
    primitives_.forward(source.data, packed, bias, relu, destination.data, workspace);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void* workspace) override {
    primitives_.check_activations(source_gradient, destination_gradient);
    primitives_.backward_data(backend_, destination_gradient, packed, {}, false, source_gradient, workspace);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    primitives_.check_activations(source, destination_gradient);
    primitives_.backward_weights(source, destination_gradient, weight_gradient, workspace);
  }

 private:
  CpuBackend& backend_;
  Primitives primitives_;
};

// The adjoint: forward is the convolution's backward-data followed by bias and ReLU, backward-data is the
// convolution's forward, backward-weights the convolution's with the two activations exchanged.
class CpuTransposedConv3d final : public Conv3d {
 public:
  CpuTransposedConv3d(CpuBackend& backend, const Conv3dProblem& problem)
      : backend_(backend), primitives_(problem, backend.activation_type()) {}

  size_t workspace_bytes() const override { return primitives_.workspace_bytes(); }
  size_t packed_bytes() const override { return primitives_.packed_bytes(); }
  void pack(ConstArray weights, void* packed, void* workspace) override {
    primitives_.pack(weights, packed, workspace);
  }
  void forward(ConstArray source, const void* packed, ConstArray bias, bool relu, Array destination,
               void* workspace) override {
    primitives_.check_activations(destination, source);
    primitives_.backward_data(backend_, source, packed, bias, relu, destination, workspace);
  }
  void backward_data(ConstArray destination_gradient, const void* packed, Array source_gradient,
                     void* workspace) override {
    primitives_.check_activations(destination_gradient, source_gradient);
    primitives_.forward(destination_gradient.data, packed, {}, false, source_gradient.data, workspace);
  }
  void backward_weights(ConstArray source, ConstArray destination_gradient, Array weight_gradient,
                        void* workspace) override {
    primitives_.check_activations(destination_gradient, source);
    primitives_.backward_weights(destination_gradient, source, weight_gradient, workspace);
  }

 private:
  CpuBackend& backend_;
  Primitives primitives_;
};

// Every line sees itself alone, so any convolution along the energy axis will do.
class GatheredEdgeConv3d final : public GatheredConv3d {
 public:
  GatheredEdgeConv3d(const Conv3dProblem& problem, DType activation)
      : operation_(cpu::make_edge_conv(problem, activation, false)) {}

  size_t workspace_bytes() const override { return operation_->workspace_bytes(); }
  void forward(ConstArray x, const void* packed, ConstArray bias, bool relu, Array y,
               void* workspace) override {
    operation_->forward(x, packed, bias, relu, y, workspace);
  }

 private:
  std::unique_ptr<Conv3d> operation_;
};

// 0, 1, ..., size - 1
bool are_all_in_order(const std::vector<int64_t>& lines, int64_t size) {
  for (int64_t i = 0; i < std::ssize(lines); ++i)
    if (lines[static_cast<size_t>(i)] != i) return false;
  return std::ssize(lines) == size;
}

}  // namespace

std::unique_ptr<Conv3d> CpuBackend::make_conv3d(const Conv3dProblem& problem) {
  if (cpu::is_edge_conv(problem)) return cpu::make_edge_conv(problem, activation_, false);
  if (cpu::LineConvolution::can_do(problem, activation_))
    return std::make_unique<LineConv3d>(problem, activation_, false);
  return std::make_unique<CpuConv3d>(*this, problem);
}

std::unique_ptr<Conv3d> CpuBackend::make_transposed_conv3d(const Conv3dProblem& problem) {
  if (cpu::is_edge_conv(problem)) return cpu::make_edge_conv(problem, activation_, true);
  if (cpu::LineConvolution::can_do(problem, activation_))
    return std::make_unique<LineConv3d>(problem, activation_, true);
  return std::make_unique<CpuTransposedConv3d>(*this, problem);
}

std::unique_ptr<GatheredConv3d> CpuBackend::make_gathered_conv3d(const Conv3dProblem& problem,
                                                                 LineSources sources) {
  if (cpu::is_edge_conv(problem) && are_all_in_order(sources.rows, problem.in.h) &&
      are_all_in_order(sources.columns, problem.in.w))
    return std::make_unique<GatheredEdgeConv3d>(problem, activation_);
  if (!cpu::LineConvolution::can_do(problem, activation_)) return nullptr;
  return std::make_unique<LineGatheredConv3d>(problem, std::move(sources), activation_);
}

}  // namespace eelsvae
