#include "engine/specimen/specimen.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <optional>
#include <utility>

#include "engine/specimen/simulation_draws.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr double pi = 3.14159265358979323846;
constexpr const char* names[] = {"bfo",     "interface",   "gradient",         "drift",
                                 "wedge",   "damage",      "hetero",           "polycrystal",
                                 "lattice", "lattice-110", "lattice-interface"};

void check(const SpecimenParameters& p) {
  auto shares = [](double share) { return share >= 0 && share <= 1; };
  if (!shares(p.manganese[0]) || !shares(p.manganese[1]))
    throw UserError("the share of Mn must lie between 0 and 1");
  if (!shares(p.damage)) throw UserError("the damage must lie between 0 and 1");
  if (!(p.drift_ev >= 0 && p.drift_ev <= 50))
    throw UserError("the energy drift must lie between 0 and 50 eV");
  const auto [thin, thick] = std::minmax(p.thickness[0], p.thickness[1]);
  if (!(thin >= 0.05 && thick <= 3) && !(thin == 0 && thick == 0))
    throw UserError("the thickness must lie between 0.05 and 3 mean free paths");
  for (const auto& [what, degrees] :
       {std::pair{"the angle of the interface", p.interface_angle_deg},
        std::pair{"the direction of the Mn gradient", p.manganese_direction_deg},
        std::pair{"the direction of the thickness wedge", p.thickness_direction_deg}})
    if (!(std::abs(degrees) <= 360))
      throw UserError(std::string(what) + " must lie between -360 and 360 degrees");
  if (!shares(p.interface_position))
    throw UserError("the position of the interface must lie between 0 and 1");
  if (!(p.grain_nm >= 0 && p.grain_nm <= 1e6))
    throw UserError("the width of grains must lie between 0 and 1e6 nm");
  if (!(p.interface_width_nm >= 0 && p.interface_width_nm <= 1e6))
    throw UserError("the width of the interface must lie between 0 and 1e6 nm");
  if (p.lattice.axis != ZoneAxis::none) check_lattice(p.lattice);
}

// bfo's drift: a slow wave of a third of a channel.
std::vector<double> slow_drift(int64_t height, uint64_t seed) {
  std::vector<double> drift(static_cast<size_t>(height));
  const double first_phase = uniform(draw(seed, SimulationDraw::drift_phase, 0).v[0]);
  for (int64_t y = 0; y < height; ++y) {
    const double progress = static_cast<double>(y) / static_cast<double>(height);
    drift[static_cast<size_t>(y)] = 0.1 * std::sin(2 * pi * (0.7 * progress + first_phase));
  }
  return drift;
}

// A slow wave of amplitude 1, a random walk that reaches about 0.5 over the scan, and a jump of up to 0.7 in
// one line of 40; the sum, less its mean, is scaled to the largest drift asked for.
std::vector<double> strong_drift(double largest_ev, int64_t height, uint64_t seed) {
  std::vector<double> drift = slow_drift(height, seed);
  double walk = 0;
  for (int64_t y = 0; y < height; ++y) {
    walk += 0.5 / std::sqrt(static_cast<double>(height)) * normal_draw(seed, SimulationDraw::drift_walk, y);
    const Philox4 jump = draw(seed, SimulationDraw::drift_jump, y);
    if (y > 0 && uniform(jump.v[0]) < 1.0 / 40) walk += 1.4 * uniform(jump.v[1]) - 0.7;
    drift[static_cast<size_t>(y)] = drift[static_cast<size_t>(y)] / 0.1 + walk;
  }
  const double mean = std::accumulate(drift.begin(), drift.end(), 0.0) / static_cast<double>(height);
  double largest = 0;
  for (double& d : drift) largest = std::max(largest, std::abs(d -= mean));
  for (double& d : drift) d *= largest > 0 ? largest_ev / largest : 0;
  return drift;
}

