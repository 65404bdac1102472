#include "kernels/cpu/line_convolution.h"

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>
#include <utility>

#include <omp.h>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/prefetch_queue.h"
#include "kernels/cpu/streams.h"
#include "kernels/cpu/vectors.h"

#ifdef __AVX512F__
#include "kernels/cpu/dot_products.h"
#endif

namespace eelsvae::cpu {
namespace {

// A block of the result stays in registers while taps and source channels run: so many positions by so many
// channels, two vectors or, at an end, one.
constexpr int64_t channels_of_block = 2 * lanes;
static_assert(!tiles_exist || channels_of_block == 2 * tile_rows);

// That an output line may see: kernels are at most so large along h and w together.
constexpr int64_t most_lines = 64;

int64_t rounded_up(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// The left factor's first row, the weights of its window and what the thread should have near next.
struct VectorProduct {
  const float *rows, *weights;
  const void* ahead;
};

// sums (Rows, channels_of_block), of which Vectors vectors of a row are computed: rows of left factors are
// `pitch` apart and `depth` long, weights (depth, Vectors * lanes).
template <int Rows, int Vectors>
[[gnu::noinline]] void sum_products(const VectorProduct* products, int64_t count, int64_t pitch,
                                    int64_t depth, int64_t ahead_lines, const float* bias, float* block) {
  constexpr int unrolled = 4, near = 8, width = Vectors * static_cast<int>(lanes);
  Vector sums[Rows][Vectors];
#pragma GCC unroll 2
  for (int v = 0; v < Vectors; ++v) {
    const Vector start = bias ? load(bias + v * lanes) : Vector{};
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) sums[r][v] = start;
  }
  for (const VectorProduct* product = products; product < products + count; ++product) {
    const float *w = product->weights, *end = w + depth * width;
    if (product->ahead) fetch(product->ahead, ahead_lines);
    // Three rows at a time are reached from one pointer: a pointer for each would not fit the registers, and
    // compilers take the chance unless the relation is hidden from them.
    const float* groups[Rows / 3];
#pragma GCC unroll 4
    for (int g = 0; g < Rows / 3; ++g) {
      groups[g] = product->rows + 3 * g * pitch;
      asm("" : "+r"(groups[g]));
    }
    const auto step = [&] {
      Vector wv[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) {
        wv[v] = load(w + v * lanes);
        __builtin_prefetch(w + near * width + v * lanes);
      }
#pragma GCC unroll 4
      for (int g = 0; g < Rows / 3; ++g) {
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r)
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v) sums[3 * g + r][v] += wv[v] * groups[g][r * pitch];
        ++groups[g];
      }
      w += width;
    };
    for (const float* whole = w + depth / unrolled * unrolled * width; w < whole;)
#pragma GCC unroll 4
      for (int k = 0; k < unrolled; ++k) step();
    while (w < end) step();
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store(sums[r][v], block + r * channels_of_block + v * lanes);
}

// values[r * pitch + c] = max(sums[r, c], floor) for `rows` rows of `channels` numbers.
template <typename T>
void store_block(const float* sums, int64_t rows, int64_t channels, float floor, T* values, int64_t pitch) {
  for (int64_t r = 0; r < rows; ++r, sums += channels_of_block, values += pitch) {
    int64_t c = 0;
    for (; c + lanes <= channels; c += lanes) {
      const Vector value = load(sums + c);
      store(value < floor ? floor : value, values + c);  // keeps NaN
    }
    for (; c < channels; ++c) store(sums[c] < floor ? floor : sums[c], values + c);
  }
}

// The bias, which may be null, of a block of channels with zeros beyond them.
const float* padded_bias(const float* bias, int64_t channels, float* padded) {
  if (!bias || channels == channels_of_block) return bias;
  std::fill(std::copy_n(bias, channels, padded), padded + channels_of_block, 0.0f);
  return padded;
}

// Kernels: pack() takes `depth_at_once` rows of `width` weights of a block, channels_of_block apart, and
// returns where the next ones go.

// By vectors of floats; T is how lines are stored.
template <typename T>
struct VectorKernel {
  using Number = T;
  using Operand = float;
  using Product = VectorProduct;
  // As many registers as there are: 32, but 16 where a vector is 8 floats (AVX2).
  static constexpr int64_t positions = lanes == 8 ? 6 : 12, rows = 3;  // of a block; computed together
  static constexpr int64_t depth_at_once = 1;                          // of a product, or a multiple of it
  static constexpr bool in_place = std::is_same_v<T, float>;  // whether lines are operands as they lie

