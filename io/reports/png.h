#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace eelsvae {

using Colour = std::array<uint8_t, 3>;  // red, green, blue, sRGB

// An image of 8-bit sRGB samples, rows from the top, samples of a pixel together.
struct Image {
  int64_t width = 0, height = 0;
  int64_t channels = 3;          // 3: RGB, 4: RGBA (alpha not premultiplied)
  std::vector<uint8_t> samples;  // height * width * channels

  Image() = default;
  Image(int64_t width, int64_t height, Colour background);

  // Sets one pixel of an RGB image; pixels outside the image are ignored.
  void set(int64_t column, int64_t row, Colour colour);
  // Fills columns [left, left + columns) of rows [top, top + rows), as far as they lie in the image.
  void fill(int64_t left, int64_t top, int64_t columns, int64_t rows, Colour colour);
  Colour at(int64_t column, int64_t row) const;
};

// The image as the bytes of a PNG file.
std::string encode_png(const Image& image);

// Writes the image as a PNG file; see write_file for errors.
void write_png(const std::string& path, const Image& image);

}  // namespace eelsvae
