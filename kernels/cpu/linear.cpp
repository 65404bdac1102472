#include "kernels/linear.h"

#include <type_traits>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/vectors.h"

namespace eelsvae {
namespace {

using cpu::lanes;
using cpu::load;
using cpu::Vector;

// Both passes are bound by reading the weights. Batch rows are taken in groups of `group`, for which every
// weight is read once; what a group needs besides stays in cache because the long axis is taken in pieces.
constexpr int group = 8;
constexpr int64_t piece = 4096;
// So many numbers of x, or sums, of a group stay in the first-level cache.
constexpr int64_t near = 8192;
// Where the input axis is too short to share out, backward-data splits the output axis into so many parts,
// whose sums are added in order.
constexpr int64_t output_parts = 64;

// Rows of w are taken several at a time, which keeps several reads of memory, and several sums, under way.
// They lie far apart: rows may be short, and memory is fastest where each read goes on where the last one
// ended.

// sums[r * sums_stride + k * step] += dot(x[r], w[k * step]) for `Rows` rows of x and `Outputs` rows of w;
// rows are `stride` numbers long.
template <int Rows, int Outputs, typename T>
void dots(const float* x, int64_t x_stride, const T* w, int64_t step, int64_t stride, int64_t count,
          double* sums, int64_t sums_stride) {
  Vector acc[Rows][Outputs] = {};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    Vector wv[Outputs];
    for (int k = 0; k < Outputs; ++k) {
      const T* from = w + k * step * stride + i;
      wv[k] = load(from);
      // With few rows the processor fetches ahead by itself, and better.
      if constexpr (Rows > 2) __builtin_prefetch(from + stride);
    }
    for (int r = 0; r < Rows; ++r) {
      Vector xv = load(x + r * x_stride + i);
      for (int k = 0; k < Outputs; ++k) acc[r][k] += wv[k] * xv;
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int k = 0; k < Outputs; ++k) {
      float rest = 0;
      for (int64_t j = i; j < count; ++j)
        rest += static_cast<float>(w[k * step * stride + j]) * x[r * x_stride + j];
      sums[r * sums_stride + k * step] += static_cast<double>(cpu::stdx::reduce(acc[r][k])) + rest;
    }
}

// acc[r, i] += sum over Outputs rows k of w of factors[k * Rows + r] * w[k * step, i].
template <int Rows, int Outputs, typename T>
void add_rows(const T* w, int64_t step, int64_t stride, const float* factors, int64_t count, float* acc,
              int64_t acc_stride) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    Vector wv[Outputs];
    for (int k = 0; k < Outputs; ++k) {
      const T* from = w + k * step * stride + i;
      wv[k] = load(from);
      __builtin_prefetch(from + stride);  // the next rows to come
    }
    for (int r = 0; r < Rows; ++r) {
      float* target = acc + r * acc_stride + i;
      Vector sum = load(target);
      for (int k = 0; k < Outputs; ++k) sum += wv[k] * factors[k * Rows + r];
      sum.copy_to(target, cpu::stdx::element_aligned);
    }
  }
  for (; i < count; ++i)
    for (int r = 0; r < Rows; ++r)
      for (int k = 0; k < Outputs; ++k)
        acc[r * acc_stride + i] += static_cast<float>(w[k * step * stride + i]) * factors[k * Rows + r];
}

void widen(const bfloat16* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) load(from + i).copy_to(to + i, cpu::stdx::element_aligned);
  for (; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

// Calls f with the number of batch rows as a compile-time constant.
template <typename F>
void with_rows(int64_t rows, F&& f) {
  switch (rows) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 5:
      return f(std::integral_constant<int, 5>());
    case 6:
      return f(std::integral_constant<int, 6>());
    case 7:
      return f(std::integral_constant<int, 7>());
    default:
      return f(std::integral_constant<int, group>());
  }
}

template <int Rows, typename T>
void forward_group(int64_t in, int64_t out, const T* x, const T* w, const float* bias, bool relu, T* y) {
  const int64_t outputs_per_task = std::clamp<int64_t>(out / 32, 1, 256);
  constexpr int outputs = Rows <= 2 ? 8 : Rows <= 4 ? 4 : 2;  // as many sums as there are registers for
  constexpr int64_t forward_piece = near / Rows;
  cpu::for_pieces(out, outputs_per_task, [&](int64_t first, int64_t last, int64_t) {
    std::vector<double> sums(static_cast<size_t>((last - first) * Rows), 0.0);
    alignas(64) float wide[near];  // x in f32, where it is not
    for (int64_t begin = 0; begin < in; begin += forward_piece) {
      const int64_t count = std::min(in - begin, forward_piece);
      const float* xs = wide;
      int64_t xs_stride = count;
      if constexpr (std::is_same_v<T, float>) {
        xs = x + begin;
        xs_stride = in;
      } else {
        for (int r = 0; r < Rows; ++r) widen(x + r * in + begin, count, wide + r * count);
      }
      const int64_t step = (last - first) / outputs;
      for (int64_t o = 0; o < step; ++o)
        dots<Rows, outputs>(xs, xs_stride, w + (first + o) * in + begin, step, in, count, sums.data() + o,
                            last - first);
      for (int64_t o = outputs * step; o < last - first; ++o)
        dots<Rows, 1>(xs, xs_stride, w + (first + o) * in + begin, 0, in, count, sums.data() + o,
                      last - first);
    }
    for (int r = 0; r < Rows; ++r)
      for (int64_t o = first; o < last; ++o) {
        float value = static_cast<float>(sums[static_cast<size_t>(r * (last - first) + o - first)] + bias[o]);
        cpu::store(relu && value < 0 ? 0.0f : value, y + r * out + o);
      }
  });
}

