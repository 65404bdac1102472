#include "kernels/bias_relu.h"

#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/loops.h"

namespace eelsvae {
namespace {

// Rows are taken in groups that hold at least this many values, so that a single channel vectorises as well
// as many: a group is one row of a wider matrix whose bias repeats.
constexpr int64_t group_values = 128;
// Bias gradients are summed in at most so many pieces of rows.
constexpr int64_t row_pieces = 64;

int64_t rows_per_group(int64_t channels) {
  return std::max<int64_t>(1, group_values / channels);
}

}  // namespace

void CpuBackend::bias_relu(int64_t rows, int64_t channels, ConstArray bias, bool relu, Array y) {
  expect(bias.count == channels && y.count == rows * channels, "bias_relu: wrong sizes");
  const int64_t width = channels * rows_per_group(channels);
  const float* b = bias.as<float>();
  std::vector<float> repeated;
  if (width != channels) {
    repeated.resize(static_cast<size_t>(width));
    for (int64_t i = 0; i < width; ++i) repeated[static_cast<size_t>(i)] = b[i % channels];
    b = repeated.data();
  }
  const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  cpu::with_activation_type(activation_, [&]<typename T>(T) {
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
  cpu::with_activation_type(activation_, [&]<typename T>(T) {
    const T* output = relu ? y.as<T>() : nullptr;
    T* g = gradient.as<T>();
    // Adds the masked gradient of [begin, end), which starts at a multiple of `width`, to sum[0..width).
    auto accumulate = [&](int64_t begin, int64_t end, int64_t stride, int64_t n, float* sum) {
      for (int64_t at = begin; at < end; at += stride) {
        int64_t count = std::min(n, end - at);
        if (output) {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) {
            float masked = static_cast<float>(output[at + i]) > 0 ? static_cast<float>(g[at + i]) : 0.0f;
            cpu::store(masked, g + at + i);
            sum[i] += masked;
          }
        } else {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) sum[i] += static_cast<float>(g[at + i]);
        }
      }
    };

    const int64_t width = channels * rows_per_group(channels);
    if (rows <= row_pieces) {  // few long rows: threads share the channels
      cpu::for_pieces(channels, 4096, [&](int64_t begin, int64_t end, int64_t) {
        std::fill(db + begin, db + end, 0.0f);
        for (int64_t r = 0; r < rows; ++r)
          accumulate(r * channels + begin, r * channels + end, channels, end - begin, db + begin);
      });
      return;
    }
    const int64_t groups = (gradient.count + width - 1) / width;
    const int64_t piece = (groups + row_pieces - 1) / row_pieces * width;
    const int64_t pieces = (gradient.count + piece - 1) / piece;
    // Within a piece, sums restart every so often, so that float keeps its precision over millions of rows.
    constexpr int64_t groups_per_sum = 256;
    std::vector<double> totals(static_cast<size_t>(pieces * channels), 0.0);
    cpu::for_pieces(gradient.count, piece, [&](int64_t begin, int64_t end, int64_t index) {
      std::vector<float> sum(static_cast<size_t>(width));
      double* total = totals.data() + index * channels;
      for (int64_t at = begin; at < end; at += groups_per_sum * width) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        accumulate(at, std::min(end, at + groups_per_sum * width), width, width, sum.data());
        for (int64_t i = 0; i < width; ++i) total[i % channels] += sum[static_cast<size_t>(i)];
      }
    });
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t p = 0; p < pieces; ++p) sum += totals[static_cast<size_t>(p * channels + c)];
      db[c] = static_cast<float>(sum);
    }
  });
}

}  // namespace eelsvae