  explicit VectorKernel(const Arithmetic&) {}

  static float* pack(const float* rows, int64_t width, int64_t, float* to) {
    for (int64_t c = 0; c < width; ++c) to[c] = static_cast<float>(T(rows[c]));  // as precise as activations
    return to + width;
  }

  void compute(const VectorProduct* products, int64_t count, int64_t pitch, int64_t depth,
               int64_t ahead_lines, const float* bias, float floor, int64_t kept, int64_t channels, T* to,
               int64_t to_pitch) const {
    alignas(64) float block[positions * channels_of_block];
    alignas(64) float biases[channels_of_block];
    bias = padded_bias(bias, channels, biases);
    using Sum = void (*)(const VectorProduct*, int64_t, int64_t, int64_t, int64_t, const float*, float*);
    static constexpr Sum narrow[] = {sum_products<3, 1>, sum_products<6, 1>,
                                     sum_products < positions == 12 ? 9 : 6, 1 >, sum_products<positions, 1>},
                         wide[] = {sum_products<3, 2>, sum_products<6, 2>,
                                   sum_products < positions == 12 ? 9 : 6, 2 >, sum_products<positions, 2>};
    const int64_t groups = (kept - 1) / rows;
    const Sum sum = channels > lanes ? wide[groups] : narrow[groups];
    sum(products, count, pitch, depth, ahead_lines, bias, block);
    store_block(block, kept, channels, floor, to, to_pitch);
  }
};

#ifdef __AVX512F__

// By dot products of pairs of bf16.
struct DotKernel {
  using Number = bfloat16;
  using Operand = bfloat16;
  using Product = DotProduct;
  static constexpr int64_t positions = most_dot_rows, rows = 3, depth_at_once = 2;
  static constexpr bool in_place = true;

  explicit DotKernel(const Arithmetic&) {}

  static bfloat16* pack(const float* rows, int64_t width, int64_t, bfloat16* to) {
    for (int64_t c = 0; c < width; ++c)
      for (int64_t k = 0; k < depth_at_once; ++k) *to++ = bfloat16(rows[k * channels_of_block + c]);
    return to;
  }

  void compute(const DotProduct* products, int64_t count, int64_t pitch, int64_t depth, int64_t ahead_lines,
               const float* bias, float floor, int64_t kept, int64_t channels, bfloat16* to,
               int64_t to_pitch) const {
    alignas(64) float block[positions * channels_of_block];
    alignas(64) float biases[channels_of_block];
    sum_dot_products(products, count, kept, channels, pitch, depth, ahead_lines,
                     padded_bias(bias, channels, biases), block);
    store_block(block, kept, channels, floor, to, to_pitch);
  }
};

// By the tile registers of AMX.
struct TileKernel {
  using Number = bfloat16;
  using Operand = bfloat16;
  using Product = TileProduct;
  static constexpr int64_t positions = 2 * tile_rows, rows = tile_rows, depth_at_once = tile_depth;
  static constexpr bool in_place = true;

  TilesInUse in_use;

  explicit TileKernel(const Arithmetic& arithmetic) : in_use(*arithmetic.tiles) {}

  // The tiles of a column of them follow one another, `column` numbers after those of the column before.
  static bfloat16* pack(const float* rows, int64_t width, int64_t column, bfloat16* to) {
    for (int64_t t = 0; t * tile_rows < width; ++t)
      pack_tile(rows + t * tile_rows, channels_of_block, to + t * column);
    return to + tile_numbers;
  }

  void compute(const TileProduct* products, int64_t count, int64_t pitch, int64_t depth, int64_t ahead_lines,
               const float* bias, float floor, int64_t kept, int64_t channels, bfloat16* to,
               int64_t to_pitch) const {
    alignas(64) float sums[positions * channels_of_block];
    sum_tile_products(products, count, kept, channels, pitch, depth / depth_at_once, ahead_lines, sums);
    store_sums(sums, kept, channels, bias, floor, to, to_pitch);
  }
};

#endif

// The lines that every tap sees along an axis: convolution outputs' inputs, or the adjoint's.
std::vector<int64_t> sources_along(LineConvolution::Direction direction, int64_t in, int64_t out,
                                   int64_t kernel, int64_t stride, int64_t padding, int64_t batch) {
  const bool forward = direction == LineConvolution::Direction::forward;
  const int64_t from = forward ? in : out, to = forward ? out : in;
  std::vector<int64_t> sources;
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t i = 0; i < to; ++i)
      for (int64_t k = 0; k < kernel; ++k) {
        const int64_t position = forward ? i * stride + k - padding : i + padding - k;
        const bool whole = forward || position % stride == 0;
        const int64_t source = forward ? position : position / stride;
        sources.push_back(position < 0 || !whole || source >= from ? -1 : n * from + source);
      }
  return sources;
}

