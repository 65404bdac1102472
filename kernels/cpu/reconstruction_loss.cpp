#include "kernels/reconstruction_loss.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"

namespace eelsvae {
namespace {

struct Softmax {
  float maximum, inverse_sum, log_sum;  // lse = maximum + log_sum
};

// One pass over a spectrum of logits for the maximum, one for exp(x - maximum), which is left in `scratch`.
template <typename T>
Softmax softmax(const T* logits, int64_t energy, float* scratch) {
  float maximum = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : maximum)
  for (int64_t i = 0; i < energy; ++i) maximum = std::max(maximum, static_cast<float>(logits[i]));
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < energy; ++i) {
    float e = cpu::vector_exp(static_cast<float>(logits[i]) - maximum);
    scratch[i] = e;
    sum += e;
  }
  return {maximum, 1.0f / sum, std::log(sum)};
}

float total(const float* values, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += values[i];
  return sum;
}

// A spectrum fits the first-level cache, so the passes over it read memory once. Returns its loss; gradient
// may be null or the logits themselves.
template <typename T>
double cross_entropy(const T* logits, const float* targets, int64_t energy, float weight, T* gradient) {
  thread_local std::vector<float> kept;  // as long as the longest spectrum so far
  if (kept.size() < static_cast<size_t>(energy)) kept.resize(static_cast<size_t>(energy));
  float* scratch = kept.data();
  const Softmax s = softmax(logits, energy, scratch);
  float sum_t = 0, sum_tx = 0;
#pragma omp simd reduction(+ : sum_t, sum_tx)
  for (int64_t i = 0; i < energy; ++i) {
    sum_t += targets[i];
    sum_tx += targets[i] * (s.maximum - static_cast<float>(logits[i]));
  }
  if (gradient) {
    float scale = s.inverse_sum * sum_t;
#pragma omp simd
    for (int64_t i = 0; i < energy; ++i) cpu::store(weight * (scratch[i] * scale - targets[i]), gradient + i);
  }
  return static_cast<double>(sum_tx) + static_cast<double>(sum_t) * s.log_sum;
}

template <typename T>
double squared_error(const T* logits, const float* targets, int64_t energy, float weight, T* gradient) {
  float sum = 0;
  int filled = 0;
#pragma omp simd reduction(+ : sum) reduction(| : filled)
  for (int64_t i = 0; i < energy; ++i) {
    float difference = static_cast<float>(logits[i]) - targets[i];
    sum += difference * difference;
    filled |= targets[i] != 0;
  }
  if (!filled) {
    if (gradient) std::fill_n(gradient, energy, T{});
    return 0;
  }
  if (gradient) {
#pragma omp simd
    for (int64_t i = 0; i < energy; ++i)
      cpu::store(2 * weight * (static_cast<float>(logits[i]) - targets[i]), gradient + i);
  }
  return sum;
}

template <typename T>
double poisson(const T* logits, const float* targets, int64_t energy, float weight, T* gradient) {
  if (std::all_of(targets, targets + energy, [](float t) { return t == 0; })) {
    if (gradient) std::fill_n(gradient, energy, T{});
    return 0;
  }
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < energy; ++i) {
    const float x = static_cast<float>(logits[i]), expected = cpu::vector_exp(x);
    sum += expected - targets[i] * x;
    if (gradient) cpu::store(weight * (expected - targets[i]), gradient + i);
  }
  return sum;
}

template <typename T>
double loss_of(ReconstructionLoss kind, const T* logits, const float* targets, int64_t energy, float weight,
               T* gradient) {
  switch (kind) {
    case ReconstructionLoss::cross_entropy:
      return cross_entropy(logits, targets, energy, weight, gradient);
    case ReconstructionLoss::mse:
      return squared_error(logits, targets, energy, weight, gradient);
    case ReconstructionLoss::poisson:
      return poisson(logits, targets, energy, weight, gradient);
  }
  throw std::logic_error("internal error: unknown loss");
}

}  // namespace

void CpuBackend::reconstruction_loss(ReconstructionLoss kind, int64_t tiles, int64_t pixels, int64_t energy,
                                     ConstArray logits, ConstArray targets, const StepScalars* scalars,
                                     Array loss, Array gradient) {
  expect(logits.count == tiles * pixels * energy && targets.count == logits.count && loss.count == tiles,
         "reconstruction_loss: wrong sizes");
  const float* t = targets.as<float>();
  const float weight = static_cast<float>(scalars->reconstruction_weight);
  double* l = loss.as<double>();
  // Losses of so many pieces at a time, each of a few spectra of one tile.
  constexpr int64_t most_pieces = 64, most_losses = 512;
  const int64_t piece = std::max<int64_t>(8, (pixels + most_pieces - 1) / most_pieces),
                pieces = (pixels + piece - 1) / piece;
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    const T* x = logits.as<T>();
    T* g = gradient ? gradient.as<T>() : nullptr;
    const int64_t some = most_losses / pieces;  // tiles
    for (int64_t first = 0; first < tiles; first += some) {
      std::array<double, most_losses> losses;
      const int64_t count = std::min(some, tiles - first);
      cpu::for_pieces(count * pieces, 1, [&](int64_t index, int64_t, int64_t) {
        const int64_t tile = (first + index / pieces) * pixels, begin = index % pieces * piece;
        double sum = 0;
        for (int64_t p = begin; p < std::min(pixels, begin + piece); ++p) {
          const int64_t at = (tile + p) * energy;
          T* gp = g ? g + at : nullptr;
          sum += loss_of(kind, x + at, t + at, energy, weight, gp);
        }
        losses[static_cast<size_t>(index)] = sum;
      });
      for (int64_t n = 0; n < count; ++n) {
        l[first + n] = 0;
        for (int64_t i = 0; i < pieces; ++i) l[first + n] += losses[static_cast<size_t>(n * pieces + i)];
      }
    }
  });
}

void CpuBackend::reconstruct(ReconstructionLoss kind, int64_t spectra, int64_t energy, ConstArray logits,
                             ConstArray targets, Array reconstruction) {
  if (kind == ReconstructionLoss::mse) return convert(logits, reconstruction);
  expect(logits.count == spectra * energy && targets.count == logits.count &&
             reconstruction.count == logits.count,
         "reconstruct: wrong sizes");
  const float* t = targets.as<float>();
  float* out = reconstruction.as<float>();
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    const T* x = logits.as<T>();
    cpu::for_pieces(spectra, 8, [&](int64_t first, int64_t last, int64_t) {
      for (int64_t p = first; p < last; ++p) {
        float* row = out + p * energy;
        if (kind == ReconstructionLoss::poisson) {
#pragma omp simd
          for (int64_t i = 0; i < energy; ++i)
            row[i] = cpu::vector_exp(static_cast<float>(x[p * energy + i]));
          continue;
        }
        float scale = softmax(x + p * energy, energy, row).inverse_sum * total(t + p * energy, energy);
#pragma omp simd
        for (int64_t i = 0; i < energy; ++i) row[i] *= scale;
      }
    });
  });
}

}  // namespace eelsvae
