#pragma once

#include <string>
#include <unordered_map>

#include <dnnl.hpp>

#include "kernels/conv3d.h"

namespace eelsvae {

// One engine and stream: the CPU runtime is synchronous, a stream carries no state.
inline dnnl::engine& onednn_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}
inline dnnl::stream& onednn_stream() {
  static dnnl::stream stream(onednn_engine());
  return stream;
}
inline dnnl::memory::data_type onednn_type(DType type) {
  return type == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

// Random numbers of both signs between 0.25 and 1, whether read as bf16 or as float: zeros take a processor
// less power.
inline void fill_random(void* data, size_t bytes) {
  uint32_t state = 1;
  auto* numbers = static_cast<uint16_t*>(data);
  for (size_t i = 0; i < bytes / sizeof(uint16_t); ++i) {
    state = state * 1664525 + 1013904223;
    numbers[i] = static_cast<uint16_t>(0x3e80 | (state >> 16 & 0x80ff));
  }
}

// A oneDNN primitive with memory of its own.
struct BarePrimitive {
  std::string name;
  double flops = 0, bytes = 0;
  dnnl::primitive primitive;
  std::unordered_map<int, dnnl::memory> arguments;

  void argument(int which, const dnnl::memory::desc& desc) {
    const dnnl::memory memory(desc, onednn_engine());
    fill_random(memory.get_data_handle(), desc.get_size());
    bytes += static_cast<double>(desc.get_size());
    arguments.emplace(which, memory);
  }
  void run() {
    primitive.execute(onednn_stream(), arguments);
    onednn_stream().wait();
  }
};

enum class ConvolutionPass { forward, data, weights };

// A pass of a convolution over channels-last arrays, as the network has them, with weights as oneDNN likes
// them; the forward pass with bias and ReLU.
inline BarePrimitive bare_convolution(const Conv3dProblem& p, dnnl::memory::data_type type,
                                      ConvolutionPass pass) {
  using dnnl::memory;
  using Tag = memory::format_tag;
  auto& engine = onednn_engine();
  const Extent3 out = p.out();
  const auto after = [](int64_t o, int64_t i, int64_t k, int64_t s, int64_t pad) {
    return (o - 1) * s + k - i - pad;
  };
  const memory::dims strides = {p.stride.h, p.stride.w, p.stride.e};
  const memory::dims before = {p.padding.h, p.padding.w, p.padding.e};
  const memory::dims behind = {after(out.h, p.in.h, p.kernel.h, p.stride.h, p.padding.h),
                               after(out.w, p.in.w, p.kernel.w, p.stride.w, p.padding.w),
                               after(out.e, p.in.e, p.kernel.e, p.stride.e, p.padding.e)};
  const memory::desc x({p.batch, p.in_channels, p.in.h, p.in.w, p.in.e}, type, Tag::ndhwc);
  const memory::desc y({p.batch, p.out_channels, out.h, out.w, out.e}, type, Tag::ndhwc);
  const auto weights = [&](memory::data_type t) {
    return memory::desc({p.out_channels, p.in_channels, p.kernel.h, p.kernel.w, p.kernel.e}, t, Tag::any);
  };
  const memory::desc b({p.out_channels}, memory::data_type::f32, Tag::a);
  const auto direct = dnnl::algorithm::convolution_direct;
  dnnl::primitive_attr relu;
  dnnl::post_ops operations;
  operations.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
  relu.set_post_ops(operations);
  using Forward = dnnl::convolution_forward;
  const Forward::primitive_desc forward(
      Forward::desc(dnnl::prop_kind::forward, direct, x, weights(type), b, y, strides, before, behind), relu,
      engine);

  BarePrimitive bare;
  bare.name = std::to_string(p.in_channels) + "-" + std::to_string(p.out_channels);
  bare.flops = p.flops();
  if (pass == ConvolutionPass::forward) {
    bare.primitive = Forward(forward);
    bare.argument(DNNL_ARG_SRC, x);
    bare.argument(DNNL_ARG_WEIGHTS, forward.weights_desc());
    bare.argument(DNNL_ARG_BIAS, b);
    bare.argument(DNNL_ARG_DST, y);
  } else if (pass == ConvolutionPass::data) {
    using Backward = dnnl::convolution_backward_data;
    const Backward::primitive_desc d(Backward::desc(direct, x, weights(type), y, strides, before, behind),
                                     engine, forward);
    bare.primitive = Backward(d);
    bare.argument(DNNL_ARG_DIFF_DST, y);
    bare.argument(DNNL_ARG_WEIGHTS, d.weights_desc());
    bare.argument(DNNL_ARG_DIFF_SRC, x);
  } else {
    using Backward = dnnl::convolution_backward_weights;
    const Backward::primitive_desc d(
        Backward::desc(direct, x, weights(memory::data_type::f32), y, strides, before, behind), engine,
        forward);
    bare.primitive = Backward(d);
    bare.argument(DNNL_ARG_SRC, x);
    bare.argument(DNNL_ARG_DIFF_DST, y);
    bare.argument(DNNL_ARG_DIFF_WEIGHTS, d.diff_weights_desc());
  }
  return bare;
}

}  // namespace eelsvae
