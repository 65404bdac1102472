#include "kernels/linear.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/vectors.h"

namespace eelsvae {
namespace {

using cpu::lanes;
using cpu::load;
using cpu::Vector;

// Both passes are bound by reading the weights. Batch rows are taken in groups, for which every weight is
// read once; what a group needs besides stays in cache because the long axis is taken in pieces.
constexpr int group = 8, most_rows = 16;  // by vectors, by tiles
// Up to so many rows vectors keep up with memory; with more of them bf16 weights, each widened and multiplied
// for every row, need tiles.
constexpr int64_t few_rows = 2;
constexpr int64_t piece = 4096;
// So many numbers of x, or sums, of a group stay in the first-level cache.
constexpr int64_t near = 8192;
// An axis is long if it can be shared out in pieces. Where the axis that a pass sums over is long, the
// forward pass splits it, and where the other one is not, backward-data does, into so many parts, whose sums
// are added in order.
constexpr int64_t long_axis = 16 * piece, parts_of_axis = 64;
int64_t part_of(int64_t axis) {
  constexpr int64_t whole = parts_of_axis * cpu::tile_depth;
  return (axis + whole - 1) / whole * cpu::tile_depth;
}
// The forward pass computes so many outputs at a time, for which it prepares a piece of the inputs once.
constexpr int64_t outputs_of_task = 256;

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
      sums[r * sums_stride + k * step] += static_cast<double>(cpu::sum_of_lanes(acc[r][k])) + rest;
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
      cpu::store(sum, target);
    }
  }
  for (; i < count; ++i)
    for (int r = 0; r < Rows; ++r)
      for (int k = 0; k < Outputs; ++k)
        acc[r * acc_stride + i] += static_cast<float>(w[k * step * stride + i]) * factors[k * Rows + r];
}

void widen(const bfloat16* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) cpu::store(load(from + i), to + i);
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

// sums[r * sums_stride + o - first] = sum over i in [begin, end) of x[r, i] * w[o, i] for outputs o in
// [first, last).
template <int Rows, typename T>
void sum_outputs(int64_t in, const T* x, const T* w, int64_t first, int64_t last, int64_t begin, int64_t end,
                 double* sums, int64_t sums_stride) {
  constexpr int outputs = Rows <= 2 ? 8 : Rows <= 4 ? 4 : 2;  // as many sums as there are registers for
  constexpr int64_t forward_piece = near / Rows;
  alignas(64) float wide[near];  // x in f32, where it is not
  for (int r = 0; r < Rows; ++r) std::fill_n(sums + r * sums_stride, last - first, 0.0);
  for (; begin < end; begin += forward_piece) {
    const int64_t count = std::min(end - begin, forward_piece);
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
      dots<Rows, outputs>(xs, xs_stride, w + (first + o) * in + begin, step, in, count, sums + o,
                          sums_stride);
    for (int64_t o = outputs * step; o < last - first; ++o)
      dots<Rows, 1>(xs, xs_stride, w + (first + o) * in + begin, 0, in, count, sums + o, sums_stride);
  }
}

#ifdef __AVX512F__
// The same by tiles: bf16, up to 16 rows, all sizes multiples of 32.
void sum_outputs_by_tiles(const cpu::TileOperations& operations, int64_t rows, int64_t in, const bfloat16* x,
                          const bfloat16* w, int64_t first, int64_t last, int64_t begin, int64_t end,
                          double* sums, int64_t sums_stride) {
  constexpr int64_t inputs = piece / 2;
  alignas(64) bfloat16 tiles[inputs * cpu::tile_rows];
  alignas(64) float products[cpu::tile_rows * cpu::tile_rows];
  const cpu::TilesInUse in_use(operations);
  for (int64_t r = 0; r < rows; ++r) std::fill_n(sums + r * sums_stride, last - first, 0.0);
  for (; begin < end; begin += inputs) {
    const int64_t depth = std::min(end - begin, inputs) / cpu::tile_depth;
    cpu::transpose_rows(x + begin, in, rows, depth, tiles);
    const int64_t step = (last - first) / cpu::tile_rows;
    for (int64_t o = 0; o < step; ++o) {
      operations.multiply_rows(w + (first + o) * in + begin, step * in, tiles, depth, products);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < cpu::tile_rows; ++i)
          sums[r * sums_stride + o + i * step] += static_cast<double>(products[i * cpu::tile_rows + r]);
    }
  }
}
#endif

