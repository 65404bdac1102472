#include "kernels/cpu/weight_gradient.h"

#include <array>

#include <omp.h>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/streams.h"
#include "kernels/cpu/vectors.h"

namespace eelsvae::cpu {
namespace {

// For a line of outputs along the energy axis and one tap (kh, kw), the energy taps and input channels that
// an output sees are `window_` neighbours of a line of x, whatever the stride. So the tap's gradient is a
// product
//   g[oc, column] += sum over o of y[o, oc] * x[o * step_ - before_ + column]
// of the two lines as they lie in memory.

// A tile of so many channels by so many vectors of columns stays in registers while o runs: there are 32 of
// them, but 16 where a vector is 8 floats (AVX2).
constexpr int rows = lanes == 8 ? 4 : 8, vectors = 3;
// At most so many steps of o at a time, and so many numbers of x where a tile reads its windows as they lie
// in the line: its neighbours find both in the first-level cache. Windows that begin this far apart crowd the
// sets of that cache, and are copied together first.
constexpr int64_t most_steps = 128, most_numbers = 6144, far = 256;
// Work is shared out in about so many tasks.
constexpr int64_t tasks = 32;

// g[r, column] += sum over o of y[o, r] * x[o * step + column], of which `channels` rows and `columns` are
// wanted.
template <int Vectors>
void add_tile(const float* x, int64_t step, const float* y, int64_t count, int64_t channels, int64_t columns,
              float* g, int64_t stride) {
  for (int64_t r = 0; r < channels; ++r)
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) __builtin_prefetch(g + r * stride + v * lanes, 1);
  Vector sums[rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) sums[r][v] = Vector{};
  do {
    Vector xv[Vectors];
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) xv[v] = load(x + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v) sums[r][v] += xv[v] * y[r];
    x += step;
    y += rows;
  } while (--count > 0);
  if (channels == rows && columns >= Vectors * lanes) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v) {
        float* target = g + r * stride + v * lanes;
        store(load(target) + sums[r][v], target);
      }
    return;
  }
  float values[rows][Vectors * lanes];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) store(sums[r][v], values[r] + v * lanes);
  for (int64_t r = 0; r < channels; ++r)
    for (int64_t i = 0; i < std::min(columns, Vectors * lanes); ++i) g[r * stride + i] += values[r][i];
}

// `count` rows of `channels` numbers, `pitch` apart, by blocks of `rows` of them: to[block][row][channel],
// with zeros beyond the channels.
template <typename T>
void gather_outputs(const T* y, int64_t pitch, int64_t count, int64_t channels, float* to) {
  for (int64_t c = 0; c < channels; c += rows, y += rows) {
    const int64_t width = std::min<int64_t>(rows, channels - c);
    for (int64_t o = 0; o < count; ++o, to += rows) {
      const T* from = y + o * pitch;
      if (width == rows) {
#pragma omp simd
        for (int r = 0; r < rows; ++r) to[r] = static_cast<float>(from[r]);
      } else {
        for (int64_t r = 0; r < rows; ++r) to[r] = r < width ? static_cast<float>(from[r]) : 0.0f;
      }
    }
  }
}

// Adds to g the products of `channels` channels of y, gathered, with the first columns of the windows of x.
template <int Vectors>
void add_columns(const float* x, int64_t step, const float* y, int64_t count, int64_t channels,
                 int64_t columns, float* windows, float* g, int64_t stride) {
  constexpr int64_t width = Vectors * lanes;
  if (step >= far) {
    for (int64_t o = 0; o < count; ++o)
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v)
        store(load(x + o * step + v * lanes), windows + o * width + v * lanes);
    x = windows;
    step = width;
  }
  for (int64_t c = 0; c < channels; c += rows)
    add_tile<Vectors>(x, step, y + c * count, count, std::min<int64_t>(rows, channels - c), columns,
                      g + c * stride, stride);
}

int64_t rounded_up(int64_t count, int64_t multiple = lanes) {
  return (count + multiple - 1) / multiple * multiple;
}

// What a thread needs to work by vectors: kw lines of x with zeros around them, so that every window and what
// its last vector reads lies inside, a piece of the outputs and, where they are copied, of the windows.
struct VectorScratch {
  int64_t steps, line, outputs;