LineSources sources_of(const Conv3dProblem& p, LineConvolution::Direction direction) {
  const Extent3 out = p.out();
  return {sources_along(direction, p.in.h, out.h, p.kernel.h, p.stride.h, p.padding.h, p.batch),
          sources_along(direction, p.in.w, out.w, p.kernel.w, p.stride.w, p.padding.w, 1)};
}

}  // namespace

// What one line of the destination sees.
template <typename Kernel>
class LineConvolution::Lines {
 public:
  using Number = typename Kernel::Number;
  using Operand = typename Kernel::Operand;
  void add(const Number* source, const Operand* weights) {
    of_[static_cast<size_t>(count_++)] = {source, weights};
  }
  bool has(const Number* source) const {
    return std::any_of(begin(), end(), [=](const auto& line) { return line.source == source; });
  }
  const Line<Number, Operand>* begin() const { return of_.data(); }
  const Line<Number, Operand>* end() const { return of_.data() + count_; }
  int64_t count() const { return count_; }
  // What the next line of the destination will see, to be fetched meanwhile.
  PrefetchQueue<most_lines + 1> ahead;

 private:
  std::array<Line<Number, Operand>, most_lines> of_;
  int64_t count_ = 0;
};

template <typename F>
void LineConvolution::with_kernel(F&& f) const {
#ifdef __AVX512F__
  if (arithmetic_.activation == DType::bf16) {
    if (arithmetic_.set == InstructionSet::amx) return f(std::type_identity<TileKernel>());
    if (arithmetic_.set == InstructionSet::avx512_bf16) return f(std::type_identity<DotKernel>());
  }
#endif
  with_storage_type(arithmetic_.activation, [&]<typename T>(T) { f(std::type_identity<VectorKernel<T>>()); });
}

LineConvolution::LineConvolution(const Conv3dProblem& problem, Direction direction,
                                 const Arithmetic& arithmetic)
    : LineConvolution(problem, direction, sources_of(problem, direction), arithmetic) {}
LineConvolution::LineConvolution(const Conv3dProblem& problem, LineSources sources,
                                 const Arithmetic& arithmetic)
    : LineConvolution(problem, Direction::forward, std::move(sources), arithmetic) {}

LineConvolution::LineConvolution(const Conv3dProblem& p, Direction direction, LineSources sources,
                                 const Arithmetic& arithmetic)
    : kernel_(p.kernel),
      direction_(direction),
      arithmetic_(arithmetic),
      sources_(std::move(sources)),
      threads_(omp_get_max_threads()) {
  expect(kernel_.h * kernel_.w <= most_lines, "conv3d: kernel of more than 64 lines");
  const bool forward = direction == Direction::forward;
  const Extent3 out = p.out();
  const int64_t stride = p.stride.e;
  channels_ = forward ? p.in_channels : p.out_channels;
  out_channels_ = forward ? p.out_channels : p.in_channels;
  energies_ = forward ? p.in.e : out.e;
  out_energies_ = forward ? out.e : p.in.e;
  columns_ = forward ? p.in.w : out.w;
  step_ = forward ? stride : 1;
  padded_ = rounded_up(out_channels_, lanes);
  if (forward) {
    windows_.push_back({-p.padding.e, kernel_.e, 0, 1});
  } else {
    for (int64_t r = 0; r < std::min(stride, out_energies_); ++r) {
      // Taps ke with r + padding - ke a multiple of the stride; the last of them sees the first position.
      const int64_t lowest = (r + p.padding.e) % stride,
                    taps = lowest < kernel_.e ? (kernel_.e - 1 - lowest) / stride + 1 : 0,
                    last = lowest + (taps - 1) * stride;
      windows_.push_back({(r + p.padding.e - last) / stride, taps, last, -stride});
    }
  }
  with_kernel([&]<typename Kernel>(std::type_identity<Kernel>) { prepare<Kernel>(); });
}

