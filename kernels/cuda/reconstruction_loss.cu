#include "kernels/reconstruction_loss.h"

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/geometry.h"

namespace eelsvae::EELSVAE_GPU {
namespace {

constexpr int threads = 128;

// A spectrum of logits and targets, seen by a thread in packs of N. for_each(f) calls f(first element, its
// logits, its targets) for each of the thread's packs, several times over.

// Of at most threads * 4 * Packs energies, a multiple of four: read once and kept in registers.
template <int Packs, typename T>
class HeldSpectrum {
 public:
  static constexpr int width = 4;
  __device__ HeldSpectrum(int64_t energy, const T* logits, const float* targets)
      : packs_(static_cast<int>(energy / width)) {
#pragma unroll
    for (int p = 0; p < Packs; ++p)
      if (pack(p) < packs_) {
        x_[p] = load_pack<width>(logits + pack(p) * width);
        t_[p] = load_pack<width>(targets + pack(p) * width);
      }
  }
  template <typename F>
  __device__ void for_each(F f) const {
#pragma unroll
    for (int p = 0; p < Packs; ++p)
      if (pack(p) < packs_) f(int64_t{pack(p)} * width, to_float(x_[p]), t_[p]);
  }

 private:
  __device__ static int pack(int p) {
    return p * threads + static_cast<int>(threadIdx.x);
  }
  int packs_;
  Pack<T, width> x_[Packs];
  Pack<float, width> t_[Packs];
};

// Of any length: read again each time, from the cache as far as it reaches.
template <typename T>
class ReadSpectrum {
 public:
  static constexpr int width = 1;
  __device__ ReadSpectrum(int64_t energy, const T* logits, const float* targets)
      : energy_(energy), x_(logits), t_(targets) {}
  template <typename F>
  __device__ void for_each(F f) const {
    for (int64_t i = threadIdx.x; i < energy_; i += threads)
      f(i, Pack<float, 1>{{static_cast<float>(x_[i])}}, Pack<float, 1>{{t_[i]}});
  }