  VectorScratch(int64_t kw, int64_t channels, int64_t window, int64_t step, int64_t count)
      : steps(std::min(count,
                       step >= far ? most_steps : std::clamp(most_numbers / step, int64_t{1}, most_steps))),
        line((count - 1) * step + rounded_up(window)),
        outputs(steps * rounded_up(channels, rows)),
        lines_(kw) {}
  int64_t count() const { return lines_ * line + outputs + steps * vectors * lanes; }

 private:
  int64_t lines_;
};

// A tile of sums is loaded and stored once for so many tiles of the factors, or a few less: where lines are
// short, for those of several neighbouring outputs.
constexpr int64_t tiles_per_sum = 12, most_neighbours = 8;

// What a thread needs to work by tiles: sums of a task's channels for every kw, the lines of a few
// neighbouring outputs, the windows of all lines of x that these see, and a piece of x with zeros beside it.
// Counts are of floats for sums, else of bf16.
struct TileScratch {
  int64_t depth, columns;  // tiles
  int64_t neighbours, lines;
  int64_t sums, outputs, windows, piece;

  TileScratch(const Conv3dProblem& p, int64_t channels)
      : depth(rounded_up(p.out().e, tile_depth) / tile_depth),
        columns(rounded_up(p.kernel.e * p.in_channels, tile_rows) / tile_rows),
        neighbours(std::clamp(tiles_per_sum / depth, int64_t{1}, std::min(most_neighbours, p.out().w))),
        lines((neighbours - 1) * p.stride.w + p.kernel.w),
        sums(channels * p.kernel.w * columns * tile_rows),
        outputs(depth * channels / tile_rows * tile_numbers),
        windows(depth * columns * tile_numbers),
        piece(rounded_up((tile_depth - 1) * p.stride.e * p.in_channels + columns * tile_rows, tile_depth)) {}
  int64_t count() const { return sums + (neighbours * outputs + lines * windows + piece) / 2; }
};

}  // namespace

WeightGradient::WeightGradient(const Conv3dProblem& problem, const Arithmetic& arithmetic)
    : p_(problem), arithmetic_(arithmetic), threads_(omp_get_max_threads()) {
  window_ = p_.kernel.e * p_.in_channels;
  stride_ = p_.kernel.volume() * p_.in_channels;  // from an output channel's weights to the next one's
  step_ = p_.stride.e * p_.in_channels;
  line_ = p_.in.e * p_.in_channels;
  before_ = p_.padding.e * p_.in_channels;
  channels_per_task_ = arithmetic_.tiles ? 128 : 64;
  blocks_ = (p_.out_channels + channels_per_task_ - 1) / channels_per_task_;
  parts_ = std::clamp<int64_t>(tasks / (p_.kernel.h * blocks_), 1, p_.batch * p_.out().h);
}

int64_t WeightGradient::scratch_count() const {
  const int64_t outputs = p_.out().e;
  if (arithmetic_.tiles) return TileScratch(p_, channels_per_task_).count();
  return VectorScratch(p_.kernel.w, channels_per_task_, window_, step_, outputs).count();
}

size_t WeightGradient::workspace_bytes() const {
  const int64_t count = (parts_ - 1) * p_.weight_count() + threads_ * scratch_count();
  return static_cast<size_t>(count) * sizeof(float);
}