// Calls sum(first output, last one, first input, last one, sums, sums_stride) for shares of the work.
template <typename T, typename Sum>
void forward_group(int64_t rows, int64_t in, int64_t out, const float* bias, bool relu, T* y,
                   double* workspace, Sum&& sum) {
  const auto finish = [&](int64_t r, int64_t o, double value) {
    const float biased = static_cast<float>(value + static_cast<double>(bias[o]));
    cpu::store(relu && biased < 0 ? 0.0f : biased, y + r * out + o);
  };
  if (in < long_axis) {
    cpu::for_pieces(out, outputs_of_task, [&](int64_t first, int64_t last, int64_t) {
      double sums[most_rows * outputs_of_task];
      sum(first, last, 0, in, sums, outputs_of_task);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t o = first; o < last; ++o) finish(r, o, sums[r * outputs_of_task + o - first]);
    });
    return;
  }
  // workspace: (parts, rows, out), one sum for each part of the inputs
  const int64_t part = part_of(in), blocks = (out + outputs_of_task - 1) / outputs_of_task;
  cpu::for_pieces(parts_of_axis * blocks, 1, [&](int64_t task, int64_t, int64_t) {
    const int64_t p = task / blocks, first = task % blocks * outputs_of_task, begin = std::min(in, p * part);
    sum(first, std::min(out, first + outputs_of_task), begin, std::min(in, begin + part),
        workspace + p * rows * out + first, out);
  });
  cpu::for_pieces(rows * out, 1024, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; ++i) {
      double total = 0;
      for (int64_t p = 0; p < parts_of_axis; ++p) total += workspace[p * rows * out + i];
      finish(i / out, i % out, total);
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

#ifdef __AVX512F__
// The same by tiles: bf16, up to 16 rows, all sizes multiples of 32.
void add_weighted_rows_by_tiles(const cpu::TileOperations& operations, int64_t rows, int64_t in, int64_t out,
                                const bfloat16* dy, const bfloat16* w, int64_t first, int64_t last,
                                int64_t begin, int64_t count, float* acc, int64_t acc_stride) {
  const cpu::TilesInUse in_use(operations, rows);
  const int64_t step = (last - first) / cpu::tile_depth;
  alignas(64) bfloat16 factors[most_rows * cpu::tile_depth];
  for (int64_t o = first; o < first + step; ++o) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < cpu::tile_depth; ++k)
        factors[r * cpu::tile_depth + k] = dy[r * out + o + k * step];
    operations.add_weighted_rows(rows, factors, w + o * in + begin, step * in, count, acc, acc_stride);
  }
}
#endif

// Calls add(first output, last one, first input, number of inputs, acc, acc_stride) for shares of the work,
// up to `inputs` (a piece at most) at a time.
template <typename T, typename Add>
void backward_group(int64_t rows, int64_t inputs, int64_t in, int64_t out, T* dx, float* workspace,
                    Add&& add) {
  if (in < long_axis) {
    // workspace: (parts, rows, in), one sum for each part of the outputs
    const int64_t part = part_of(out);
    cpu::for_pieces(parts_of_axis, 1, [&](int64_t p, int64_t, int64_t) {
      float* acc = workspace + p * rows * in;
      std::fill_n(acc, rows * in, 0.0f);
      const int64_t first = std::min(out, p * part), last = std::min(out, first + part);
      for (int64_t begin = 0; begin < in; begin += inputs)
        add(first, last, begin, std::min(inputs, in - begin), acc + begin, in);
    });
    cpu::for_pieces(rows * in, 1024, [&](int64_t begin, int64_t end, int64_t) {
      for (int64_t i = begin; i < end; ++i) {
        float sum = 0;
        for (int64_t p = 0; p < parts_of_axis; ++p) sum += workspace[p * rows * in + i];
        cpu::store(sum, dx + i);
      }
    });
  } else {
    cpu::for_pieces(in, inputs, [&](int64_t begin, int64_t end, int64_t) {
      alignas(64) float acc[most_rows * piece];
      std::fill_n(acc, rows * inputs, 0.0f);
      add(0, out, begin, end - begin, acc, inputs);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = begin; i < end; ++i) cpu::store(acc[r * inputs + i - begin], dx + r * in + i);
    });
  }
}

