#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

// An EELS spectrum image: counts (y, x, E), energy innermost.
struct SpectrumImage {
  std::string title;
  Axis y, x, energy;            // energy loss in eV once calibrated
  std::vector<float> counts;    // y.size * x.size * energy.size
  std::string metadata = "{}";  // acquisition metadata as JSON text, carried along unread

  int64_t pixels() const { return y.size * x.size; }
  const float* spectrum(int64_t pixel) const { return counts.data() + pixel * energy.size; }
  float* spectrum(int64_t pixel) { return counts.data() + pixel * energy.size; }
};

}  // namespace eelsvae