template <int Rows, typename T>
void add_weighted_rows(int64_t in, int64_t out, const T* dy, const T* w, int64_t first, int64_t last,
                       int64_t begin, int64_t count, float* acc, int64_t acc_stride) {
  constexpr int outputs = 8;
  float factors[outputs * Rows];
  const int64_t step = (last - first) / outputs;
  auto gather = [&](int64_t o, int n) {
    for (int k = 0; k < n; ++k)
      for (int r = 0; r < Rows; ++r) factors[k * Rows + r] = static_cast<float>(dy[r * out + o + k * step]);
  };
  for (int64_t o = first; o < first + step; ++o) {
    gather(o, outputs);
    add_rows<Rows, outputs>(w + o * in + begin, step, in, factors, count, acc, acc_stride);
  }
  for (int64_t o = first + outputs * step; o < last; ++o) {
    gather(o, 1);
    add_rows<Rows, 1>(w + o * in + begin, 0, in, factors, count, acc, acc_stride);
  }
}

template <int Rows, typename T>
void backward_group(int64_t in, int64_t out, const T* dy, const T* w, T* dx, float* workspace) {
  constexpr int64_t backward_piece = std::min(piece, near / Rows);
  const bool split_outputs = in < 16 * piece;
  const int64_t parts = split_outputs ? output_parts : 1;
  const int64_t part = (out + parts - 1) / parts;
  if (split_outputs) {
    // workspace: (parts, Rows, in), one sum for each part of the outputs
    cpu::for_pieces(parts, 1, [&](int64_t p, int64_t, int64_t) {
      float* acc = workspace + p * Rows * in;
      std::fill_n(acc, Rows * in, 0.0f);
      int64_t first = std::min(out, p * part), last = std::min(out, first + part);
      for (int64_t begin = 0; begin < in; begin += backward_piece)
        add_weighted_rows<Rows>(in, out, dy, w, first, last, begin, std::min(backward_piece, in - begin),
                                acc + begin, in);
    });
    cpu::for_pieces(Rows * in, 1024, [&](int64_t begin, int64_t end, int64_t) {
      for (int64_t i = begin; i < end; ++i) {
        float sum = 0;
        for (int64_t p = 0; p < parts; ++p) sum += workspace[p * Rows * in + i];
        cpu::store(sum, dx + i);
      }
    });
  } else {
    cpu::for_pieces(in, backward_piece, [&](int64_t begin, int64_t end, int64_t) {
      alignas(64) float acc[Rows * backward_piece];
      std::fill_n(acc, Rows * backward_piece, 0.0f);
      add_weighted_rows<Rows>(in, out, dy, w, 0, out, begin, end - begin, acc, backward_piece);
      for (int r = 0; r < Rows; ++r)
        for (int64_t i = begin; i < end; ++i)
          cpu::store(acc[r * backward_piece + i - begin], dx + r * in + i);
    });
  }
}

class CpuLinear final : public Linear {
 public:
  CpuLinear(const LinearProblem& problem, DType activation) : p_(problem), activation_(activation) {}

  size_t workspace_bytes() const override {
    return static_cast<size_t>(output_parts * std::min<int64_t>(p_.batch, group) *
                               std::min(p_.in, 16 * piece)) *
           sizeof(float);
  }

  void forward(ConstArray x, ConstArray weights, ConstArray bias, bool relu, Array y, void*) override {
    check(x, weights, y);
    expect(bias.count == p_.out, "linear: wrong bias count");
    cpu::with_activation_type(activation_, [&]<typename T>(T) {
      for (int64_t b = 0; b < p_.batch; b += group)
        with_rows(p_.batch - b, [&](auto rows) {
          forward_group<rows()>(p_.in, p_.out, x.as<T>() + b * p_.in, weights.as<T>(), bias.as<float>(), relu,
                                y.as<T>() + b * p_.out);
        });
    });
  }

  void backward_data(ConstArray y_gradient, ConstArray weights, Array x_gradient, void* workspace) override {
    check(x_gradient, weights, y_gradient);
    cpu::with_activation_type(activation_, [&]<typename T>(T) {
      for (int64_t b = 0; b < p_.batch; b += group)
        with_rows(p_.batch - b, [&](auto rows) {
          backward_group<rows()>(p_.in, p_.out, y_gradient.as<T>() + b * p_.out, weights.as<T>(),
                                 x_gradient.as<T>() + b * p_.in, static_cast<float*>(workspace));
        });
    });
  }

 private:
  void check(ConstArray x, ConstArray weights, ConstArray y) const {
    expect(x.count == p_.batch * p_.in && weights.count == p_.in * p_.out && y.count == p_.batch * p_.out,
           "linear: wrong sizes");
  }

  LinearProblem p_;
  DType activation_;
};

}  // namespace

std::unique_ptr<Linear> CpuBackend::make_linear(const LinearProblem& problem) {
  return std::make_unique<CpuLinear>(problem, activation_);
}

}  // namespace eelsvae
