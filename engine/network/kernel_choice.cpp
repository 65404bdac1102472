#include "engine/network/kernel_choice.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "kernels/backend_memory.h"
#include "kernels/plan_cache.h"

namespace eelsvae {
namespace {

// A convolution of up to so many operations is done whole, of a larger one as many lines of the output as
// these allow, but at least so many.
constexpr double convolution_flops = 0.4e9;
constexpr int64_t least_lines = 16;
// As many outputs of a Linear layer as have so many weights, which with what is timed in between is more than
// most caches hold, but at least as many as kernels take at a time. Adam reads and writes three numbers a
// weight.
constexpr int64_t linear_weights = int64_t{8} << 20, least_outputs = 32;
constexpr int64_t updated_weights = int64_t{2} << 20, least_updated = 8;
// All ways are timed in turn, round after round, until this thread has computed for so long. The fastest time
// of an operation counts, for others may be using the machine. A round is quiet if this thread had its
// processor nearly all the time; after it, ways that are much slower are left out, after the second more of
// them. Where rounds are not quiet, more of them are needed for the same answer.
constexpr double seconds_to_spend = 0.5, quiet_share = 0.9;
constexpr double much_slower_once = 2, much_slower = 1.5;
constexpr int quiet_rounds = 2, least_rounds = 4, most_rounds = 30;

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}
double processor_seconds_of_this_thread() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Taps inside the input that all outputs along an axis see.
int64_t taps_inside(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding) {
  int64_t taps = 0;
  for (int64_t o = 0; o < out; ++o)
    for (int64_t k = 0; k < kernel; ++k) {
      const int64_t i = o * stride + k - padding;
      taps += i >= 0 && i < in;
    }
  return taps;
}

// A layer's convolution, or a few lines of it, none of which sees beyond the scan.
struct ReducedConvolution {
  Conv3dProblem problem;
  double scale = 1;  // how many times as much work the layer is

  explicit ReducedConvolution(const Conv3dProblem& layer) : problem(layer) {
    if (layer.flops() <= convolution_flops) return;
    const Extent3 out = layer.out();
    const double of_line = layer.flops() / static_cast<double>(layer.batch * out.h * out.w);
    const int64_t lines = std::max(least_lines, static_cast<int64_t>(convolution_flops / of_line)),
                  columns = std::min(out.w, lines), rows = std::min(out.h, (lines + columns - 1) / columns);
    problem.batch = 1;
    problem.in.h = (rows - 1) * layer.stride.h + layer.kernel.h;
    problem.in.w = (columns - 1) * layer.stride.w + layer.kernel.w;
    problem.padding.h = problem.padding.w = 0;
    const auto taps = [](const Conv3dProblem& p) {
      const Extent3 o = p.out();
      return static_cast<double>(p.batch * taps_inside(p.in.h, o.h, p.kernel.h, p.stride.h, p.padding.h) *
                                 taps_inside(p.in.w, o.w, p.kernel.w, p.stride.w, p.padding.w));
    };
    scale = taps(layer) / taps(problem);
  }
};

// A Linear layer with some of its outputs.
struct ReducedLinear {
  LinearProblem problem;
  double scale;
  ReducedLinear(const LinearProblem& layer, int64_t weights, int64_t least) : problem(layer) {
    problem.out = std::min(layer.out, std::max(least, weights / layer.in / least * least));
    scale = static_cast<double>(layer.out) / static_cast<double>(problem.out);
  }
};

// Device memory by use and type. Who asks for more than there was gets new memory; the old stays as well.
class Memory {
 public:
  explicit Memory(Backend& backend) : backend_(backend) {
    // Numbers between 0.25 and 1, whether read as bf16 or as float: zeros take a processor less power.
    uint32_t state = 1;
    for (uint16_t& number : numbers_) {
      state = state * 1664525 + 1013904223;
      number = static_cast<uint16_t>(0x3e80 | (state >> 16 & 0xff));
    }
  }
  void* get(const std::string& use, size_t bytes) {
    std::vector<Piece>& pieces = pieces_[use];
    if (pieces.empty() || pieces.back().bytes < bytes) {
      pieces.push_back({std::make_unique<BackendMemory>(backend_, bytes), bytes});
      const size_t some = numbers_.size() * sizeof(uint16_t);
      for (size_t at = 0; at < bytes; at += some)
        backend_.upload(numbers_.data(), static_cast<char*>(pieces.back().memory->data()) + at,
                        std::min(some, bytes - at));
    }
    return pieces.back().memory->data();
  }
  Array array(const std::string& use, DType type, int64_t count) {
    return {get(use + " " + name_of(type), static_cast<size_t>(count) * size_of(type)), type, count};
  }

