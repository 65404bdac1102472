#include "io/reports/png.h"

#include <algorithm>
#include <stdexcept>

#include <png.h>

#include "io/files/atomic_file.h"
#include "kernels/error.h"

namespace eelsvae {

Image::Image(int64_t columns, int64_t rows, Colour background) : width(columns), height(rows) {
  samples.resize(static_cast<size_t>(columns * rows * 3));
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = background[i % 3];
}

void Image::set(int64_t column, int64_t row, Colour colour) {
  if (column < 0 || row < 0 || column >= width || row >= height) return;
  std::copy(colour.begin(), colour.end(), samples.begin() + (row * width + column) * channels);
}

void Image::fill(int64_t left, int64_t top, int64_t columns, int64_t rows, Colour colour) {
  for (int64_t row = std::max<int64_t>(top, 0); row < std::min(top + rows, height); ++row) {
    for (int64_t column = left; column < left + columns; ++column) set(column, row, colour);
  }
}

Colour Image::at(int64_t column, int64_t row) const {
  const uint8_t* sample = samples.data() + (row * width + column) * channels;
  return {sample[0], sample[1], sample[2]};
}

std::string encode_png(const Image& image) {
  expect(image.channels == 3 || image.channels == 4, "an image has 3 or 4 channels");
  expect(static_cast<int64_t>(image.samples.size()) == image.width * image.height * image.channels,
         "an image's samples do not match its size");
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = image.channels == 4 ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
  // The bound for incompressible samples; the call reports how much it used.
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::string bytes(size, '\0');
  if (!png_image_write_to_memory(&header, bytes.data(), &size, 0, image.samples.data(), 0, nullptr)) {
    throw std::runtime_error(std::string("libpng: ") + header.message);
  }
  bytes.resize(size);
  return bytes;
}

void write_png(const std::string& path, const Image& image) {
  write_file(path, encode_png(image));
}

}  // namespace eelsvae
