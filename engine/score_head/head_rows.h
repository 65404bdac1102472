#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Channels are added up to 0.6 eV at most, as long as 128 are left, so that an edge looks alike to the head
// whatever the dispersion, and fine axes cost no more. What is left at the upper end, less than a position,
// is not looked at.
struct HeadAxis {
  int64_t first = 0, together = 1;  // channels [first + i together, first + (i + 1) together) are position i
  int64_t positions = 1;
  double background = 1;  // standard deviation of what is taken for background, in positions
};
HeadAxis head_axis(const Axis& energy, ChannelWindow window);

// Sums over the channels of each position, divided by the square root of their number where they are noise.
void add_up(const HeadAxis& axis, const float* channels, bool noise, float* positions);

// A line (positions) blurred by a Gaussian of standard deviation sigma, nearly; ends are reflected.
std::vector<float> blurred(std::span<const float> line, double sigma);

// What the expected spectrum (positions) looks like around each position, and what of it is background.
struct ExpectedShape {
  std::vector<float> smooth, background;
};
ExpectedShape expected_shape(std::span<const float> expected, double background);

// Rows (positions, head_features) of a residual z in units of its noise, and of the expected spectrum: z; its
// fine structure, first and second derivative and background in units of the noise, compressed to asinh(x /
// 4); and z times the first three, whose sums over a window are what matched filters for edges that grow,
// move and broaden there give.
void head_rows(std::span<const float> z, const ExpectedShape& shape, std::span<const float> noise,
               float* rows);

}  // namespace eelsvae
