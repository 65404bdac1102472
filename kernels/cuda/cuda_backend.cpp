#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "kernels/cuda/library_versions.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

#ifdef EELSVAE_EMULATED
constexpr const char* device_kind = "emulated";
#else
constexpr const char* device_kind = "cuda";
#endif

constexpr size_t partial_result_bytes = size_t{8} << 20;

std::string number_of(int device) {
  return std::string(device_kind) + ":" + std::to_string(device);
}

// Device 0 is the fastest, as CUDA counts them.
std::optional<std::string> probe(int device) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) cudaGetLastError();
  if (status == cudaErrorInsufficientDriver)
    return "no NVIDIA driver for CUDA " + std::to_string(CUDART_VERSION / 1000) + "." +
           std::to_string(CUDART_VERSION % 1000 / 10);
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) return "no NVIDIA GPU";
  if (status != cudaSuccess) return cudaGetErrorString(status);
  if (device >= count)
    return count == 1 ? "there is only " + number_of(0)
                      : "there are " + number_of(0) + " to " + number_of(count - 1);
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess) {
    cudaGetLastError();
    return cudaGetErrorString(error);
  }
  if (properties.major >= 8) return std::nullopt;
  return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
         std::to_string(properties.minor) + "; 8.0 or newer is needed";
}

DeviceProperties read_properties(int device) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return {properties.name,
          properties.major,
          properties.minor,
          properties.totalGlobalMem,
          static_cast<size_t>(properties.l2CacheSize),
          /*cudnn_json=*/""};
}

Math math_of(const std::string& precision) {
  if (precision == "fp32") return Math::fp32;
  if (precision == "tf32") return Math::tf32;
  if (precision == "bf16") return Math::bf16;
  throw UserError("precision " + precision + ": the GPU has auto, fp32, tf32 and bf16");
}

std::vector<BackendVariant> variants(const std::string& precision, const std::string& kernels) {
  if (kernels != "auto")
    throw UserError("kernels " + kernels + ": the GPU chooses its own for every operation");
  const std::string chosen = precision == "auto" ? "bf16" : precision;
  math_of(chosen);  // throws if there is no such precision
  return {{chosen, ""}};
}

std::unique_ptr<Backend> create(int device, const BackendVariant& variant) {
  return std::make_unique<CudaBackend>(device, variant.precision);
}

struct PinnedMemory {
  explicit PinnedMemory(size_t bytes) { check(cudaMallocHost(&data, bytes), "cudaMallocHost"); }
  ~PinnedMemory() { cudaFreeHost(data); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  void* data = nullptr;
};

// One of two ways through which host and device exchange data: the bus is crossed on a stream of its own,
// between page-locked memory and memory of the device that no operation touches.
struct Lane {
  Lane(size_t bytes, void* staging) : host(bytes), device(staging) {}
  ~Lane() { cudaEventSynchronize(crossed); }  // the bus may still read or write `host`
  PinnedMemory host;
  void* device;
  Event crossed;  // the bus
  Event moved;    // within the device
};

size_t lane_bytes(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}
void* second_lane(size_t bytes, void* staging) {
  return static_cast<char*>(staging) + lane_bytes(bytes);
}

class CudaFeed final : public Feed {
 public:
  CudaFeed(const Stream& operations, const Stream& copies, size_t bytes, void* staging)
      : operations_(operations),
        copies_(copies),
        bytes_(bytes),
        lanes_{Lane(bytes, staging), Lane(bytes, second_lane(bytes, staging))} {}

  void* slot() override {
    lanes_[next_].crossed.synchronize();
    return lanes_[next_].host.data;
  }
  void submit(void* device) override {
    Lane& lane = lanes_[std::exchange(next_, 1 - next_)];
    lane.moved.hold_back(copies_);
    check(cudaMemcpyAsync(lane.device, lane.host.data, bytes_, cudaMemcpyHostToDevice, copies_),
          "cudaMemcpyAsync");
    lane.crossed.record(copies_);
    lane.crossed.hold_back(operations_);
    check(cudaMemcpyAsync(device, lane.device, bytes_, cudaMemcpyDeviceToDevice, operations_),
          "cudaMemcpyAsync");
    lane.moved.record(operations_);
  }

 private:
  const Stream &operations_, &copies_;
  size_t bytes_;
  std::array<Lane, 2> lanes_;
  size_t next_ = 0;
};

class CudaDrain final : public Drain {
 public:
  CudaDrain(const Stream& operations, const Stream& copies, size_t bytes, void* staging)
      : operations_(operations),
        copies_(copies),
        bytes_(bytes),
        lanes_{Lane(bytes, staging), Lane(bytes, second_lane(bytes, staging))} {}

  void submit(const void* device) override {
    expect(submitted_ - waited_ < lanes_.size(), "drain: both slots are waiting");
    Lane& lane = lanes_[submitted_++ % lanes_.size()];
    lane.crossed.hold_back(operations_);
    check(cudaMemcpyAsync(lane.device, device, bytes_, cudaMemcpyDeviceToDevice, operations_),
          "cudaMemcpyAsync");
    lane.moved.record(operations_);
    lane.moved.hold_back(copies_);
    check(cudaMemcpyAsync(lane.host.data, lane.device, bytes_, cudaMemcpyDeviceToHost, copies_),
          "cudaMemcpyAsync");
    lane.crossed.record(copies_);
  }
  const void* wait() override {
    expect(waited_ < submitted_, "drain: nothing to wait for");
    Lane& lane = lanes_[waited_++ % lanes_.size()];
    lane.crossed.synchronize();
    return lane.host.data;
  }

