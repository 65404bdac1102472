#include "kernels/cpu/weight_gradient.h"

#include <vector>

#include <omp.h>

#include "kernels/cpu/loops.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vectors.h"

namespace eelsvae::cpu {
namespace {

// For a line of outputs along the energy axis and one tap (kh, kw), the energy taps and input channels that
// an output sees are `window_` neighbours of a line of x, whatever the stride. So the tap's gradient is a
// product
//   g[oc, column] += sum over o of y[o, oc] * x[o * step_ - before_ + column]
// of the two lines as they lie in memory. oneDNN 2.6's own kernels reach half to three quarters of the
// processor's rate where a kernel steps by two on channels-last arrays, and in bf16 copy both arrays,
// transposed, to memory.

// A tile of so many channels by so many vectors of columns stays in registers while o runs.
constexpr int rows = lanes >= 16 ? 8 : 4, vectors = lanes >= 16 ? 3 : 2;
// So many steps of o at a time: a tile's neighbours find both lines' pieces in the first-level cache.
constexpr int64_t steps = 64;
// Work is shared out in about so many tasks.
constexpr int64_t tasks = 64;

struct Line {
  const float *x, *y;    // at the first output
  int64_t step;          // from one output's window in x to the next one's
  int64_t out_channels;  // from one output in y to the next
};

template <int Rows, int Vectors>
void add_tile(const Line& line, int64_t count, int64_t columns, float* g, int64_t stride) {
  Vector sums[Rows][Vectors] = {};
  const float *x = line.x, *y = line.y;
  for (int64_t o = 0; o < count; ++o, x += line.step, y += line.out_channels) {
    Vector xv[Vectors];
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) xv[v] = load(x + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v) sums[r][v] += xv[v] * y[r];
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) {
      float* target = g + r * stride + v * lanes;
      if (const int64_t left = columns - v * lanes; left >= lanes) {
        (load(target) + sums[r][v]).copy_to(target, stdx::element_aligned);
      } else {
        for (int64_t i = 0; i < left; ++i) target[i] += sums[r][v][static_cast<size_t>(i)];
      }
    }
}

template <int Vectors>
void add_columns(const Line& line, int64_t count, int64_t channels, int64_t columns, float* g,
                 int64_t stride) {
  int64_t c = 0;
  for (; c + rows <= channels; c += rows)
    add_tile<rows, Vectors>({line.x, line.y + c, line.step, line.out_channels}, count, columns,
                            g + c * stride, stride);
  for (; c < channels; ++c)
    add_tile<1, Vectors>({line.x, line.y + c, line.step, line.out_channels}, count, columns, g + c * stride,
                         stride);
}

// Outputs whose windows, and what the last vector reads beyond them, lie inside the line.
void add_inside(Line line, int64_t count, int64_t channels, int64_t window, float* g, int64_t stride) {
  for (int64_t begin = 0; begin < count; begin += steps) {
    const int64_t n = std::min(steps, count - begin);
    for (int64_t column = 0, width; column < window; column += width * lanes) {
      const Line at = {line.x + column, line.y, line.step, line.out_channels};
      const int64_t left = window - column, whole = (left + lanes - 1) / lanes;
      // Four are twice two: a tile of one vector spends as much on loading as on multiplying.
      width = whole == 4 ? 2 : std::min<int64_t>(whole, vectors);
      if (width == 1) add_columns<1>(at, n, channels, left, g + column, stride);
      if (width == 2) add_columns<2>(at, n, channels, left, g + column, stride);
      if (width == 3) add_columns<vectors>(at, n, channels, left, g + column, stride);
    }
    line.x += n * line.step;
    line.y += n * line.out_channels;
  }
}

// One output with the part [first, last) of its window.
void add_edge(const float* x, const float* y, int64_t channels, int64_t first, int64_t last, float* g,
              int64_t stride) {
  for (int64_t c = 0; c < channels; ++c) {
    const float factor = y[c];
    float* row = g + c * stride;
#pragma omp simd
    for (int64_t i = first; i < last; ++i) row[i] += factor * x[i];
  }
}

const float* as_floats(const float* values, int64_t, int64_t, int64_t, float*) {
  return values;
}
// Rows of `width` numbers, `pitch` apart, to rows of the same pitch.
const float* as_floats(const bfloat16* values, int64_t rows_, int64_t width, int64_t pitch, float* to) {
  for (int64_t r = 0; r < rows_; ++r) {
    int64_t i = r * pitch;
    const int64_t end = i + width;
    for (; i + lanes <= end; i += lanes) load(values + i).copy_to(to + i, stdx::element_aligned);
    for (; i < end; ++i) to[i] = static_cast<float>(values[i]);
  }
  return to;
}

int64_t rounded_up(int64_t count, int64_t multiple = lanes) {
  return (count + multiple - 1) / multiple * multiple;
}

// What a thread needs to work by tiles: sums of a task's channels for every kw, the outputs of a line, the
// windows of kw lines of x, and a line of x with zeros around it. Counts are of floats for sums, else of
// bf16.
struct TileScratch {
  int64_t depth, columns;  // tiles
  int64_t sums, outputs, windows, line;

