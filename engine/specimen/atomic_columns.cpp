#include "engine/specimen/atomic_columns.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "engine/specimen/simulation_draws.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr double pi = std::numbers::pi;
// Each atom's part of the background, in a cell of A B O3: the tails of the edges below the axis.
constexpr double background_a = 0.6, background_metal = 0.25, background_oxygen = 0.05;
constexpr double broad = 0.5;  // lattice constants: what electrons that left their column spread over

struct Site {
  double y, x;  // shares of the cell's sides
  double a, metal, oxygen;
};
struct Projection {
  double side_y, side_x;  // lattice constants
  std::span<const Site> sites;
};

// Along [001]: columns of A, of B and O, and of O, two of these. Along [110]: the cell's sides are [001] and
// half of [1-10]; columns of A and O, of B, and of two O.
constexpr Site sites_001[] = {{0, 0, 1, 0, 0}, {0.5, 0.5, 0, 1, 1}, {0, 0.5, 0, 0, 1}, {0.5, 0, 0, 0, 1}};
constexpr Site sites_110[] = {{0, 0, 1, 0, 1}, {0.5, 0, 0, 1, 0}, {0.5, 0.5, 0, 0, 2}};

Projection projection_of(ZoneAxis axis) {
  if (axis == ZoneAxis::axis_110) return {1, std::numbers::sqrt2 / 2, sites_110};
  return {1, 1, sites_001};
}

// Slow waves over the image, at most `largest`: two in each direction.
std::array<double, 2> displacement(double y_share, double x_share, double largest, uint64_t seed) {
  std::array<double, 2> sum{};
  for (size_t i = 0; i < 4; ++i) {
    const Philox4 r = draw(seed, SimulationDraw::scan_distortion, static_cast<int64_t>(i));
    const double along_y = 3 * uniform(r.v[0]) - 1.5, along_x = 3 * uniform(r.v[1]) - 1.5;
    sum[i % 2] +=
        0.5 * largest * std::cos(2 * pi * (along_y * y_share + along_x * x_share + uniform(r.v[2])));
  }
  return sum;
}

}  // namespace

void check_lattice(const LatticeParameters& p) {
  if (!(p.constant_nm >= 0.1 && p.constant_nm <= 10))
    throw UserError("the lattice constant must lie between 0.1 and 10 nm");
  if (!(std::abs(p.rotation_deg) <= 360))
    throw UserError("the rotation of the lattice must lie between -360 and 360 degrees");
  if (!(p.probe_nm >= 0.01 && p.probe_nm <= 1))
    throw UserError("the standard deviation of the probe must lie between 0.01 and 1 nm");
  if (!(p.channelled >= 0 && p.channelled <= 1))
    throw UserError("the share of channelled electrons must lie between 0 and 1");
  if (!(p.distortion_nm >= 0 && p.distortion_nm <= 1 && p.jitter_nm >= 0 && p.jitter_nm <= 1))
    throw UserError("distortion and jitter of the scan must lie between 0 and 1 nm");
}

AtomicColumns::AtomicColumns(const LatticeParameters& p, const std::vector<PixelMaterial>& materials,
                             const std::function<PixelMaterial(double y, double x)>& material_at,
                             int64_t height, int64_t width, double pixel_size_nm, uint64_t seed)
    : parameters_(p), plain_(materials), height_(height), width_(width), pixel_nm_(pixel_size_nm) {
  check_lattice(p);
  const Projection projection = projection_of(p.axis);
  sites = std::ssize(projection.sites);
  cell_y_nm = projection.side_y * p.constant_nm;
  cell_x_nm = projection.side_x * p.constant_nm;
  cell_area_ = cell_y_nm * cell_x_nm;
  const double height_nm = static_cast<double>(height) * pixel_nm_,
               width_nm = static_cast<double>(width) * pixel_nm_;
  constexpr double most_cells = 1e5, most_along_a_side = 1000;
  if (height_nm * width_nm > most_cells * cell_area_ ||
      std::max(height_nm, width_nm) > most_along_a_side * std::min(cell_y_nm, cell_x_nm))
    throw UserError(
        "a lattice of more than 1e5 cells, or of 1000 along a side, cannot be simulated; --pixel-size-nm "
        "makes "
        "the image smaller");
  const double cos = std::cos(p.rotation_deg * pi / 180), sin = std::sin(p.rotation_deg * pi / 180);
  step_x_nm = {cell_x_nm * sin, cell_x_nm * cos};
  step_y_nm = {cell_y_nm * cos, -cell_y_nm * sin};

  // From the middle of the image, moved by less than a cell.
  const Philox4 r = draw(seed, SimulationDraw::lattice_origin, 1);
  const double origin_y = uniform(r.v[0]), origin_x = uniform(r.v[1]);
  const double margin = 3 * broad * p.constant_nm + 2 * p.distortion_nm;
  const double reach = 0.5 * std::hypot(height_nm, width_nm) + margin;
  const auto cells = static_cast<int64_t>(std::ceil(reach / std::min(cell_y_nm, cell_x_nm))) + 1;
  for (int64_t i = -cells; i <= cells; ++i)
    for (int64_t j = -cells; j <= cells; ++j)
      for (size_t s = 0; s < projection.sites.size(); ++s) {
        const Site& site = projection.sites[s];
        const double u = static_cast<double>(i) + site.y + origin_y,
                     v = static_cast<double>(j) + site.x + origin_x;
        Column column;
        column.y_nm = 0.5 * height_nm + u * step_y_nm[0] + v * step_x_nm[0];
        column.x_nm = 0.5 * width_nm + u * step_y_nm[1] + v * step_x_nm[1];
        if (!in_image(column.y_nm, column.x_nm, -margin)) continue;
        column.cell_y = i;
        column.cell_x = j;
        column.site = static_cast<int64_t>(s);
        column.a = site.a;
        column.metal = site.metal;
        column.oxygen = site.oxygen;
        const PixelMaterial here = material_at(column.y_nm / pixel_nm_ - 0.5, column.x_nm / pixel_nm_ - 0.5);
        column.substrate = here.substrate > 0.5;
        column.manganese = here.manganese;
        columns.push_back(column);
      }

  for (int64_t y = 0; y < height; ++y) {
    const double jitter = p.jitter_nm * normal_draw(seed, SimulationDraw::scan_jitter, y);
    for (int64_t x = 0; x < width; ++x) {
      const std::array<double, 2> moved =
          displacement(static_cast<double>(y) / static_cast<double>(height),
                       static_cast<double>(x) / static_cast<double>(width), p.distortion_nm, seed);
      places_.push_back({(static_cast<double>(y) + 0.5) * pixel_nm_ + moved[0],
                         (static_cast<double>(x) + 0.5) * pixel_nm_ + moved[1] + jitter});
    }
  }
}