void WeightGradient::run(ConstArray x, ConstArray y, Array gradient, void* workspace) const {
  expect(x.count == p_.x_count() && y.count == p_.y_count() && gradient.count == p_.weight_count(),
         "weight gradient: wrong sizes");
  // The first part's sums go where all of them will.
  float *sums = gradient.as<float>(), *others = static_cast<float*>(workspace),
        *scratch = others + (parts_ - 1) * p_.weight_count();
  const int64_t lines = p_.batch * p_.out().h;
#pragma omp parallel for schedule(dynamic) collapse(3) num_threads(threads_)
  for (int64_t part = 0; part < parts_; ++part)
    for (int64_t kh = 0; kh < p_.kernel.h; ++kh)
      for (int64_t block = 0; block < blocks_; ++block) {
        const int64_t channel = block * channels_per_task_;
        const Task task = {kh, channel, std::min(channels_per_task_, p_.out_channels - channel),
                           part * lines / parts_, (part + 1) * lines / parts_};
        float* g = (part == 0 ? sums : others + (part - 1) * p_.weight_count()) + channel * stride_ +
                   kh * p_.kernel.w * window_;
        float* own = scratch + omp_get_thread_num() * scratch_count();
        if constexpr (tiles_exist)
          if (arithmetic_.tiles) {
            add_by_tiles(task, x.as<bfloat16>(), y.as<bfloat16>(), g, own);
            continue;
          }
        with_storage_type(arithmetic_.activation,
                          [&]<typename T>(T) { add(task, x.as<T>(), y.as<T>(), g, own); });
      }

  for_pieces(parts_ > 1 ? p_.weight_count() : 0, 4096, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t part = 1; part < parts_; ++part) {
      const float* more = others + (part - 1) * p_.weight_count();
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) sums[i] += more[i];
    }
  });
}

int64_t WeightGradient::input_line(int64_t nh, int64_t ow, int64_t kh, int64_t kw) const {
  const int64_t n = nh / p_.out().h, h = nh % p_.out().h * p_.stride.h + kh - p_.padding.h,
                w = ow * p_.stride.w + kw - p_.padding.w;
  return h < 0 || h >= p_.in.h || w < 0 || w >= p_.in.w ? -1 : (n * p_.in.h + h) * p_.in.w + w;
}

int64_t WeightGradient::first_new_line(int64_t ow) const {
  return ow == 0 ? 0 : std::max<int64_t>(0, p_.kernel.w - p_.stride.w);
}

// g, the task's weights, has rows of kw * window_ numbers, stride_ apart. They and the few lines that
// neighbouring outputs share stay in the second-level cache.
template <typename T>
void WeightGradient::add(const Task& task, const T* x, const T* y, float* g, float* scratch) const {
  const Extent3 out = p_.out();
  const VectorScratch sizes(p_.kernel.w, channels_per_task_, window_, step_, out.e);
  float *lines = scratch, *outputs = lines + p_.kernel.w * sizes.line, *windows = outputs + sizes.outputs;
  const int64_t pieces = (out.e + sizes.steps - 1) / sizes.steps;
  const int64_t copied = std::min(line_, sizes.line - before_);
  for (int64_t kw = 0; kw < p_.kernel.w; ++kw) {  // around what is copied there it remains zero
    float* line = lines + kw * sizes.line;
    std::fill_n(line, before_, 0.0f);
    std::fill(line + before_ + copied, line + sizes.line, 0.0f);
  }
  for (int64_t c = 0; c < task.channels; ++c) std::fill_n(g + c * stride_, p_.kernel.w * window_, 0.0f);
  for (int64_t nh = task.begin; nh < task.end; ++nh)
    for (int64_t ow = 0; ow < out.w; ++ow) {
      for (int64_t kw = first_new_line(ow); kw < p_.kernel.w; ++kw)
        if (const int64_t from = input_line(nh, ow, task.kh, kw); from >= 0)
          convert(x + from * line_, copied, lines + from % p_.kernel.w * sizes.line + before_);
      for (int64_t piece = 0; piece < pieces; ++piece) {
        const int64_t begin = piece * out.e / pieces, count = (piece + 1) * out.e / pieces - begin;
        gather_outputs(y + ((nh * out.w + ow) * out.e + begin) * p_.out_channels + task.channel,
                       p_.out_channels, count, task.channels, outputs);
        for (int64_t kw = 0; kw < p_.kernel.w; ++kw) {
          const int64_t from = input_line(nh, ow, task.kh, kw);
          if (from < 0) continue;
          const float* line = lines + from % p_.kernel.w * sizes.line + begin * step_;
          for (int64_t column = 0, width; column < window_; column += width * lanes) {
            const int64_t left = window_ - column, whole = (left + lanes - 1) / lanes;
            // Four are twice two: a tile of one vector spends as much on loading as on multiplying.
            width = whole == 4 ? 2 : std::min<int64_t>(whole, vectors);
            const auto add_width = width == 1   ? add_columns<1>
                                   : width == 2 ? add_columns<2>
                                                : add_columns<vectors>;
            add_width(line + column, step_, outputs, count, task.channels, left, windows,
                      g + kw * window_ + column, stride_);
          }
        }
      }
    }
}

