#pragma once

#include <cstdint>

#include "kernels/philox.h"

namespace eelsvae {

// What a draw of the simulator, or of an injection of anomalies, is for; each has its own index space. New
// purposes go to the end, so that a seed keeps giving the image it gave.
enum class SimulationDraw : uint64_t {
  noise,
  channel_gain,
  line_brightness,
  thickness_waves,
  drift_phase,
  hot_pixel,
  places,
  signs,
  drift_walk,
  drift_jump,
  line_direction,
  lattice_origin,
  cosmic_ray,
  injected_places,
  injected_signs,
  grains,
  scan_distortion,
  scan_jitter,
  columns
};

inline Philox4 draw(uint64_t seed, SimulationDraw purpose, int64_t index) {
  return philox(seed, RandomStream::simulation, static_cast<uint64_t>(purpose), static_cast<uint64_t>(index));
}

inline double normal_draw(uint64_t seed, SimulationDraw purpose, int64_t index) {
  Philox4 r = draw(seed, purpose, index);
  return normal_pair(r.v[0], r.v[1]).first;
}

}  // namespace eelsvae
