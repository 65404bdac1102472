#pragma once

#include <cudnn.h>

#include <cstdint>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/namespace.h"

// cuDNN's graph interface describes everything by descriptors with numbered attributes.
namespace eelsvae::EELSVAE_GPU::cudnn {

// Throws std::runtime_error with the call, the status, cuDNN's own words and the place.
void check(cudnnStatus_t status, const char* call,
           std::source_location place = std::source_location::current());

// The attribute type that goes with a C++ type.
template <typename T>
struct AttributeType;
template <cudnnBackendAttributeType_t type>
struct AttributeTypeIs {
  static constexpr cudnnBackendAttributeType_t value = type;
};
template <>
struct AttributeType<bool> : AttributeTypeIs<CUDNN_TYPE_BOOLEAN> {};
template <>
struct AttributeType<char> : AttributeTypeIs<CUDNN_TYPE_CHAR> {};
template <>
struct AttributeType<int64_t> : AttributeTypeIs<CUDNN_TYPE_INT64> {};
template <>
struct AttributeType<float> : AttributeTypeIs<CUDNN_TYPE_FLOAT> {};
template <>
struct AttributeType<void*> : AttributeTypeIs<CUDNN_TYPE_VOID_PTR> {};
template <>
struct AttributeType<cudnnHandle_t> : AttributeTypeIs<CUDNN_TYPE_HANDLE> {};
template <>
struct AttributeType<cudnnDataType_t> : AttributeTypeIs<CUDNN_TYPE_DATA_TYPE> {};
template <>
struct AttributeType<cudnnConvolutionMode_t> : AttributeTypeIs<CUDNN_TYPE_CONVOLUTION_MODE> {};
template <>
struct AttributeType<cudnnPointwiseMode_t> : AttributeTypeIs<CUDNN_TYPE_POINTWISE_MODE> {};
template <>
struct AttributeType<cudnnBackendHeurMode_t> : AttributeTypeIs<CUDNN_TYPE_HEUR_MODE> {};
template <>
struct AttributeType<cudnnBackendNumericalNote_t> : AttributeTypeIs<CUDNN_TYPE_NUMERICAL_NOTE> {};
template <>
struct AttributeType<cudnnBackendBehaviorNote_t> : AttributeTypeIs<CUDNN_TYPE_BEHAVIOR_NOTE> {};
template <>
struct AttributeType<cudnnBackendKnobType_t> : AttributeTypeIs<CUDNN_TYPE_KNOB_TYPE> {};

// A descriptor of our own. Copies share it.
class Descriptor {
 public:
  using Place = std::source_location;

  explicit Descriptor(cudnnBackendDescriptorType_t type, Place place = Place::current());

  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<const T> values,
                  Place place = Place::current()) {
    check(cudnnBackendSetAttribute(get(), name, AttributeType<T>::value, static_cast<int64_t>(values.size()),
                                   values.data()),
          "cudnnBackendSetAttribute", place);
    return *this;
  }
  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, const std::vector<T>& values,
                  Place place = Place::current()) {
    return set(name, std::span<const T>(values), place);
  }
  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value, Place place = Place::current()) {
    return set(name, std::span<const T>(&value, 1), place);
  }
  // Other descriptors, which this one keeps alive.
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value, Place place = Place::current());
  Descriptor& set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& values,
                  Place place = Place::current());

  Descriptor& finalize(Place place = Place::current());
  // The same for what cuDNN may decline or fail to provide on this device; false if it does, whatever the
  // status: an engine that does not fit has answered with every category there is, from a bad parameter
  // (2000) and a missing library (1008) to a failed execution (5000).
  bool try_finalize();

  // At most `most` elements.
  template <typename T>
  std::vector<T> values(cudnnBackendAttributeName_t name, int64_t most,
                        Place place = Place::current()) const {
    std::vector<T> result(static_cast<size_t>(most));
    int64_t count = 0;
    check(cudnnBackendGetAttribute(get(), name, AttributeType<T>::value, most, &count, result.data()),
          "cudnnBackendGetAttribute", place);
    result.resize(static_cast<size_t>(count < most ? count : most));
    return result;
  }
  template <typename T>
  T value(cudnnBackendAttributeName_t name, Place place = Place::current()) const {
    return values<T>(name, 1, place).at(0);
  }
  // Descriptors that cuDNN fills in; at most `most`.
  std::vector<Descriptor> descriptors(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                      int64_t most, Place place = Place::current()) const;

  cudnnBackendDescriptor_t get() const { return state_->descriptor; }

 private:
  struct State {
    cudnnBackendDescriptor_t descriptor = nullptr;
    std::vector<std::shared_ptr<State>> used;  // they have to outlive this one
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State();
  };
  std::shared_ptr<State> state_;
};

// cuDNN's handle of the current device, made on the first call. One thread at a time may use it.
cudnnHandle_t handle();
// Queues the plan on the stream. Any thread may call it, also while the stream is captured.
void execute(cudaStream_t stream, const Descriptor& plan, const Descriptor& variant_pack,
             std::source_location place = std::source_location::current());

}  // namespace eelsvae::EELSVAE_GPU::cudnn
