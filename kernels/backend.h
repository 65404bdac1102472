#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/adam.h"
#include "kernels/array.h"
#include "kernels/bias_relu.h"
#include "kernels/conv3d.h"
#include "kernels/energy_pooling.h"
#include "kernels/image_operations.h"
#include "kernels/latent.h"
#include "kernels/linear.h"
#include "kernels/norms.h"
#include "kernels/reconstruction_loss.h"

namespace eelsvae {

struct DeviceMemory {
  size_t total = 0, available = 0;  // bytes
};

// Operations that were queued once and can be queued again, with the same arrays, at the cost of one (a CUDA
// graph). The arrays must outlive it.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void run() = 0;
};

// Host memory through which data reaches a device beside its computing: two slots that take turns.
class Feed {
 public:
  virtual ~Feed() = default;
  // Memory to fill next, of the feed's size. Waits until the device has taken what was in it.
  virtual void* slot() = 0;
  // Queues the copy of the slot that was filled to device memory, in order with the operations. The next
  // slot() is another.
  virtual void submit(void* device) = 0;
};

// The way back, with two slots as well.
class Drain {
 public:
  virtual ~Drain() = default;
  // Queues a copy from device memory, in order with the operations. At most two may be waiting.
  virtual void submit(const void* device) = 0;
  // Waits for the oldest copy that was not waited for yet. Its content stays until the submit() after the
  // next.
  virtual const void* wait() = 0;
};

// A loop that keeps one part of the device as busy as it gets and does nothing else: no operation can be
// faster than the fastest of them at what it needs most.
struct CeilingLoop {
  enum class Traffic { none, read, write };  // write: as many bytes read as written
  std::string name;
  double flops, bytes;  // of one run
  Traffic traffic;
  std::function<void()> run;
};

// A device with its kernels, at one precision. Everything above kernels/ works on this interface and does not
// ask which device is behind it. Operations are queued in order; synchronize() or download() waits for them.
// Pointers handed to operations are in the backend's memory.
class Backend : public Conv3dOperations,
                public LinearOperations,
                public BiasReluOperations,
                public EnergyPoolingOperations,
                public LatentOperations,
                public ReconstructionLossOperations,
                public NormOperations,
                public AdamOperations,
                public ImageOperations {
 public:
  // Device, threads and library versions in one line; the same for all precisions and kernels.
  virtual std::string processor() const = 0;
  // The same with kernels and precision, for logs and reports.
  std::string description() const {
    return processor() + ", " + (kernels().empty() ? "" : "kernels " + kernels() + ", ") + precision();
  }
  virtual std::string device() const = 0;     // "cpu", "cuda:0"
  virtual std::string precision() const = 0;  // "fp32", "tf32", "bf16", "fp64"
  // Which of several ways to compute in that precision this is, such as "avx2". Empty where there is one.
  virtual std::string kernels() const { return ""; }

  // What somebody who uses its results or waits for them should know, such as that a slow way had to do: a
  // line each, all since it was made.
  virtual std::vector<std::string> notes() const { return {}; }

  // Storage type of activations, their gradients and what the big products read.
  virtual DType storage_type() const = 0;
  // Type of master weights, their gradients, Adam's moments, targets.
  virtual DType master_type() const = 0;

  virtual DeviceMemory memory() const = 0;
  // Zeroed memory aligned to 256 bytes. Throws UserError, with the sizes, if there is not enough.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory, size_t bytes) noexcept = 0;
  // Copies between the host and this backend's memory: `rows` rows of `width` bytes, dense on the host and
  // `pitch` bytes apart on the device. Both return when the host's side is done with.
  virtual void upload_rows(const void* host, size_t width, void* device, size_t pitch, int64_t rows) = 0;
  virtual void download_rows(const void* device, size_t pitch, void* host, size_t width, int64_t rows) = 0;
  void upload(const void* host, void* device, size_t bytes) { upload_rows(host, bytes, device, bytes, 1); }
  void download(const void* device, void* host, size_t bytes) {
    download_rows(device, bytes, host, bytes, 1);
  }
  virtual void synchronize() = 0;

  // Ways in and out with slots of `bytes`. They pass through staging_bytes(bytes) of device memory, which
  // must outlive them.
  virtual size_t staging_bytes(size_t) const { return 0; }
  virtual std::unique_ptr<Feed> make_feed(size_t bytes, void* staging);
  virtual std::unique_ptr<Drain> make_drain(size_t bytes, void* staging);
  // Keeps what `operations` queues, without doing it. `operations` must not wait for the device nor copy from
  // or to the host.
  virtual std::unique_ptr<Recording> record(std::function<void()> operations);

  // destination[i] = source[i] in the destination's type, rounded to nearest.
  virtual void convert(ConstArray source, Array destination) = 0;

  // Loops over `memory`, which should be several times what caches hold. Empty: operations themselves are the
  // fastest known.
  virtual std::vector<CeilingLoop> ceiling_loops(void*, size_t) { return {}; }
};

// One of a device's ways to compute, as Backend::precision() and Backend::kernels() name it.
struct BackendVariant {
  std::string precision, kernels;
  bool operator==(const BackendVariant&) const = default;
};

// What a backend folder contributes.
struct BackendFactory {
  const char* kind;  // "cpu", "cuda", "reference"
  bool automatic;    // whether --device auto may choose it
  int preference;    // auto takes the highest that can be used
  // Why the device cannot be used; nullopt where it can. device: what follows the colon in "cuda:1" (0
  // without one), here and below.
  std::optional<std::string> (*probe)(int device);
  // The ways to compute that fit precision (auto | fp32 | tf32 | bf16 | fp64) and kernels (auto or a name),
  // of which any may be the fastest; first what is taken where nobody measures. Throws UserError if there are
  // none.
  std::vector<BackendVariant> (*variants)(const std::string& precision, const std::string& kernels);
  // Of a device that can be used.
  std::unique_ptr<Backend> (*create)(int device, const BackendVariant& variant);
};

// Every backend built into this program.
const std::vector<const BackendFactory*>& backend_factories();

// A device that was asked for, and its ways to compute.
struct BackendOffer {
  const BackendFactory* factory;
  int device;
  std::vector<BackendVariant> variants;
  std::unique_ptr<Backend> create(const BackendVariant& variant) const {
    return factory->create(device, variant);
  }
};

// device: auto | cpu | cuda[:n] | reference; precision and kernels as BackendFactory::variants takes them.
// `reason`, if not null, receives why auto fell back, or stays empty. Throws UserError if there is no such
// device, or none that computes so.
BackendOffer find_backend(const std::string& device, const std::string& precision,
                          const std::string& kernels = "auto", std::string* reason = nullptr);

// Its first variant, unmeasured.
std::unique_ptr<Backend> make_backend(const std::string& device, const std::string& precision,
                                      const std::string& kernels = "auto");

}  // namespace eelsvae
