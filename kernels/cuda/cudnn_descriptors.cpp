#include "kernels/cuda/cudnn_descriptors.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "kernels/cuda/runtime.h"

namespace eelsvae::EELSVAE_GPU::cudnn {

void check(cudnnStatus_t status, const char* call, std::source_location place) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char details[1024] = "";
  cudnnGetLastErrorString(details, sizeof details);
  std::string text = std::string(call) + ": " + cudnnGetErrorString(status);
  if (details[0]) text += std::string(", ") + details;
  std::replace(text.begin(), text.end(), '\n', ' ');
  fail(text, place);
}

Descriptor::State::~State() {
  if (descriptor) cudnnBackendDestroyDescriptor(descriptor);
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type, Place place) : state_(std::make_shared<State>()) {
  check(cudnnBackendCreateDescriptor(type, &state_->descriptor), "cudnnBackendCreateDescriptor", place);
}

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& value, Place place) {
  return set(name, std::vector<Descriptor>{value}, place);
}

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& values,
                            Place place) {
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const Descriptor& value : values) raw.push_back(value.get());
  check(cudnnBackendSetAttribute(get(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(raw.size()),
                                 raw.data()),
        "cudnnBackendSetAttribute", place);
  for (const Descriptor& value : values) state_->used.push_back(value.state_);
  return *this;
}

Descriptor& Descriptor::finalize(Place place) {
  check(cudnnBackendFinalize(get()), "cudnnBackendFinalize", place);
  return *this;
}

bool Descriptor::try_finalize() {
  return cudnnBackendFinalize(get()) == CUDNN_STATUS_SUCCESS;
}

std::vector<Descriptor> Descriptor::descriptors(cudnnBackendAttributeName_t name,
                                                cudnnBackendDescriptorType_t type, int64_t most,
                                                Place place) const {
  std::vector<Descriptor> result;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < most; ++i) {
    result.emplace_back(type, place);
    raw.push_back(result.back().get());
  }
  int64_t count = 0;
  check(cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, raw.data()),
        "cudnnBackendGetAttribute", place);
  result.erase(result.begin() + std::min(count, most), result.end());
  for (Descriptor& descriptor : result) descriptor.state_->used.push_back(state_);
  return result;
}

namespace {

// One handle for each device, for all backends: threads take turns, since a call first sets the handle's
// stream. Handles live as long as the process: at its end the driver may be gone before them.
struct Handles {
  std::recursive_mutex mutex;
  std::map<int, cudnnHandle_t> of_device;
};
Handles& handles() {
  static Handles& all = *new Handles;
  return all;
}

}  // namespace

cudnnHandle_t handle() {
  const std::lock_guard lock(handles().mutex);
  int device = 0;
  EELSVAE_GPU::check(cudaGetDevice(&device), "cudaGetDevice");
  cudnnHandle_t& handle = handles().of_device[device];
  if (!handle) check(cudnnCreate(&handle), "cudnnCreate");
  return handle;
}

void execute(cudaStream_t stream, const Descriptor& plan, const Descriptor& variant_pack,
             std::source_location place) {
  const std::lock_guard lock(handles().mutex);
  check(cudnnSetStream(handle(), stream), "cudnnSetStream", place);
  check(cudnnBackendExecute(handle(), plan.get(), variant_pack.get()), "cudnnBackendExecute", place);
}

}  // namespace eelsvae::EELSVAE_GPU::cudnn