 private:
  const Stream &operations_, &copies_;
  size_t bytes_;
  std::array<Lane, 2> lanes_;
  size_t submitted_ = 0, waited_ = 0;
};

class Graph final : public Recording {
 public:
  Graph(const Stream& stream, const std::function<void()>& operations) : stream_(stream) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    try {
      operations();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph) cudaGraphDestroy(graph);
      cudaGetLastError();  // libraries would take it for their own
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
  }
  ~Graph() override { cudaGraphExecDestroy(executable_); }
  void run() override { check(cudaGraphLaunch(executable_, stream_), "cudaGraphLaunch"); }

 private:
  const Stream& stream_;
  cudaGraphExec_t executable_ = nullptr;
};

void copy_rows_async(const void* from, size_t from_pitch, void* to, size_t to_pitch, size_t width,
                     int64_t rows, cudaMemcpyKind kind, cudaStream_t stream) {
  if (width == 0 || rows == 0) return;
  if (rows == 1)  // a row of a two-dimensional copy ends at 2 GiB
    check(cudaMemcpyAsync(to, from, width, kind, stream), "cudaMemcpyAsync");
  else
    check(cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, static_cast<size_t>(rows), kind, stream),
          "cudaMemcpy2DAsync");
}

}  // namespace

CudaBackend::CudaBackend(int device, const std::string& precision, bool measures_choices)
    : index_(device),
      math_(math_of(precision)),
      measures_choices_(measures_choices),
      properties_(read_properties(device)),
      stream_(device),
      uploads_(device),
      downloads_(device),
      partial_results_(partial_result_bytes) {}

void CudaBackend::note(const std::string& line) {
  if (std::find(notes_.begin(), notes_.end(), line) == notes_.end()) notes_.push_back(line);
}

std::string CudaBackend::processor() const {
  const double gib = static_cast<double>(properties_.memory_bytes) / (1 << 30);
  char memory[32];
  std::snprintf(memory, sizeof memory, "%.0f GiB", gib);
  return properties_.name + " (" + memory + ", compute capability " + std::to_string(properties_.major) +
         "." + std::to_string(properties_.minor) + "), " + library_versions();
}

CudaBackend::~CudaBackend() {
  cudaStreamSynchronize(stream_);
}

std::string CudaBackend::device() const {
  return number_of(index_);
}

std::string CudaBackend::precision() const {
  return name_of(math_);
}

void CudaBackend::use_device() const {
  stream_.use_device();
}

DeviceMemory CudaBackend::memory() const {
  use_device();
  DeviceMemory memory;
  check(cudaMemGetInfo(&memory.available, &memory.total), "cudaMemGetInfo");
  return memory;
}

void* CudaBackend::allocate(size_t bytes) {
  use_device();
  return allocate_device(bytes);
}
void CudaBackend::release(void* memory, size_t) noexcept {
  cudaStreamSynchronize(stream_);  // operations that use it may be queued
  cudaFree(memory);
}

void CudaBackend::upload_rows(const void* host, size_t width, void* device, size_t pitch, int64_t rows) {
  copy_rows_async(host, width, device, pitch, width, rows, cudaMemcpyHostToDevice, stream_);
  synchronize();
}
void CudaBackend::download_rows(const void* device, size_t pitch, void* host, size_t width, int64_t rows) {
  copy_rows_async(device, pitch, host, width, width, rows, cudaMemcpyDeviceToHost, stream_);
  synchronize();
}
void CudaBackend::synchronize() {
  stream_.synchronize();
}

size_t CudaBackend::staging_bytes(size_t bytes) const {
  return 2 * lane_bytes(bytes);
}
std::unique_ptr<Feed> CudaBackend::make_feed(size_t bytes, void* staging) {
  use_device();
  return std::make_unique<CudaFeed>(stream_, uploads_, bytes, staging);
}
std::unique_ptr<Drain> CudaBackend::make_drain(size_t bytes, void* staging) {
  use_device();
  return std::make_unique<CudaDrain>(stream_, downloads_, bytes, staging);
}
std::unique_ptr<Recording> CudaBackend::record(std::function<void()> operations) {
  return std::make_unique<Graph>(stream_, operations);
}

}  // namespace eelsvae::EELSVAE_GPU

namespace eelsvae {

#ifdef EELSVAE_EMULATED
extern const BackendFactory emulated_backend;
const BackendFactory emulated_backend = {
    "emulated", false, 0, EELSVAE_GPU::probe, EELSVAE_GPU::variants, EELSVAE_GPU::create};
#else
extern const BackendFactory cuda_backend;
const BackendFactory cuda_backend = {
    "cuda", true, 20, EELSVAE_GPU::probe, EELSVAE_GPU::variants, EELSVAE_GPU::create};
#endif

}  // namespace eelsvae