 private:
  int64_t energy_;
  const T* x_;
  const float* t_;
};

struct Softmax {
  float maximum, total;  // of the logits and of the targets
  bool filled;           // whether any target is not zero
  float sum, sum_tx;     // of exp(x - maximum) and of t (maximum - x)
};

template <typename Spectrum>
__device__ Softmax softmax(const Spectrum& spectrum) {
  Softmax s{-INFINITY, 0, false, 0, 0};
  float filled = 0;
  spectrum.for_each([&](int64_t, const auto& x, const auto& t) {
#pragma unroll
    for (int j = 0; j < Spectrum::width; ++j) {
      s.maximum = fmaxf(s.maximum, x.v[j]);
      s.total += t.v[j];
      if (t.v[j] != 0) filled = 1;
    }
  });
  s.maximum = block_max<threads>(s.maximum);
  s.total = block_sum<threads>(s.total);
  s.filled = block_max<threads>(filled) != 0;
  spectrum.for_each([&](int64_t, const auto& x, const auto& t) {
#pragma unroll
    for (int j = 0; j < Spectrum::width; ++j) {
      s.sum += std::exp(x.v[j] - s.maximum);
      s.sum_tx += t.v[j] * (s.maximum - x.v[j]);
    }
  });
  s.sum = block_sum<threads>(s.sum);
  s.sum_tx = block_sum<threads>(s.sum_tx);
  return s;
}

template <typename Spectrum, typename T>
__device__ double cross_entropy(const Spectrum& spectrum, float weight, T* gradient) {
  constexpr int width = Spectrum::width;
  const Softmax s = softmax(spectrum);
  if (gradient) {
    const float scale = s.total / s.sum;
    spectrum.for_each([&](int64_t at, const auto& x, const auto& t) {
      Pack<float, width> g{};
#pragma unroll
      for (int j = 0; j < width; ++j)
        if (s.filled) g.v[j] = weight * (std::exp(x.v[j] - s.maximum) * scale - t.v[j]);
      store_pack(from_float<T>(g), gradient + at);
    });
  }
  return s.filled ? static_cast<double>(s.sum_tx) + static_cast<double>(s.total) * std::log(s.sum) : 0;
}

template <typename Spectrum, typename T>
__device__ double squared_error(const Spectrum& spectrum, float weight, T* gradient) {
  constexpr int width = Spectrum::width;
  float sum = 0, filled = 0;
  spectrum.for_each([&](int64_t, const auto& x, const auto& t) {
#pragma unroll
    for (int j = 0; j < width; ++j) {
      sum += (x.v[j] - t.v[j]) * (x.v[j] - t.v[j]);
      if (t.v[j] != 0) filled = 1;
    }
  });
  sum = block_sum<threads>(sum);
  filled = block_max<threads>(filled);
  if (gradient) {
    spectrum.for_each([&](int64_t at, const auto& x, const auto& t) {
      Pack<float, width> g{};
#pragma unroll
      for (int j = 0; j < width; ++j)
        if (filled != 0) g.v[j] = 2 * weight * (x.v[j] - t.v[j]);
      store_pack(from_float<T>(g), gradient + at);
    });
  }
  return filled != 0 ? sum : 0;
}

template <typename Spectrum, typename T>
__device__ double poisson(const Spectrum& spectrum, float weight, T* gradient) {
  constexpr int width = Spectrum::width;
  float sum = 0, filled = 0;
  spectrum.for_each([&](int64_t, const auto& x, const auto& t) {
#pragma unroll
    for (int j = 0; j < width; ++j) {
      sum += std::exp(x.v[j]) - t.v[j] * x.v[j];
      if (t.v[j] != 0) filled = 1;
    }
  });
  sum = block_sum<threads>(sum);
  filled = block_max<threads>(filled);
  if (gradient) {
    spectrum.for_each([&](int64_t at, const auto& x, const auto& t) {
      Pack<float, width> g{};
#pragma unroll
      for (int j = 0; j < width; ++j)
        if (filled != 0) g.v[j] = weight * (std::exp(x.v[j]) - t.v[j]);
      store_pack(from_float<T>(g), gradient + at);
    });
  }
  return filled != 0 ? sum : 0;
}

// A block takes `group` pixels of a tile, one after the other; losses (tiles, groups).
template <ReconstructionLoss Kind, typename Spectrum, typename T>
__global__ void __launch_bounds__(threads)
    reconstruction_loss_kernel(int64_t pixels, int64_t groups, int64_t group, int64_t energy, const T* logits,
                               const float* targets, const StepScalars* scalars, double* losses,
                               T* gradient) {
  const int64_t tile = blockIdx.x / groups, first = blockIdx.x % groups * group;
  const float weight = static_cast<float>(scalars->reconstruction_weight);
  double loss = 0;
  for (int64_t pixel = first; pixel < std::min(pixels, first + group); ++pixel) {
    const int64_t at = (tile * pixels + pixel) * energy;
    const Spectrum spectrum(energy, logits + at, targets + at);
    T* to = gradient ? gradient + at : nullptr;
    if constexpr (Kind == ReconstructionLoss::cross_entropy)
      loss += cross_entropy(spectrum, weight, to);
    else if constexpr (Kind == ReconstructionLoss::mse)
      loss += squared_error(spectrum, weight, to);
    else
      loss += poisson(spectrum, weight, to);
  }
  if (threadIdx.x == 0) losses[blockIdx.x] = loss;
}

// One block for each tile.
__global__ void __launch_bounds__(threads)
    tile_loss_kernel(int64_t groups, const double* losses, double* tile_losses) {
  double sum = 0;
  for (int64_t g = threadIdx.x; g < groups; g += threads) sum += losses[blockIdx.x * groups + g];
  sum = block_sum<threads>(sum);
  if (threadIdx.x == 0) tile_losses[blockIdx.x] = sum;
}

// One block for each spectrum.
template <ReconstructionLoss Kind, typename Spectrum, typename T>
__global__ void __launch_bounds__(threads)
    reconstruct_kernel(int64_t energy, const T* logits, const float* targets, float* reconstruction) {
  constexpr int width = Spectrum::width;
  const int64_t first = blockIdx.x * energy;
  const Spectrum spectrum(energy, logits + first, targets + first);
  if constexpr (Kind == ReconstructionLoss::poisson) {
    spectrum.for_each([&](int64_t at, const auto& x, const auto&) {
      Pack<float, width> r{};
#pragma unroll
      for (int j = 0; j < width; ++j) r.v[j] = std::exp(x.v[j]);
      store_pack(r, reconstruction + first + at);
    });
  } else {
    const Softmax s = softmax(spectrum);
    const float scale = s.total / s.sum;
    spectrum.for_each([&](int64_t at, const auto& x, const auto&) {
      Pack<float, width> r{};
#pragma unroll
      for (int j = 0; j < width; ++j)
        if (s.filled) r.v[j] = std::exp(x.v[j] - s.maximum) * scale;
      store_pack(r, reconstruction + first + at);
    });
  }
}

// Calls f with the type of spectrum that suits the energies and the arrays, as a std::type_identity.
template <typename T, typename F, typename... Arrays>
void with_spectrum(int64_t energy, F f, const Arrays*... arrays) {
  const int64_t each = threads * 4;
  if (energy % 4 != 0 || energy > 8 * each || !packs_fit<4>(arrays...))
    f(std::type_identity<ReadSpectrum<T>>{});
  else if (energy <= each)
    f(std::type_identity<HeldSpectrum<1, T>>{});
  else if (energy <= 2 * each)
    f(std::type_identity<HeldSpectrum<2, T>>{});
  else if (energy <= 3 * each)
    f(std::type_identity<HeldSpectrum<3, T>>{});
  else if (energy <= 4 * each)
    f(std::type_identity<HeldSpectrum<4, T>>{});
  else
    f(std::type_identity<HeldSpectrum<8, T>>{});
}

}  // namespace

void CudaBackend::reconstruction_loss(ReconstructionLoss kind, int64_t tiles, int64_t pixels, int64_t energy,
                                      ConstArray logits, ConstArray targets, const StepScalars* scalars,
                                      Array loss, Array gradient) {
  expect(logits.count == tiles * pixels * energy && targets.count == logits.count && loss.count == tiles,
         "reconstruction_loss: wrong sizes");
  const int64_t group = spectra_per_block(tiles, pixels), groups = divide_up(pixels, group);
  double* losses = groups == 1 ? loss.as<double>() : partial_results<double>(tiles * groups);
  with_storage_type(storage_type(), [&]<typename T>(T) {
    const T* x = logits.as<T>();
    const float* t = targets.as<float>();
    T* g = gradient ? gradient.as<T>() : nullptr;
    with_spectrum<T>(
        energy,
        [&]<typename Spectrum>(std::type_identity<Spectrum>) {
          launch(stream_, "reconstruction_loss_kernel",
                 kind == ReconstructionLoss::cross_entropy
                     ? reconstruction_loss_kernel<ReconstructionLoss::cross_entropy, Spectrum, T>
                 : kind == ReconstructionLoss::mse
                     ? reconstruction_loss_kernel<ReconstructionLoss::mse, Spectrum, T>
                     : reconstruction_loss_kernel<ReconstructionLoss::poisson, Spectrum, T>,
                 tiles * groups, threads, pixels, groups, group, energy, x, t, scalars, losses, g);
        },
        x, t, g);
  });
  if (groups > 1)
    launch(stream_, "tile_loss_kernel", tile_loss_kernel, tiles, threads, groups, losses, loss.as<double>());
}

void CudaBackend::reconstruct(ReconstructionLoss kind, int64_t spectra, int64_t energy, ConstArray logits,
                              ConstArray targets, Array reconstruction) {
  if (kind == ReconstructionLoss::mse) return convert(logits, reconstruction);
  expect(logits.count == spectra * energy && targets.count == logits.count &&
             reconstruction.count == logits.count,
         "reconstruct: wrong sizes");
  with_storage_type(storage_type(), [&]<typename T>(T) {
    const T* x = logits.as<T>();
    const float* t = targets.as<float>();
    float* r = reconstruction.as<float>();
    with_spectrum<T>(
        energy,
        [&]<typename Spectrum>(std::type_identity<Spectrum>) {
          launch(stream_, "reconstruct_kernel",
                 kind == ReconstructionLoss::cross_entropy
                     ? reconstruct_kernel<ReconstructionLoss::cross_entropy, Spectrum, T>
                     : reconstruct_kernel<ReconstructionLoss::poisson, Spectrum, T>,
                 spectra, threads, energy, x, t, r);
        },
        x, t, r);
  });
}

}  // namespace eelsvae::EELSVAE_GPU