  TileScratch(int64_t kw, int64_t channels, int64_t window, int64_t step, int64_t count)
      : depth(rounded_up(count, tile_depth) / tile_depth),
        columns(rounded_up(window, tile_rows) / tile_rows),
        sums(channels * kw * columns * tile_rows),
        outputs(depth * channels / tile_rows * tile_numbers),
        windows(depth * columns * tile_numbers),
        line(rounded_up((depth * tile_depth - 1) * step + columns * tile_rows, tile_depth)),
        lines_(kw) {}
  int64_t count() const { return sums + (outputs + lines_ * windows + line) / 2; }

 private:
  int64_t lines_;
};

}  // namespace

WeightGradient::WeightGradient(const Conv3dProblem& problem, DType activation)
    : p_(problem),
      activation_(activation),
      tiles_(activation == DType::bf16 && has_tiles()),
      threads_(omp_get_max_threads()) {
  window_ = p_.kernel.e * p_.in_channels;
  stride_ = p_.kernel.volume() * p_.in_channels;  // from an output channel's weights to the next one's
  step_ = p_.stride.e * p_.in_channels;
  line_ = p_.in.e * p_.in_channels;
  before_ = p_.padding.e * p_.in_channels;
  channels_per_task_ = tiles_ ? 128 : 64;
  blocks_ = (p_.out_channels + channels_per_task_ - 1) / channels_per_task_;
  parts_ = std::clamp<int64_t>(tasks / (p_.kernel.h * blocks_), 1, p_.batch * p_.out().h);
}

int64_t WeightGradient::scratch_count() const {
  const int64_t outputs = p_.out().e;
  if (tiles_) return TileScratch(p_.kernel.w, channels_per_task_, window_, step_, outputs).count();
  return activation_ == DType::f32 ? 0 : rounded_up(line_) + rounded_up(outputs * p_.out_channels);
}

size_t WeightGradient::workspace_bytes() const {
  const int64_t count = (parts_ > 1 ? parts_ * p_.weight_count() : 0) + threads_ * scratch_count();
  return static_cast<size_t>(count) * sizeof(float);
}

void WeightGradient::run(ConstArray x, ConstArray y, Array gradient, void* workspace) const {
  expect(x.count == p_.x_count() && y.count == p_.y_count() && gradient.count == p_.weight_count(),
         "weight gradient: wrong sizes");
  float* partial = parts_ > 1 ? static_cast<float*>(workspace) : gradient.as<float>();
  float* scratch = static_cast<float*>(workspace) + (parts_ > 1 ? parts_ * p_.weight_count() : 0);
  const int64_t lines = p_.batch * p_.out().h;
#pragma omp parallel for schedule(dynamic) collapse(3) num_threads(threads_)
  for (int64_t part = 0; part < parts_; ++part)
    for (int64_t kh = 0; kh < p_.kernel.h; ++kh)
      for (int64_t block = 0; block < blocks_; ++block) {
        const int64_t channel = block * channels_per_task_;
        const Task task = {kh, channel, std::min(channels_per_task_, p_.out_channels - channel),
                           part * lines / parts_, (part + 1) * lines / parts_};
        float* g = partial + part * p_.weight_count() + channel * stride_ + kh * p_.kernel.w * window_;
        float* own = scratch + omp_get_thread_num() * scratch_count();
        if (tiles_)
          add_by_tiles(task, x.as<bfloat16>(), y.as<bfloat16>(), g, own);
        else
          with_activation_type(activation_, [&]<typename T>(T) { add(task, x.as<T>(), y.as<T>(), g, own); });
      }

  if (parts_ > 1)
    for_pieces(p_.weight_count(), 4096, [&](int64_t begin, int64_t end, int64_t) {
      float* sums = gradient.as<float>();
      for (int64_t i = begin; i < end; ++i) {
        sums[i] = 0;
        for (int64_t part = 0; part < parts_; ++part) sums[i] += partial[part * p_.weight_count() + i];
      }
    });
}

int64_t WeightGradient::input_line(int64_t nh, int64_t ow, int64_t kh, int64_t kw) const {
  const int64_t n = nh / p_.out().h, h = nh % p_.out().h * p_.stride.h + kh - p_.padding.h,
                w = ow * p_.stride.w + kw - p_.padding.w;
  return h < 0 || h >= p_.in.h || w < 0 || w >= p_.in.w ? -1 : (n * p_.in.h + h) * p_.in.w + w;
}