#ifdef __AVX512F__
void WeightGradient::add_by_tiles(const Task& task, const bfloat16* x, const bfloat16* y, float* g,
                                  float* scratch) const {
  const Extent3 out = p_.out();
  const TileScratch sizes(p_, channels_per_task_);
  float* sums = scratch;
  bfloat16* outputs = reinterpret_cast<bfloat16*>(sums + sizes.sums);
  bfloat16* windows = outputs + sizes.neighbours * sizes.outputs;
  bfloat16* piece = windows + sizes.lines * sizes.windows;
  const int64_t columns = sizes.columns * tile_rows, rows = (task.channels + tile_rows - 1) / tile_rows,
                width = p_.kernel.w * columns, number = sizeof(bfloat16);
  std::fill_n(sums, sizes.sums, 0.0f);
  const auto interleave = [&](const bfloat16* line, bfloat16* tiles) {
    for (int64_t k = 0; k < sizes.depth; ++k, tiles += tile_numbers) {
      const int64_t begin = k * tile_depth * step_ - before_, end = begin + sizes.piece;
      const bool inside = begin >= 0 && end <= line_;
      if (!inside) copy_window(line, line_, begin, sizes.piece, piece);
      interleave_to_tiles(inside ? line + begin : piece, step_, sizes.columns, tiles,
                          sizes.depth * tile_numbers);
    }
  };
  const TilesInUse in_use(*arithmetic_.tiles);
  for (int64_t nh = task.begin; nh < task.end; ++nh)
    for (int64_t first = 0; first < out.w; first += sizes.neighbours) {
      const int64_t count = std::min(sizes.neighbours, out.w - first);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t ow = first + i;
        transpose_to_tiles(y + (nh * out.w + ow) * out.e * p_.out_channels + task.channel, p_.out_channels,
                           out.e, task.channels, outputs + i * sizes.outputs);
        for (int64_t kw = first_new_line(ow); kw < p_.kernel.w; ++kw) {
          const int64_t from = input_line(nh, ow, task.kh, kw);
          if (from < 0) continue;
          interleave(x + from * line_, windows + from % sizes.lines * sizes.windows);
        }
      }
      // What the next outputs need is fetched while these are multiplied.
      TilePrefetchQueue ahead;
      const bool last = first + count == out.w;
      const int64_t next_nh = nh + last, next = last ? 0 : first + count;
      if (next_nh < task.end)
        for (int64_t ow = next; ow < std::min(next + sizes.neighbours, out.w); ++ow) {
          const int64_t from = (next_nh * out.w + ow) * out.e * p_.out_channels;
          ahead.add(y + from, out.e * p_.out_channels * number);
          for (int64_t kw = first_new_line(ow); kw < p_.kernel.w; ++kw)
            if (const int64_t line = input_line(next_nh, ow, task.kh, kw); line >= 0)
              ahead.add(x + line * line_, line_ * number);
        }
      const int64_t blocks = p_.kernel.w * ((rows + 1) / 2) * ((sizes.columns + 1) / 2),
                    ahead_lines = ahead.bytes() / (blocks * cache_line) + 1;
      for (int64_t kw = 0; kw < p_.kernel.w; ++kw) {
        std::array<TilePair, most_neighbours> products;
        int64_t inside = 0;
        for (int64_t i = 0; i < count; ++i)
          if (const int64_t from = input_line(nh, first + i, task.kh, kw); from >= 0)
            products[static_cast<size_t>(inside++)] = {outputs + i * sizes.outputs,
                                                       windows + from % sizes.lines * sizes.windows};
        if (inside > 0)
          arithmetic_.tiles->add_products(products.data(), inside, rows, sizes.depth, sizes.columns, ahead,
                                          ahead_lines, sums + kw * columns, width);
      }
    }
  for (int64_t c = 0; c < task.channels; ++c)
    for (int64_t kw = 0; kw < p_.kernel.w; ++kw)
      std::copy_n(sums + c * width + kw * columns, window_, g + c * stride_ + kw * window_);
}
#endif

}  // namespace eelsvae::cpu