// A direction across an image of so many pixels: 0 degrees to the right, 90 down.
class Direction {
 public:
  Direction(double degrees, int64_t height, int64_t width)
      : last_y_(static_cast<double>(height - 1)), last_x_(static_cast<double>(width - 1)) {
    const double turns = degrees / 90;
    cos_ = std::cos(degrees * pi / 180);
    sin_ = std::sin(degrees * pi / 180);
    if (turns == std::floor(turns)) {  // along an axis exactly, where the other one must not count
      cos_ = std::round(cos_);
      sin_ = std::round(sin_);
    }
  }
  // Distance in pixels from the first corner to the last.
  double extent() const { return std::abs(cos_) * last_x_ + std::abs(sin_) * last_y_; }
  // The part of a step that lies in this direction.
  double along(double dy, double dx) const { return dx * cos_ + dy * sin_; }
  // Of the way from the first corner to the last, 0 to 1.
  double share(double y, double x) const {
    const double along_x = cos_ < 0 ? last_x_ - x : x;
    const double along_y = sin_ < 0 ? last_y_ - y : y;
    return extent() > 0 ? (std::abs(cos_) * along_x + std::abs(sin_) * along_y) / extent() : 0.5;
  }

 private:
  double last_y_, last_x_, cos_, sin_;
};

// Grains around points that lie anywhere in the image (Voronoi), so many that they have the mean width asked
// for, and their phases by turns, so that even few grains have all four.
class Grains {
 public:
  Grains(double width_nm, int64_t height, int64_t width, double pixel_size_nm, uint64_t seed) {
    const double rows = static_cast<double>(height), columns = static_cast<double>(width);
    const double grains = rows * columns * pixel_size_nm * pixel_size_nm / (width_nm * width_nm);
    const auto count = static_cast<int64_t>(std::clamp(std::round(grains), 4.0, 1e4));
    for (int64_t i = 0; i < count; ++i) {
      const Philox4 r = draw(seed, SimulationDraw::grains, i);
      points_.push_back({pixel_size_nm * (uniform(r.v[0]) * rows - 0.5),
                         pixel_size_nm * (uniform(r.v[1]) * columns - 0.5), static_cast<int>(i % 4)});
    }
  }

  // Substrate and Mn of a place; across a boundary they follow an error function of this width.
  PixelMaterial at(double y_nm, double x_nm, double diffusion_nm) const {
    const Point *nearest = nullptr, *second = nullptr;
    for (const Point& point : points_) {
      if (!nearest || distance(point, y_nm, x_nm) < distance(*nearest, y_nm, x_nm))
        second = std::exchange(nearest, &point);
      else if (!second || distance(point, y_nm, x_nm) < distance(*second, y_nm, x_nm))
        second = &point;
    }
    // How far the boundary is, which lies halfway between the two.
    const double apart = std::max(std::hypot(nearest->y - second->y, nearest->x - second->x), 1e-9);
    const double near = distance(*nearest, y_nm, x_nm), far = distance(*second, y_nm, x_nm);
    const double depth = (far * far - near * near) / (2 * apart);
    const double share = diffusion_nm > 0 ? 0.5 * (1 + std::erf(depth / diffusion_nm)) : 1;
    PixelMaterial material;
    for (const auto& [grain, weight] : {std::pair{nearest, share}, std::pair{second, 1 - share}}) {
      material.substrate += weight * phases[static_cast<size_t>(grain->phase)].first;
      material.manganese += weight * phases[static_cast<size_t>(grain->phase)].second;
    }
    return material;
  }

 private:
  struct Point {
    double y, x;  // nm
    int phase;
  };
  static constexpr std::array<std::pair<double, double>, 4> phases = {
      {{0, 0}, {0, 0.5}, {1, 0}, {0.5, 0}}};  // substrate, Mn
  static double distance(const Point& point, double y_nm, double x_nm) {
    return std::hypot(point.y - y_nm, point.x - x_nm);
  }
  std::vector<Point> points_;
};

double between(const std::array<double, 2>& ends, double share) {
  return ends[0] + (ends[1] - ends[0]) * share;
}

}  // namespace

std::string preset_name(Preset preset) {
  return names[static_cast<size_t>(preset)];
}

std::vector<std::string> preset_names() {
  return {std::begin(names), std::end(names)};
}

Preset preset_named(const std::string& name) {
  const auto* found = std::find(std::begin(names), std::end(names), name);
  if (found != std::end(names)) return static_cast<Preset>(found - std::begin(names));
  std::string known;
  for (const char* preset : names) known += std::string(known.empty() ? "" : ", ") + preset;
  throw UserError("there is no preset " + name + "; there are " + known);
}

