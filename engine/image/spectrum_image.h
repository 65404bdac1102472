#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/host_memory.h"

namespace eelsvae {

// A calibrated axis: value(i) = offset + scale * i, in `units` ("eV", "nm", "" if uncalibrated).
struct Axis {
  std::string name;
  std::string units;
  double offset = 0, scale = 1;
  int64_t size = 0;

  double value(double index) const { return offset + scale * index; }
  double index(double value) const { return (value - offset) / scale; }
  bool operator==(const Axis&) const = default;
};

// Cubes lie in huge pages and are not zeroed by resize(): the first touch of 4 KB pages takes longer than
// reading a file from the page cache. One that is too large for that lies in a scratch file.
using CountArray = std::vector<float, SpaciousAllocator<float>>;

// An EELS spectrum image: counts (y, x, E), energy innermost.
struct SpectrumImage {
  std::string title;
  Axis y, x, energy;               // energy loss in eV once calibrated
  CountArray counts;               // y.size * x.size * energy.size
  std::vector<uint8_t> excluded;   // (y, x), non-zero: left out of training and detection; empty: none
  std::string metadata = "{}";     // acquisition metadata as JSON text, carried along unread
  std::string file;                // that it was read from, for messages; "" if from none
  std::vector<std::string> notes;  // for the log: what there is to say of how it was read

  int64_t pixels() const { return y.size * x.size; }
  const float* spectrum(int64_t pixel) const { return counts.data() + pixel * energy.size; }
  float* spectrum(int64_t pixel) { return counts.data() + pixel * energy.size; }
};

// An image to be read that lies elsewhere and stays there meanwhile: a SpectrumImage, rows of one, or an
// array of another program. Its members are those of SpectrumImage.
struct SpectrumImageView {
  SpectrumImageView(const SpectrumImage& image)
      : y(image.y), x(image.x), energy(image.energy), counts(image.counts), excluded(image.excluded) {}
  // std::logic_error where counts or mask do not match the axes.
  SpectrumImageView(Axis along_y, Axis along_x, Axis along_energy, std::span<const float> all_counts,
                    std::span<const uint8_t> mask = {});

  // Rows [first, last), without a copy.
  SpectrumImageView rows(int64_t first, int64_t last) const;
  // In memory of its own, where it can be prepared.
  SpectrumImage copy() const;

  int64_t pixels() const { return y.size * x.size; }
  const float* spectrum(int64_t pixel) const { return counts.data() + pixel * energy.size; }

  Axis y, x, energy;
  std::span<const float> counts;
  std::span<const uint8_t> excluded;
};

}  // namespace eelsvae