template <typename Kernel>
void LineConvolution::prepare() {
  operand_bytes_ = sizeof(typename Kernel::Operand);
  for (Window& window : windows_) {
    window.depth = rounded_up(window.taps * channels_, Kernel::depth_at_once);
    window.offset = depth_;
    depth_ += window.depth;
  }
  int64_t blocks = 0, longest = 0;
  for (size_t phase = 0; phase < windows_.size(); ++phase)
    for_blocks<Kernel>(windows_[phase], static_cast<int64_t>(phase),
                       [&](int64_t, int64_t, int64_t span, bool in_place) {
                         ++blocks;
                         if (!in_place) longest = std::max(longest, span);
                       });
  blocks_ = blocks * ((out_channels_ + channels_of_block - 1) / channels_of_block);
  scratch_count_ = rounded_up(longest * kernel_.h * kernel_.w, cache_line);
}

// Calls f(first position of a block, how many of its positions exist, how many numbers of a line of the
// source it reads, whether it reads them as they lie in the line).
template <typename Kernel, typename F>
void LineConvolution::for_blocks(const Window& window, int64_t phase, F&& f) const {
  const int64_t phases = static_cast<int64_t>(windows_.size()),
                positions = (out_energies_ - phase + phases - 1) / phases;
  for (int64_t q = 0; q < positions; q += Kernel::positions) {
    const int64_t kept = std::min(Kernel::positions, positions - q), rows = rounded_up(kept, Kernel::rows),
                  begin = (q * step_ + window.first) * channels_,
                  span = (rows - 1) * step_ * channels_ + window.depth;
    f(q, kept, span, Kernel::in_place && begin >= 0 && begin + span <= energies_ * channels_);
  }
}

size_t LineConvolution::workspace_bytes() const {
  return static_cast<size_t>(threads_ * scratch_count_) * operand_bytes_;
}
size_t LineConvolution::packed_bytes() const {
  return static_cast<size_t>(kernel_.h * kernel_.w * depth_ * padded_) * operand_bytes_;
}

void LineConvolution::pack(const float* weights, void* packed) const {
  with_kernel([&]<typename Kernel>(std::type_identity<Kernel>) {
    pack_as<Kernel>(weights, static_cast<typename Kernel::Operand*>(packed));
  });
}

// By tap (kh, kw), then window, then a block of channels of the destination, as its kernel reads them, with
// zeros beyond the channels and beyond the window.
template <typename Kernel>
void LineConvolution::pack_as(const float* weights, typename Kernel::Operand* packed) const {
  const bool forward = direction_ == Direction::forward;
  const int64_t blocks = (out_channels_ + channels_of_block - 1) / channels_of_block,
                taps = kernel_.h * kernel_.w, in_channels = forward ? channels_ : out_channels_,
                pitch = taps * kernel_.e * in_channels;  // from an output channel to the next
  for_pieces(taps * blocks, 1, [&](int64_t index, int64_t, int64_t) {
    const int64_t tap = index / blocks, column = index % blocks * channels_of_block,
                  width = std::min(channels_of_block, padded_ - column),
                  kept = std::min(width, out_channels_ - column);
    float rows[Kernel::depth_at_once * channels_of_block];
    for (const Window& window : windows_) {
      auto* to = packed + (tap * depth_ + window.offset) * padded_ + column * window.depth;
      for (int64_t k = 0; k < window.depth; ++k) {
        float* row = rows + k % Kernel::depth_at_once * channels_of_block;
        int64_t c = 0;
        if (k < window.taps * channels_) {
          const int64_t ke = window.tap + k / channels_ * window.tap_step, channel = k % channels_;
          const float* from = weights + (tap * kernel_.e + ke) * in_channels +
                              (forward ? column * pitch + channel : channel * pitch + column);
          for (; c < kept; ++c) row[c] = from[forward ? c * pitch : c];
        }
        std::fill(row + c, row + width, 0.0f);
        if ((k + 1) % Kernel::depth_at_once != 0) continue;
        to = Kernel::pack(rows, width, window.depth * tile_rows, to);
      }
    }
  });
}

