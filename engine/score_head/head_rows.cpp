#include "engine/score_head/head_rows.h"

#include <algorithm>
#include <cmath>

#include "engine/score_head/score_head.h"
#include "kernels/image_operations.h"

namespace eelsvae {
namespace {

// Linear up to several times the noise and logarithmic beyond, so that doses do not matter much; about 1
// where shapes are well seen.
float compressed(float in_units_of_noise) {
  return std::asinh(in_units_of_noise / 4);
}

// A line with `reach` reflected values on either side.
std::vector<float> padded(std::span<const float> line, int64_t reach) {
  const int64_t count = std::ssize(line);
  std::vector<float> result(line.size() + 2 * static_cast<size_t>(reach));
  std::ranges::copy(line, result.begin() + reach);
  for (int64_t i = 1; i <= reach; ++i) {
    result[static_cast<size_t>(reach - i)] = line[static_cast<size_t>(reflected(-i, count))];
    result[static_cast<size_t>(reach + count - 1 + i)] =
        line[static_cast<size_t>(reflected(count - 1 + i, count))];
  }
  return result;
}

}  // namespace

HeadAxis head_axis(const Axis& energy, ChannelWindow window) {
  constexpr double widest = 0.6, edge = 10;  // eV: of a position; what is wider than an edge is background
  constexpr int64_t fewest = 128;
  const double scale = std::abs(energy.scale);
  HeadAxis axis;
  axis.first = window.first;
  axis.together = std::clamp<int64_t>(static_cast<int64_t>(std::min(widest / scale + 1e-6, 1e9)), 1,
                                      std::max<int64_t>(1, window.size() / fewest));
  axis.positions = window.size() / axis.together;
  axis.background = std::max(6.0, std::min(edge / (scale * static_cast<double>(axis.together)),
                                           static_cast<double>(axis.positions) / 4));
  return axis;
}

void add_up(const HeadAxis& axis, const float* channels, bool noise, float* positions) {
  const float unit = noise ? 1 / std::sqrt(static_cast<float>(axis.together)) : 1;
  for (int64_t p = 0; p < axis.positions; ++p) {
    const float* from = channels + axis.first + p * axis.together;
    float sum = 0;
    for (int64_t i = 0; i < axis.together; ++i) sum += from[i];
    positions[p] = unit * sum;
  }
}

std::vector<float> blurred(std::span<const float> line, double sigma) {
  constexpr double narrow = 2;
  const int64_t count = std::ssize(line);
  std::vector<float> result(line.begin(), line.end());
  if (sigma < narrow) {  // binomial weights 1 2 1, of variance 1/2, again and again
    for (int64_t pass = std::llround(2 * sigma * sigma); pass > 0; --pass) {
      const std::vector<float> from = padded(result, 1);
      for (size_t i = 0; i < result.size(); ++i)
        result[i] = 0.25f * (from[i] + 2 * from[i + 1] + from[i + 2]);
    }
    return result;
  }
  // Three running means come close to a Gaussian (Wells, IEEE Trans. PAMI 8, 234 (1986)) at a cost that does
  // not grow with it.
  const auto half = std::max<int64_t>(1, std::llround((std::sqrt(4 * sigma * sigma + 1) - 1) / 2));
  const double share = 1 / static_cast<double>(2 * half + 1);
  for (int pass = 0; pass < 3; ++pass) {
    const std::vector<float> from = padded(result, half + 1);
    double sum = 0;
    for (int64_t i = 1; i <= 2 * half + 1; ++i) sum += static_cast<double>(from[static_cast<size_t>(i)]);
    for (int64_t i = 0; i < count; ++i) {
      result[static_cast<size_t>(i)] = static_cast<float>(sum * share);
      sum += static_cast<double>(from[static_cast<size_t>(i + 2 * half + 2)]) -
             static_cast<double>(from[static_cast<size_t>(i + 1)]);
    }
  }
  return result;
}

ExpectedShape expected_shape(std::span<const float> expected, double background) {
  constexpr double fine = 0.7;  // positions: less is noise
  ExpectedShape shape{blurred(expected, fine), {}};
  shape.background = blurred(shape.smooth, background);
  return shape;
}

void head_rows(std::span<const float> z, const ExpectedShape& shape, std::span<const float> noise,
               float* rows) {
  const std::vector<float> around = padded(shape.smooth, 1);
  for (size_t i = 0; i < z.size(); ++i) {
    const float below = around[i], here = around[i + 1], above = around[i + 2], unit = 1 / noise[i];
    const float fine = compressed((here - shape.background[i]) * unit),
                slope = compressed((above - below) / 2 * unit),
                curvature = compressed((above - 2 * here + below) * unit);
    float* row = rows + static_cast<int64_t>(i) * head_features;
    row[0] = z[i];
    row[1] = fine;
    row[2] = slope;
    row[3] = curvature;
    row[4] = compressed(shape.background[i] * unit);
    row[5] = z[i] * fine;
    row[6] = z[i] * slope;
    row[7] = z[i] * curvature;
  }
}

}  // namespace eelsvae