// g, the task's weights, has rows of kw * window_ numbers, stride_ apart. They and the few lines that
// neighbouring outputs share stay in the second-level cache.
template <typename T>
void WeightGradient::add(const Task& task, const T* x, const T* y, float* g, float* scratch) const {
  const Extent3 out = p_.out();
  // Outputs [inside, outside) read nothing outside the line, not even with their last vector.
  const int64_t inside = std::min(out.e, (before_ + step_ - 1) / step_);
  const int64_t fits = line_ + before_ - rounded_up(window_);
  const int64_t outside = std::clamp(fits < 0 ? 0 : fits / step_ + 1, inside, out.e);
  float* wide_y = scratch + rounded_up(line_);
  for (int64_t c = 0; c < task.channels; ++c) std::fill_n(g + c * stride_, p_.kernel.w * window_, 0.0f);
  for (int64_t nh = task.begin; nh < task.end; ++nh)
    for (int64_t ow = 0; ow < out.w; ++ow) {
      const float* outputs = as_floats(y + (nh * out.w + ow) * out.e * p_.out_channels + task.channel, out.e,
                                       task.channels, p_.out_channels, wide_y);
      for (int64_t kw = 0; kw < p_.kernel.w; ++kw) {
        const int64_t from = input_line(nh, ow, task.kh, kw);
        if (from < 0) continue;
        const float* line = as_floats(x + from * line_, 1, line_, line_, scratch);
        float* tap = g + kw * window_;
        const auto edge = [&](int64_t o) {
          const int64_t first = o * step_ - before_;  // where the window starts in the line
          add_edge(line + first, outputs + o * p_.out_channels, task.channels, std::max<int64_t>(0, -first),
                   std::min(window_, line_ - first), tap, stride_);
        };
        for (int64_t o = 0; o < inside; ++o) edge(o);
        add_inside(
            {line + inside * step_ - before_, outputs + inside * p_.out_channels, step_, p_.out_channels},
            outside - inside, task.channels, window_, tap, stride_);
        for (int64_t o = outside; o < out.e; ++o) edge(o);
      }
    }
}

void WeightGradient::add_by_tiles(const Task& task, const bfloat16* x, const bfloat16* y, float* g,
                                  float* scratch) const {
  const Extent3 out = p_.out();
  const TileScratch sizes(p_.kernel.w, channels_per_task_, window_, step_, out.e);
  float* sums = scratch;
  bfloat16* outputs = reinterpret_cast<bfloat16*>(sums + sizes.sums);
  bfloat16* windows = outputs + sizes.outputs;
  bfloat16* line = windows + p_.kernel.w * sizes.windows;
  const int64_t columns = sizes.columns * tile_rows, rows = (task.channels + tile_rows - 1) / tile_rows,
                width = p_.kernel.w * columns;
  std::fill_n(sums, sizes.sums, 0.0f);
  std::fill_n(line, sizes.line, bfloat16(0.0f));  // around what is copied there it remains so
  const int64_t copied = std::min(line_, sizes.line - before_);
  // Which line of x the windows hold: neighbouring outputs share lines.
  std::vector<int64_t> held(static_cast<size_t>(p_.kernel.w), -1);
  const TilesInUse in_use;
  for (int64_t nh = task.begin; nh < task.end; ++nh)
    for (int64_t ow = 0; ow < out.w; ++ow) {
      transpose_to_tiles(y + (nh * out.w + ow) * out.e * p_.out_channels + task.channel, p_.out_channels,
                         out.e, task.channels, outputs);
      for (int64_t kw = 0; kw < p_.kernel.w; ++kw) {
        const int64_t from = input_line(nh, ow, task.kh, kw), slot = from % p_.kernel.w;
        if (from < 0) continue;
        bfloat16* window = windows + slot * sizes.windows;
        if (int64_t& holds = held[static_cast<size_t>(slot)]; holds != from) {
          std::copy_n(x + from * line_, copied, line + before_);
          interleave_to_tiles(line, step_, sizes.depth, sizes.columns, window);
          holds = from;
        }
        add_tile_product(outputs, window, rows, sizes.depth, sizes.columns, sums + kw * columns, width);
      }
    }
  for (int64_t c = 0; c < task.channels; ++c)
    for (int64_t kw = 0; kw < p_.kernel.w; ++kw)
      std::copy_n(sums + c * width + kw * columns, window_, g + c * stride_ + kw * window_);
}

}  // namespace eelsvae::cpu