SpecimenParameters preset_parameters(Preset preset) {
  SpecimenParameters p;
  switch (preset) {
    case Preset::bfo:
      break;
    case Preset::interface:
      p.interface = true;
      break;
    case Preset::gradient:
      p.manganese = {0, 1};
      break;
    case Preset::drift:
      p.drift_ev = 1.5;
      break;
    case Preset::wedge:
      p.thickness = {0.3, 1.2};
      break;
    case Preset::damage:
      p.damage = 0.5;
      break;
    case Preset::hetero:
      p.interface = true;
      p.manganese = {0, 0.4};
      p.drift_ev = 0.5;
      p.thickness = {0.4, 0.7};
      break;
    case Preset::polycrystal:
      p.grain_nm = 20;
      p.interface_width_nm = 1.5;
      break;
    case Preset::lattice:
      p.lattice.axis = ZoneAxis::axis_001;
      break;
    case Preset::lattice_110:
      p.lattice.axis = ZoneAxis::axis_110;
      break;
    case Preset::lattice_interface:  // along a row of columns, and as sharp
      p.lattice.axis = ZoneAxis::axis_001;
      p.interface = true;
      p.interface_angle_deg = p.lattice.rotation_deg;
      p.interface_width_nm = 0;
      break;
  }
  return p;
}

double preset_pixel_nm(Preset preset) {
  return preset_parameters(preset).lattice.axis == ZoneAxis::none ? 1.0 : 0.04;
}

Specimen make_specimen(const SpecimenParameters& p, int64_t height, int64_t width, double pixel_size_nm,
                       uint64_t seed) {
  check(p);
  Specimen specimen;
  specimen.height = height;
  specimen.width = width;
  specimen.drift_ev = p.drift_ev > 0 ? strong_drift(p.drift_ev, height, seed) : slow_drift(height, seed);
  specimen.materials.resize(static_cast<size_t>(height * width));
  const Direction to_substrate(p.interface_angle_deg, height, width),
      to_manganese(p.manganese_direction_deg, height, width),
      of_wedge(p.thickness_direction_deg, height, width);
  const double interface_nm = (p.interface_position - 0.5) * pixel_size_nm * to_substrate.extent();
  // An error function, as interdiffusion makes it: it goes from 10 to 90 % over 1.812 of its widths
  // sqrt(4Dt).
  const double diffusion_nm = p.interface_width_nm / 1.812;
  std::optional<Grains> grains;
  if (p.grain_nm > 0) grains.emplace(p.grain_nm, height, width, pixel_size_nm, seed);
  const auto scan = static_cast<double>(std::max<int64_t>(height * width - 1, 1));
  // Of a place, in pixels; columns of atoms may stand beside the image, where nothing is less than at its
  // sides.
  const auto material_at = [&](double y, double x) {
    PixelMaterial material;
    const double dy = pixel_size_nm * (y - 0.5 * static_cast<double>(height - 1));
    const double dx = pixel_size_nm * (x - 0.5 * static_cast<double>(width - 1));
    const double depth_nm = to_substrate.along(dy, dx) - interface_nm;
    if (p.interface)
      material.substrate =
          diffusion_nm > 0 ? 0.5 * (1 + std::erf(depth_nm / diffusion_nm)) : (depth_nm > 0 ? 1.0 : 0.0);
    material.manganese = between(p.manganese, std::clamp(to_manganese.share(y, x), 0.0, 1.0));
    if (grains) material = grains->at(pixel_size_nm * y, pixel_size_nm * x, diffusion_nm);
    material.thickness = between(p.thickness, of_wedge.share(y, x));
    // The dose grows with the scan; damage comes to rest, as 1 - exp(-dose), with three critical doses at
    // the end.
    const double dose = 3 * (y * static_cast<double>(width) + x) / scan;
    material.damage = p.damage * (1 - std::exp(-dose)) / (1 - std::exp(-3.0));
    return material;
  };
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      specimen.materials[static_cast<size_t>(y * width + x)] =
          material_at(static_cast<double>(y), static_cast<double>(x));
  if (p.lattice.axis != ZoneAxis::none) {
    specimen.columns.emplace(p.lattice, specimen.materials, material_at, height, width, pixel_size_nm, seed);
    specimen.materials = specimen.columns->seen();
  }
  return specimen;
}

}  // namespace eelsvae
