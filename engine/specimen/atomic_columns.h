#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "engine/specimen/pixel_material.h"

namespace eelsvae {

// A cubic perovskite ABO3 seen along a zone axis; A is Bi or Sr, B a metal. none: atoms are not resolved.
enum class ZoneAxis { none, axis_001, axis_110 };

struct LatticeParameters {
  ZoneAxis axis = ZoneAxis::none;
  double constant_nm = 0.3965;
  double rotation_deg = 2;  // of the columns' rows, from the scan's lines, clockwise
  // Standard deviation of the signal of a column, a Gaussian: probe, source and delocalisation together.
  double probe_nm = 0.07;
  // Share of the electrons that stay in the column they were put on; the others spread over their
  // neighbours, as a Gaussian of half a lattice constant.
  double channelled = 0.75;
  double distortion_nm = 0.03;  // largest displacement by slow waves: drift and distortion of the scan
  double jitter_nm = 0.01;      // of each scan line along x, rms
};

// UserError if a parameter cannot be.
void check_lattice(const LatticeParameters& parameters);

// A column of atoms, as many as in the lattice constant's length.
struct Column {
  double y_nm = 0, x_nm = 0;
  int64_t cell_y = 0, cell_x = 0, site = 0;  // the cell that it belongs to, and its place in there
  double a = 0, metal = 0, oxygen = 0;
  double manganese = 0;    // share of the metal that is Mn; the rest is Fe, or Ti in the substrate
  bool substrate = false;  // what it is made of
};

// The columns of an image, and what the probe sees of them.
class AtomicColumns {
 public:
  // materials (y, x) and material_at(y, x), of any place in pixels: what the crystal is made of if atoms are
  // not resolved. A column is film or substrate, whichever there is more of where it stands.
  AtomicColumns(const LatticeParameters& parameters, const std::vector<PixelMaterial>& materials,
                const std::function<PixelMaterial(double y, double x)>& material_at, int64_t height,
                int64_t width, double pixel_size_nm, uint64_t seed);

  std::vector<Column> columns;
  int64_t sites = 0;                    // of a cell
  double cell_y_nm = 0, cell_x_nm = 0;  // sides of a cell
  // Steps of a cell's side along y and along x, (y, x) in nm.
  std::array<double, 2> step_y_nm{}, step_x_nm{};

  // Materials (y, x) with what the probe sees of the columns as they are now. Thickness and damage are those
  // given at construction.
  std::vector<PixelMaterial> seen() const;
  // Whether a place lies in the image, `margin_nm` or more from its sides.
  bool in_image(double y_nm, double x_nm, double margin_nm) const;

 private:
  LatticeParameters parameters_;
  std::vector<PixelMaterial> plain_;
  int64_t height_, width_;
  double pixel_nm_;
  double cell_area_ = 0;                       // nm^2
  std::vector<std::array<double, 2>> places_;  // (y, x) where the probe was, (y, x) in nm
};

}  // namespace eelsvae