void LineConvolution::run(ConstArray source, const void* packed, const float* bias, bool relu,
                          Array destination, void* workspace) const {
  const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  with_kernel([&]<typename Kernel>(std::type_identity<Kernel>) {
    run_as<Kernel>(source, packed, bias, floor, destination, workspace);
  });
}

template <typename Kernel>
void LineConvolution::run_as(ConstArray from, const void* packed, const float* bias, float floor, Array to,
                             void* workspace) const {
  using Number = typename Kernel::Number;
  using Operand = typename Kernel::Operand;
  const Number* source = from.as<Number>();
  Number* destination = to.as<Number>();
  const Operand* weights = static_cast<const Operand*>(packed);
  Operand* scratch = static_cast<Operand*>(workspace);
  const int64_t columns = static_cast<int64_t>(sources_.columns.size()) / kernel_.w,
                count = static_cast<int64_t>(sources_.rows.size()) / kernel_.h * columns,
                line_count = energies_ * channels_, to_count = out_energies_ * out_channels_;
  constexpr int64_t number = sizeof(Number);
  // Threads take several neighbouring lines at a time, for these share lines of the source.
  const int64_t chunk = std::max<int64_t>(1, count / (8 * threads_));
#pragma omp parallel for schedule(dynamic, chunk) num_threads(threads_)
  for (int64_t index = 0; index < count; ++index) {
    Lines<Kernel> lines;
    const auto collect = [&](int64_t of, auto&& take) {
      for (int64_t kh = 0; kh < kernel_.h; ++kh)
        for (int64_t kw = 0; kw < kernel_.w; ++kw) {
          const int64_t row = sources_.rows[static_cast<size_t>(of / columns * kernel_.h + kh)],
                        column = sources_.columns[static_cast<size_t>(of % columns * kernel_.w + kw)];
          if (row >= 0 && column >= 0)
            take(kh * kernel_.w + kw, source + (row * columns_ + column) * line_count);
        }
    };
    collect(index,
            [&](int64_t tap, const Number* line) { lines.add(line, weights + tap * depth_ * padded_); });
    Number* line = destination + index * to_count;
    if (index + 1 < count) {
      collect(index + 1, [&](int64_t, const Number* next) {
        if (!lines.has(next)) lines.ahead.add(next, line_count * number);
      });
      lines.ahead.add(line + to_count, to_count * number);
    }
    run_line(Kernel(arithmetic_), lines, bias, floor, line, scratch + omp_get_thread_num() * scratch_count_);
  }
}

template <typename Kernel>
void LineConvolution::run_line(const Kernel& kernel, Lines<Kernel>& lines, const float* bias, float floor,
                               typename Kernel::Number* destination,
                               typename Kernel::Operand* scratch) const {
  const int64_t phases = static_cast<int64_t>(windows_.size()), length = energies_ * channels_;
  // With each product some of the memory ahead comes near.
  const int64_t ahead_lines =
      lines.ahead.bytes() / std::max<int64_t>(1, lines.count() * blocks_ * cache_line) + 1;
  for (int64_t phase = 0; phase < phases; ++phase) {
    const Window& window = windows_[static_cast<size_t>(phase)];
    // The weights of a block of channels stay in the second-level cache while the positions run.
    for (int64_t column = 0; column < out_channels_; column += channels_of_block)
      for_blocks<Kernel>(window, phase, [&](int64_t q, int64_t kept, int64_t span, bool in_place) {
        std::array<typename Kernel::Product, most_lines> products;
        const int64_t begin = (q * step_ + window.first) * channels_;
        auto product = products.begin();
        typename Kernel::Operand* copy = scratch;
        for (const auto& line : lines) {
          const typename Kernel::Operand* rows = copy;
          if constexpr (Kernel::in_place) rows = in_place ? line.source + begin : copy;
          if (!in_place) {  // the line's end, with the zeros beyond it, or numbers of another type
            copy_window(line.source, length, begin, span, copy);
            copy += span;
          }
          *product++ = {rows, line.weights + window.offset * padded_ + column * window.depth,
                        lines.ahead.take(ahead_lines * cache_line)};
        }
        kernel.compute(products.data(), lines.count(), step_ * channels_, window.depth, ahead_lines,
                       bias ? bias + column : nullptr, floor, kept,
                       std::min(channels_of_block, out_channels_ - column),
                       destination + (phase + q * phases) * out_channels_ + column, phases * out_channels_);
      });
  }
}

}  // namespace eelsvae::cpu
