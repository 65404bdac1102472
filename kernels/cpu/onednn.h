#pragma once

#include <dnnl.hpp>

#include "kernels/array.h"

namespace eelsvae::cpu {

// One engine and stream per process: the CPU runtime is synchronous, a stream carries no state.
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

// Scratch memory of a primitive comes from the caller's arena, so that the plan knows of it.
inline dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// A memory object over existing memory. oneDNN takes all pointers as mutable; it writes only to outputs.
inline dnnl::memory over(const dnnl::memory::desc& description, const void* data) {
  return dnnl::memory(description, onednn_engine(), const_cast<void*>(data));
}

}  // namespace eelsvae::cpu