class CpuLinear final : public Linear {
 public:
  CpuLinear(const LinearProblem& problem, const cpu::Arithmetic& arithmetic, Passes passes)
      : p_(problem),
        passes_(passes),
        activation_(arithmetic.activation),
        tiles_(p_.in % cpu::tile_depth == 0 && p_.out % cpu::tile_depth == 0 ? arithmetic.tiles : nullptr),
        group_(std::min<int64_t>(p_.batch, tiles_ ? most_rows : group)) {}

  // Sums of parts: of the forward pass along a long axis, of the backward pass along a short one.
  size_t workspace_bytes() const override {
    const auto parts = static_cast<size_t>(parts_of_axis * group_);
    if (p_.in >= long_axis) return parts * static_cast<size_t>(p_.out) * sizeof(double);
    return passes_ == Passes::training ? parts * static_cast<size_t>(p_.in) * sizeof(float) : 0;
  }

  void forward(ConstArray x, ConstArray weights, ConstArray bias, bool relu, Array y,
               void* workspace) override {
    check(x, weights, y);
    expect(bias.count == p_.out, "linear: wrong bias count");
    const auto run = [&](int64_t b, int64_t rows, auto* to, auto&& sum) {
      forward_group(rows, p_.in, p_.out, bias.as<float>(), relu, to + b * p_.out,
                    static_cast<double*>(workspace), sum);
    };
    for (int64_t b = 0; b < p_.batch; b += group_) {
      const int64_t rows = std::min(p_.batch - b, group_);
#ifdef __AVX512F__
      if (tiles_ && rows > few_rows) {
        const bfloat16 *from = x.as<bfloat16>() + b * p_.in, *w = weights.as<bfloat16>();
        run(b, rows, y.as<bfloat16>(),
            [=, this](auto... share) { sum_outputs_by_tiles(*tiles_, rows, p_.in, from, w, share...); });
        continue;
      }
#endif
      cpu::with_storage_type(activation_, [&]<typename T>(T) {
        const T *from = x.as<T>() + b * p_.in, *w = weights.as<T>();
        with_rows(rows, [&](auto constant) {
          run(b, rows, y.as<T>(),
              [=, this](auto... share) { sum_outputs<constant()>(p_.in, from, w, share...); });
        });
      });
    }
  }

  void backward_data(ConstArray y_gradient, ConstArray weights, Array x_gradient, void* workspace) override {
    expect_training(passes_);
    check(x_gradient, weights, y_gradient);
    const auto run = [&](int64_t b, int64_t rows, int64_t inputs, auto* to, auto&& add) {
      backward_group(rows, inputs, p_.in, p_.out, to + b * p_.in, static_cast<float*>(workspace), add);
    };
    for (int64_t b = 0; b < p_.batch; b += group_) {
      const int64_t rows = std::min(p_.batch - b, group_);
#ifdef __AVX512F__
      if (tiles_ && rows > few_rows) {
        const bfloat16 *from = y_gradient.as<bfloat16>() + b * p_.out, *w = weights.as<bfloat16>();
        run(b, rows, piece, x_gradient.as<bfloat16>(), [=, this](auto... share) {
          add_weighted_rows_by_tiles(*tiles_, rows, p_.in, p_.out, from, w, share...);
        });
        continue;
      }
#endif
      cpu::with_storage_type(activation_, [&]<typename T>(T) {
        const T *from = y_gradient.as<T>() + b * p_.out, *w = weights.as<T>();
        with_rows(rows, [&](auto constant) {
          run(b, rows, std::min(piece, near / rows), x_gradient.as<T>(),
              [=, this](auto... share) { add_weighted_rows<constant()>(p_.in, p_.out, from, w, share...); });
        });
      });
    }
  }

 private:
  void check(ConstArray x, ConstArray weights, ConstArray y) const {
    expect(x.count == p_.batch * p_.in && weights.count == p_.in * p_.out && y.count == p_.batch * p_.out,
           "linear: wrong sizes");
  }

  LinearProblem p_;
  Passes passes_;
  DType activation_;
  const cpu::TileOperations* tiles_;  // null: by vectors
  int64_t group_;                     // rows that share a read of the weights
};

}  // namespace

std::unique_ptr<Linear> CpuBackend::make_linear(const LinearProblem& problem, Passes passes) {
  return std::make_unique<CpuLinear>(problem, arithmetic_, passes);
}

}  // namespace eelsvae