bool AtomicColumns::in_image(double y_nm, double x_nm, double margin_nm) const {
  return y_nm >= margin_nm && x_nm >= margin_nm &&
         y_nm < static_cast<double>(height_) * pixel_nm_ - margin_nm &&
         x_nm < static_cast<double>(width_) * pixel_nm_ - margin_nm;
}

std::vector<PixelMaterial> AtomicColumns::seen() const {
  const double wide = broad * parameters_.constant_nm, reach = 3 * wide, narrow = parameters_.probe_nm;
  // By rows of the image, so that a pixel looks at few columns.
  std::vector<const Column*> order;
  for (const Column& column : columns) order.push_back(&column);
  std::ranges::sort(order, {}, [](const Column* c) { return c->y_nm; });

  std::vector<PixelMaterial> materials = plain_;
#pragma omp parallel for schedule(dynamic)
  for (int64_t y = 0; y < height_; ++y)
    for (int64_t x = 0; x < width_; ++x) {
      const auto pixel = static_cast<size_t>(y * width_ + x);
      const auto [place_y, place_x] = places_[pixel];
      struct Amounts {
        double background = 0, metal = 0, oxygen = 0, manganese = 0;
      };
      std::array<Amounts, 2> seen;  // of film and substrate
      const auto first =
          std::ranges::lower_bound(order, place_y - reach, {}, [](const Column* c) { return c->y_nm; });
      for (auto at = first; at != order.end() && (*at)->y_nm <= place_y + reach; ++at) {
        const Column& column = **at;
        const double dy = column.y_nm - place_y, dx = column.x_nm - place_x, r2 = dy * dy + dx * dx;
        if (r2 > reach * reach) continue;
        const auto gaussian = [&](double sigma) {
          return cell_area_ / (2 * pi * sigma * sigma) * std::exp(-0.5 * r2 / (sigma * sigma));
        };
        const double weight =
            parameters_.channelled * gaussian(narrow) + (1 - parameters_.channelled) * gaussian(wide);
        Amounts& amounts = seen[column.substrate];
        amounts.background += weight * (background_a * column.a + background_metal * column.metal +
                                        background_oxygen * column.oxygen);
        amounts.metal += weight * column.metal;
        amounts.manganese += weight * column.metal * column.manganese;
        amounts.oxygen += weight * column.oxygen / 3;
      }
      PixelMaterial& material = materials[pixel];
      const auto& [film, substrate] = seen;
      const auto beside_background = [](const Amounts& amounts) {
        return amounts.background > 0
                   ? SiteAmounts{amounts.metal / amounts.background, amounts.oxygen / amounts.background}
                   : SiteAmounts{};
      };
      material.brightness = film.background + substrate.background;
      material.substrate = material.brightness > 0 ? substrate.background / material.brightness : 0;
      material.film_sites = beside_background(film);
      material.substrate_sites = beside_background(substrate);
      material.manganese = film.metal > 0 ? film.manganese / film.metal : 0;
    }
  return materials;
}

}  // namespace eelsvae
