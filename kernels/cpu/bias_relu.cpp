#include "kernels/bias_relu.h"

#include <array>
#include <limits>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/streams.h"

namespace eelsvae {
namespace {

// Rows are taken in groups that hold at least this many values, so that a single channel vectorises as well
// as many: a group is one row of a wider matrix whose bias repeats.
constexpr int64_t group_values = 128;
// Bias gradients are summed in at most so many pieces of rows, for so many channels at a time.
constexpr int64_t row_pieces = 32, most_channels = 256;
static_assert(group_values <= most_channels);
// Within a piece, sums restart every so often, so that float keeps its precision over millions of rows.
constexpr int64_t rows_per_sum = 256;
// How far ahead memory is fetched: alone, the processor does not keep up with three streams of small numbers.
constexpr int64_t bytes_ahead = 2048;

int64_t rows_per_group(int64_t channels) {
  return std::max<int64_t>(1, group_values / channels);
}

// Adds rows of the masked gradient, `width` numbers that start `stride` apart, to sum[0..width).
template <bool Relu, typename T>
void mask_and_add(int64_t rows, int64_t stride, int64_t width, const T* y, T* gradient, float* sum) {
  using cpu::lanes, cpu::load, cpu::Vector;
  constexpr int64_t ahead = bytes_ahead / static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < rows; ++r, gradient += stride) {
    int64_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      __builtin_prefetch(gradient + i + ahead, Relu);
      if constexpr (Relu) __builtin_prefetch(y + i + ahead);
      Vector value = load(gradient + i);
      if constexpr (Relu) {
        value = load(y + i) > 0.0f ? value : Vector{};
        cpu::store(value, gradient + i);
      }
      cpu::store(load(sum + i) + value, sum + i);
    }
    for (; i < width; ++i) {
      float value = static_cast<float>(gradient[i]);
      if constexpr (Relu) {
        value = static_cast<float>(y[i]) > 0 ? value : 0.0f;
        cpu::store(value, gradient + i);
      }
      sum[i] += value;
    }
    if constexpr (Relu) y += stride;
  }
}

}  // namespace

void CpuBackend::bias_relu(int64_t rows, int64_t channels, ConstArray bias, bool relu, Array y) {
  expect(bias.count == channels && y.count == rows * channels, "bias_relu: wrong sizes");
  const int64_t width = channels * rows_per_group(channels);
  const float* b = bias.as<float>();
  std::array<float, group_values> repeated;
  if (width != channels) {
    for (int64_t i = 0; i < width; ++i) repeated[static_cast<size_t>(i)] = b[i % channels];
    b = repeated.data();
  }
  const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    T* values = y.as<T>();
    // A piece is a whole number of groups, or part of one long row.
    const int64_t piece = width > (1 << 16) ? width : (1 << 16) / width * width;
    cpu::for_pieces(y.count, piece, [&](int64_t begin, int64_t end, int64_t) {
      for (int64_t at = begin; at < end; at += width) {
        int64_t n = std::min(width, end - at);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          float value = static_cast<float>(values[at + i]) + b[i];
          cpu::store(value < floor ? floor : value, values + at + i);  // keeps NaN
        }
      }
    });
  });
}

void CpuBackend::bias_relu_backward(int64_t rows, int64_t channels, ConstArray y, bool relu, Array gradient,
                                    Array bias_gradient) {
  expect(gradient.count == rows * channels && bias_gradient.count == channels &&
             (!relu || y.count == gradient.count),
         "bias_relu_backward: wrong sizes");
  float* db = bias_gradient.as<float>();
  cpu::with_storage_type(arithmetic_.activation, [&]<typename T>(T) {
    const T* output = relu ? y.as<T>() : nullptr;
    T* g = gradient.as<T>();
    const auto add = [&](int64_t at, int64_t count, int64_t stride, int64_t width, float* sum) {
      if (relu)
        mask_and_add<true>(count, stride, width, output + at, g + at, sum);
      else
        mask_and_add<false>(count, stride, width, output, g + at, sum);
    };
    if (rows <= row_pieces) {  // few long rows: threads share the channels
      cpu::for_pieces(channels, 4096, [&](int64_t begin, int64_t end, int64_t) {
        std::fill(db + begin, db + end, 0.0f);
        add(begin, rows, channels, end - begin, db + begin);
      });
      return;
    }
    // A long row is a few rows of fewer channels, short rows are one of several.
    const int64_t group = rows_per_group(channels), piece = (rows / group + row_pieces) / row_pieces * group;
    for (int64_t first = 0; first < channels; first += most_channels) {
      const int64_t some = std::min(most_channels, channels - first), width = some * group;
      std::array<std::array<double, most_channels>, row_pieces> totals;
      const int64_t pieces = (rows + piece - 1) / piece;
      cpu::for_pieces(rows, piece, [&](int64_t begin, int64_t end, int64_t index) {
        std::array<double, most_channels>& total = totals[static_cast<size_t>(index)];
        total.fill(0);
        for (int64_t r = begin; r < end; r += rows_per_sum * group) {
          std::array<float, most_channels> sum{};
          const int64_t count = std::min(end - r, rows_per_sum * group), whole = count / group,
                        at = r * channels + first;
          add(at, whole, group * channels, width, sum.data());
          add(at + whole * group * channels, 1, 0, (count - whole * group) * some, sum.data());
          for (int64_t i = 0; i < width; ++i)
            total[static_cast<size_t>(i % some)] += sum[static_cast<size_t>(i)];
        }
      });
      for (int64_t c = 0; c < some; ++c) {
        double sum = 0;
        for (int64_t p = 0; p < pieces; ++p) sum += totals[static_cast<size_t>(p)][static_cast<size_t>(c)];
        db[first + c] = static_cast<float>(sum);
      }
    }
  });
}

}  // namespace eelsvae