 private:
  struct Piece {
    std::unique_ptr<BackendMemory> memory;
    size_t bytes;
  };
  Backend& backend_;
  std::vector<uint16_t> numbers_ = std::vector<uint16_t>(1 << 16);
  std::map<std::string, std::vector<Piece>> pieces_;
};

// One way to compute, and the operations of a step in it.
class Candidate {
 public:
  explicit Candidate(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  Backend& backend() const { return *backend_; }
  // An operation that stands for `times` times as much work.
  void add(double times, std::function<void()> run) { operations_.push_back({times, std::move(run)}); }
  size_t size() const { return operations_.size(); }
  void time(size_t index) {
    Timed& operation = operations_[index];
    const auto began = Clock::now();
    operation.run();
    backend_->synchronize();
    operation.seconds = std::min(operation.seconds, seconds_since(began));
  }
  double seconds() const {
    double sum = 0;
    for (const Timed& operation : operations_) sum += operation.times * operation.seconds;
    return sum;
  }

 private:
  struct Timed {
    double times;
    std::function<void()> run;
    double seconds = std::numeric_limits<double>::infinity();
  };
  std::unique_ptr<Backend> backend_;
  std::vector<Timed> operations_;
};

void add_operations(Candidate& step, Memory& memory, const ModelShape& shape, ReconstructionLoss loss,
                    int64_t batch, Purpose purpose) {
  Backend& backend = step.backend();
  const DType activation = backend.storage_type(), master = backend.master_type();
  const bool training = purpose == Purpose::training;
  const Passes passes = training ? Passes::training : Passes::forward;

  // The encoder's convolutions; in training the decoder's have the same passes in another order.
  std::vector<Conv3dProblem> convolutions;
  for (const int k : {0, 1, 2, 3}) convolutions.push_back(shape.convolution(k, batch));
  if (shape.blind > 0) convolutions.push_back(shape.cell_convolution(batch));
  for (size_t k = 0; k < convolutions.size(); ++k) {
    const ReducedConvolution reduced(convolutions[k]);
    const Conv3dProblem& p = reduced.problem;
    const Array x = memory.array("x", activation, p.x_count()),
                y = memory.array("y", activation, p.y_count()),
                w = memory.array("w", master, p.weight_count()),
                bias = memory.array("bias", master, p.out_channels);
    struct Ready {
      std::shared_ptr<Conv3d> operation;
      void *packed, *workspace;
    };
    const auto ready = [&](std::shared_ptr<Conv3d> operation, const std::string& name) -> Ready {
      void* packed =
          memory.get("packed " + name + backend.precision() + backend.kernels(), operation->packed_bytes());
      void* workspace = memory.get("workspace", std::max<size_t>(1, operation->workspace_bytes()));
      operation->pack(w, packed, workspace);
      return {std::move(operation), packed, workspace};
    };
    const Ready there =
        ready(backend.make_conv3d(p, /*transposed=*/false, /*relu=*/true, passes), std::to_string(k));
    step.add((training ? 2 : 1) * reduced.scale,
             [=] { there.operation->forward(x, there.packed, bias, y, there.workspace); });
    if (!training) {
      const Ready back = ready(backend.make_conv3d(p, /*transposed=*/true, /*relu=*/k > 0, passes),
                               std::to_string(k) + " transposed");
      const Array x_bias = memory.array("x bias", master, p.in_channels);
      step.add(reduced.scale, [=] { back.operation->forward(y, back.packed, x_bias, x, back.workspace); });
      continue;
    }
    // Nobody asks for the gradient of the network's own input.
    step.add((k > 0 ? 2 : 1) * reduced.scale,
             [=] { there.operation->backward_data(y, there.packed, x, there.workspace); });
    const Array dw = memory.array("dw", master, p.weight_count());
    step.add(2 * reduced.scale, [=] { there.operation->backward_weights(x, y, dw, there.workspace); });
    const Array gradient = memory.array("gradient", activation, y.count),
                bias_gradient = memory.array("db", master, p.out_channels);
    const double lines = static_cast<double>(convolutions[k].y_count()) / static_cast<double>(y.count);
    step.add((k + 1 < convolutions.size() ? 2 : 1) * lines, [=, &backend] {
      backend.bias_relu_backward(y.count / p.out_channels, p.out_channels, y, true, gradient, bias_gradient);
    });
  }

  std::vector<LinearProblem> linears = {{batch, shape.flattened(), shape.hidden},
                                        {batch, shape.hidden, shape.flattened()}};
  if (shape.blind > 0) linears.clear();
  for (const LinearProblem& layer : linears) {
    const ReducedLinear reduced(layer, linear_weights, least_outputs);
    const LinearProblem& p = reduced.problem;
    const std::shared_ptr<Linear> linear = backend.make_linear(p, passes);
    const Array x = memory.array("x", activation, batch * p.in),
                y = memory.array("y", activation, batch * p.out),
                w = memory.array("linear", activation, p.in * p.out),
                bias = memory.array("bias", master, p.out);
    void* workspace = memory.get("workspace", std::max<size_t>(1, linear->workspace_bytes()));
    step.add(reduced.scale, [=] { linear->forward(x, w, bias, true, y, workspace); });
    if (!training) continue;
    step.add(reduced.scale, [=] { linear->backward_data(y, w, x, workspace); });
    // Shadow weights exist where the types differ.
    const ReducedLinear updated(layer, updated_weights, least_updated);
    const int64_t rows = updated.problem.out, count = rows * p.in;
    const Array masters = memory.array("masters", master, count), m = memory.array("m", master, count),
                v = memory.array("v", master, count),
                shadow = activation == master ? Array{} : Array{w.data, activation, count},
                gradient = {y.data, activation, batch * rows};
    const StepScalars scalars;
    const auto* on_device = static_cast<const StepScalars*>(memory.get("scalars", sizeof scalars));
    backend.upload(&scalars, memory.get("scalars", sizeof scalars), sizeof scalars);
    step.add(updated.scale, [=, &backend] {
      backend.adam_outer_product(batch, p.in, rows, x, gradient, on_device, masters, m, v, shadow);
    });
  }

  const int64_t all_spectra = batch * shape.image_size * shape.image_size,
                spectra = std::min<int64_t>(4096, all_spectra);
  const double share = static_cast<double>(all_spectra) / static_cast<double>(spectra);
  const Array logits = memory.array("x", activation, spectra * shape.energy),
              targets = memory.array("targets", master, spectra * shape.energy),
              reconstruction = memory.array("reconstruction", master, targets.count);
  step.add(share, [=, &backend] {
    backend.reconstruct(loss, spectra, shape.energy, logits, targets, reconstruction);
  });
}

// How long a step takes in each of the ways.
std::vector<KernelChoice::Time> time_all(const BackendOffer& offer, const ModelShape& shape,
                                         ReconstructionLoss loss, int64_t batch, Purpose purpose) {
  std::vector<Candidate> candidates;
  for (const BackendVariant& variant : offer.variants) candidates.emplace_back(offer.create(variant));
  Memory memory(candidates.front().backend());
  for (Candidate& candidate : candidates) add_operations(candidate, memory, shape, loss, batch, purpose);
  std::vector<Candidate*> left;
  for (Candidate& candidate : candidates) left.push_back(&candidate);
  const double end = processor_seconds_of_this_thread() + seconds_to_spend;
  for (int round = 1, quiet = 0; round <= most_rounds; ++round) {
    const auto began = Clock::now();
    const double computed = processor_seconds_of_this_thread();
    for (size_t i = 0; i < candidates.front().size(); ++i)
      for (Candidate* candidate : left) candidate->time(i);
    quiet += processor_seconds_of_this_thread() - computed > quiet_share * seconds_since(began);
    if (quiet > 0) {
      double least = std::numeric_limits<double>::infinity();
      for (const Candidate* candidate : left) least = std::min(least, candidate->seconds());
      const double most = (quiet == 1 ? much_slower_once : much_slower) * least;
      std::erase_if(left, [=](const Candidate* candidate) { return candidate->seconds() > most; });
    }
    if (left.size() == 1) break;
    if ((quiet >= quiet_rounds || round >= least_rounds) && processor_seconds_of_this_thread() > end) break;
  }
  std::vector<KernelChoice::Time> times;
  for (size_t i = 0; i < candidates.size(); ++i)
    times.push_back({offer.variants[i], candidates[i].seconds()});
  return times;
}

std::string text_of(const BackendVariant& variant) {
  std::string text = variant.precision;
  if (!variant.kernels.empty()) text.append(" ").append(variant.kernels);
  return text;
}

std::string key_of(const BackendOffer& offer, const ModelShape& shape, int64_t batch, Purpose purpose) {
  std::string key = purpose == Purpose::training ? "training" : "reconstruction";
  key += " of " + std::to_string(batch) + " x " + std::to_string(shape.image_size) + " x " +
         std::to_string(shape.energy) + ", channels";
  for (const int64_t channels : shape.channels) key.append(" ").append(std::to_string(channels));
  key += ", hidden " + std::to_string(shape.hidden) + ", latent " + std::to_string(shape.latent);
  key += shape.blind > 0 ? " of each cell, of" : ", of";
  for (const BackendVariant& variant : offer.variants) key.append(" ").append(text_of(variant)).append(",");
  key.pop_back();
  return key;
}

}  // namespace

KernelChoice choose_kernels(const BackendOffer& offer, const ModelShape& shape, ReconstructionLoss loss,
                            int64_t batch, Purpose purpose) {
  KernelChoice choice;
  choice.variant = offer.variants.front();
  if (offer.variants.size() == 1) return choice;
  std::vector<std::string> names;
  for (const BackendVariant& variant : offer.variants) names.push_back(text_of(variant));
  choice.origin = KernelChoice::Origin::remembered;
  const PlanCache cache(offer.create(choice.variant)->processor() + ", kernels " + kernels_version());
  const size_t fastest_one = fastest(cache, key_of(offer, shape, batch, purpose), names, [&](size_t i) {
    if (choice.times.empty()) choice.times = time_all(offer, shape, loss, batch, purpose);
    choice.origin = KernelChoice::Origin::measured;
    return choice.times[i].seconds;
  });
  choice.variant = offer.variants[fastest_one];
  return choice;
}

std::string describe(const KernelChoice& choice) {
  const std::string chosen = text_of(choice.variant);
  if (choice.origin == KernelChoice::Origin::only) return "";
  if (choice.origin == KernelChoice::Origin::remembered)
    return chosen + " is the fastest here, as measured before";
  std::string text = chosen + " is the fastest here; estimated time of a batch:";
  for (const KernelChoice::Time& time : choice.times) {
    char milliseconds[64];
    std::snprintf(milliseconds, sizeof milliseconds, "%.4g ms", 1e3 * time.seconds);
    text.append(" ").append(text_of(time.variant)).append(" ").append(milliseconds).append(",");
  }
  text.pop_back();
  return text;
}

}  // namespace eelsvae
