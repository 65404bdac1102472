#include "engine/specimen/defects.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "engine/short_number.h"
#include "engine/specimen/simulation_draws.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

struct Kind {
  const char* name;
  const char* unit;
  double most;  // strengths lie above 0 and at or below this
  const char* meaning;
  // Of columns of atoms: the number of cells, in a row, that an anomaly changes. Otherwise 0.
  int64_t cells = 0;
};
constexpr std::array<Kind, 17> kinds = {{
    {"fe-shift", "eV", 100, "Fe L2,3 white lines moved up or down"},
    {"o-shift", "eV", 100, "O K edge moved up or down"},
    {"ti-shift", "eV", 100, "Ti L2,3 white lines moved up or down"},
    {"white-lines", "relative", 0.9, "ratio of Fe L3 to L2 up or down, same sum"},
    {"broadening", "relative", 10, "Fe white lines wider, same area"},
    {"intensity", "relative", 0.9, "the whole spectrum up or down"},
    {"background", "exponent", 2, "the background steeper or flatter"},
    {"oxygen", "share", 1, "share of the O K edge that is missing"},
    {"scattering", "mean free paths", 3, "plural scattering added"},
    {"cosmic", "counts", 1e7, "a cosmic ray in one or two channels"},
    {"foreign", "Cr per Fe", 10, "a Cr L2,3 edge that nothing else has"},
    {"extra-noise", "relative", 100, "variance of the noise larger"},
    {"antisite", "share", 1, "Fe on A sites of a column of atoms", 1},
    {"vacancy", "share", 1, "Fe or Ti missing in a column of atoms", 1},
    {"dopant", "share", 1, "Mn instead of Fe in a column of atoms", 1},
    {"stacking", "cells", 0.5, "a piece of a row of columns, moved along it", 5},
    {"interface-step", "cells", 10, "a piece of the interface, moved", 5},
}};
constexpr std::array<const char*, 4> shapes = {"pixel", "disc", "line", "lattice"};

const Kind& of(DefectKind kind) {
  return kinds[static_cast<size_t>(kind)];
}

double parse_number(const std::string& text, const std::string& whole, const char* what) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != 0 || !std::isfinite(value))
    throw UserError("defect " + whole + ": " + what + " must be a number, not '" + text + "'");
  return value;
}

template <class Names, class Name>
std::string listed(const Names& names, Name name) {
  std::string text;
  for (const auto& entry : names) text += std::string(text.empty() ? "" : ", ") + name(entry);
  return text;
}

using Offset = std::pair<int64_t, int64_t>;  // (y, x)

std::vector<Offset> disc(double radius) {
  const auto reach = static_cast<int64_t>(radius);
  std::vector<Offset> offsets;
  for (int64_t dy = -reach; dy <= reach; ++dy)
    for (int64_t dx = -reach; dx <= reach; ++dx)
      if (static_cast<double>(dy * dy + dx * dx) <= radius * radius) offsets.push_back({dy, dx});
  return offsets;
}

// The pixels an anomaly can cover, relative to its middle one; four ways for a line.
std::vector<std::vector<Offset>> footprints(const Defect& defect) {
  switch (defect.shape) {
    case DefectShape::pixel:
      return {{{0, 0}}};
    case DefectShape::disc:
      return {disc(defect.radius)};
    case DefectShape::lattice:
      return {disc(std::floor(defect.radius / 4))};
    case DefectShape::line:
      break;
  }
  std::vector<std::vector<Offset>> lines;
  const auto reach = static_cast<int64_t>(defect.radius);
  for (Offset step : {Offset{0, 1}, Offset{1, 0}, Offset{1, 1}, Offset{1, -1}}) {
    lines.emplace_back();
    for (int64_t i = -reach; i <= reach; ++i) lines.back().push_back({i * step.first, i * step.second});
  }
  return lines;
}

// The columns of atoms that a kind of defect can begin at, an anomaly's own cells apart.
bool can_change(DefectKind kind, const Column& column) {
  switch (kind) {
    case DefectKind::antisite:
      return column.a > 0;
    case DefectKind::vacancy:
      return column.metal > 0;
    case DefectKind::dopant:
      return column.metal > 0 && !column.substrate && column.manganese < 1;
    default:
      return column.site == 0;
  }
}

double columns_to_change(DefectKind kind, const Specimen& specimen) {
  if (!specimen.columns) return 0;
  const auto columns = std::ranges::count_if(specimen.columns->columns, [&](const Column& c) {
    return can_change(kind, c) && specimen.columns->in_image(c.y_nm, c.x_nm, 0);
  });
  return static_cast<double>(columns) / static_cast<double>(of(kind).cells);
}

// Changes columns, each anomaly those of a few cells of a row, which no other anomaly is in or beside.
class ColumnChanges {
 public:
  ColumnChanges(AtomicColumns& columns) : columns_(columns) {
    for (size_t i = 0; i < columns.columns.size(); ++i) {
      const Column& c = columns.columns[i];
      places_[{c.cell_y, c.cell_x, c.site}] = i;
    }
  }

  // How many of the wanted anomalies were made.
  double make(const Defect& defect, int64_t k, double wanted, uint64_t seed) {
    std::vector<std::pair<uint64_t, size_t>> candidates;
    for (size_t i = 0; i < columns_.columns.size(); ++i) {
      const Philox4 r = draw(seed, SimulationDraw::columns, (k << 40) + static_cast<int64_t>(i));
      if (can_change(defect.kind, columns_.columns[i]))
        candidates.emplace_back(uint64_t{r.v[0]} << 32 | r.v[1], i);
    }
    std::ranges::sort(candidates);
    double made = 0;
    for (const auto& [key, index] : candidates) {
      if (made == wanted) break;
      const Philox4 coin = draw(seed, SimulationDraw::signs, (k << 40) + static_cast<int64_t>(made));
      if (change(defect, index, coin.v[0] & 1 ? 1 : -1)) ++made;
    }
    return made;
  }

 private:
  bool change(const Defect& defect, size_t index, int sign) {
    const Column first = columns_.columns[index];
    const int64_t cells = of(defect.kind).cells;
    const bool step = defect.kind == DefectKind::interface_step;
    // Cells along a row, but along the interface, which runs across the rows.
    std::vector<std::pair<int64_t, int64_t>> run;
    for (int64_t i = 0; i < cells; ++i)
      run.emplace_back(first.cell_y + (step ? i : 0), first.cell_x + (step ? 0 : i));
    for (const auto& [y, x] : run) {
      const Column* begin = at(y, x, first.site);
      if (!begin || !columns_.in_image(begin->y_nm, begin->x_nm, 0.5 * columns_.cell_x_nm)) return false;
      if (taken_.contains({y, x})) return false;
      const Column* beyond = at(y, x + 1, first.site);
      if (step && (begin->substrate || !beyond || !beyond->substrate)) return false;
    }
    for (const auto& [y, x] : run)
      for (int64_t site = 0; site < columns_.sites; ++site) {
        if (cells == 1 && site != first.site) continue;
        if (step) {
          move_interface(y, x, site, sign * static_cast<int64_t>(defect.strength));
        } else if (Column* column = at(y, x, site)) {
          change_column(defect, sign, *column);
        }
      }
    const int64_t reach = step ? static_cast<int64_t>(defect.strength) : 0;
    for (const auto& [y, x] : run)
      for (int64_t dy : {-1, 0, 1})
        for (int64_t dx = -1 - reach; dx <= 1 + reach; ++dx) taken_.insert({y + dy, x + dx});
    return true;
  }

  void change_column(const Defect& defect, int sign, Column& column) const {
    switch (defect.kind) {
      case DefectKind::antisite:
        column.metal += defect.strength * column.a;
        column.a *= 1 - defect.strength;
        break;
      case DefectKind::vacancy:
        column.metal *= 1 - defect.strength;
        break;
      case DefectKind::dopant:
        column.manganese += defect.strength * (1 - column.manganese);
        break;
      default:  // stacking
        column.y_nm += sign * defect.strength * columns_.step_x_nm[0];
        column.x_nm += sign * defect.strength * columns_.step_x_nm[1];
    }
  }

  // In a row, whose last film cell is x or, of this site, one beside it: so many cells further.
  void move_interface(int64_t y, int64_t x, int64_t site, int64_t further) {
    int64_t last = x - 1;
    for (const Column* next = at(y, last + 1, site); next && !next->substrate && last <= x; ++last)
      next = at(y, last + 2, site);
    for (int64_t i = 0; i < std::abs(further); ++i)
      if (Column* column = at(y, further > 0 ? last + 1 + i : last - i, site))
        column->substrate = further < 0;
  }

  Column* at(int64_t y, int64_t x, int64_t site) {
    const auto found = places_.find({y, x, site});
    return found == places_.end() ? nullptr : &columns_.columns[found->second];
  }

  AtomicColumns& columns_;
  std::map<std::array<int64_t, 3>, size_t> places_;  // (cell y, cell x, site)
  std::set<std::pair<int64_t, int64_t>> taken_;
};

// What a pixel shows of each element, and of the background.
std::array<double, 5> amounts(const PixelMaterial& m) {
  const double film = m.brightness * (1 - m.substrate), substrate = m.brightness * m.substrate;
  return {m.brightness * m.iron(), film * m.manganese * m.film_sites.metal,
          substrate * m.substrate_sites.metal,
          film * m.film_sites.oxygen + substrate * m.substrate_sites.oxygen, m.brightness};
}

// Labels the pixels in which a change of columns shows by half of the most that it does anywhere.
void label_change(const std::vector<PixelMaterial>& before, const std::vector<PixelMaterial>& after,
                  uint8_t label, DefectPlaces& places) {
  constexpr double labelled = 0.5, shown = 0.05;
  std::vector<double> change(before.size());
  for (size_t i = 0; i < before.size(); ++i) {
    const std::array<double, 5> a = amounts(before[i]), b = amounts(after[i]);
    for (size_t k = 0; k < a.size(); ++k) change[i] = std::max(change[i], std::abs(b[k] - a[k]));
  }
  const double most = std::ranges::max(change);
  if (!(most > 0))
    throw UserError("the image shows nothing of the columns that were changed; it needs more cells");
  places.faint.resize(before.size());
  for (size_t i = 0; i < before.size(); ++i) {
    if (change[i] >= labelled * most)
      places.labels[i] = label;
    else if (change[i] >= shown * most)
      places.faint[i] = 1;
  }
}

// How many anomalies of each defect are wanted.
std::vector<double> wanted_numbers(const std::vector<Defect>& defects, double anomalies,
                                   const Specimen& specimen) {
  std::vector<double> wanted;
  const auto kinds_sharing = static_cast<double>(
      std::count_if(defects.begin(), defects.end(), [](const Defect& d) { return !d.amount; }));
  double sharing = 0;
  for (const Defect& defect : defects) {
    double amount = defect.amount.value_or(anomalies < 1 ? anomalies / kinds_sharing : anomalies);
    if (amount < 1 && amount > 0) {
      const double places = changes_columns(defect.kind)
                                ? columns_to_change(defect.kind, specimen)
                                : static_cast<double>(specimen.height * specimen.width) /
                                      static_cast<double>(footprints(defect).front().size());
      amount = std::max(1.0, std::round(amount * places));
    } else if (!defect.amount && amount >= 1) {  // a number: what remains of the division goes to the first
      const double all = std::round(amount), remaining = std::fmod(all, kinds_sharing);
      amount = std::floor(all / kinds_sharing) + (sharing < remaining ? 1 : 0);
    }
    if (!defect.amount) ++sharing;
    wanted.push_back(std::round(amount));
  }
  return wanted;
}

}  // namespace

bool changes_columns(DefectKind kind) {
  return of(kind).cells > 0;
}
std::string kind_name(DefectKind kind) {
  return of(kind).name;
}
std::string shape_name(DefectShape shape) {
  return shapes[static_cast<size_t>(shape)];
}
std::string strength_unit(DefectKind kind) {
  return of(kind).unit;
}
std::string defect_name(const Defect& defect) {
  return kind_name(defect.kind) + " " + short_number(defect.strength) + " " + strength_unit(defect.kind);
}

std::string describe_defect_kinds() {
  std::string text;
  for (const Kind& kind : kinds) {
    char line[128];
    std::snprintf(line, sizeof line, "  %-12s %-16s %s\n", kind.name, kind.unit, kind.meaning);
    text += line;
  }
  return text;
}

Defect parse_defect(const std::string& text) {
  std::string rest = text;
  Defect defect;
  if (const size_t at = rest.find('@'); at != std::string::npos) {
    defect.amount = parse_number(rest.substr(at + 1), text, "what follows @");
    rest.resize(at);
  }
  std::vector<std::string> parts = {""};
  for (char c : rest)
    if (c == ':')
      parts.emplace_back();
    else
      parts.back() += c;
  const auto* kind =
      std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return parts[0] == k.name; });
  if (kind == kinds.end())
    throw UserError("defect " + text + ": there is no kind '" + parts[0] + "'; there are " +
                    listed(kinds, [](const Kind& k) { return k.name; }));
  defect.kind = static_cast<DefectKind>(kind - kinds.begin());
  if (parts.size() < 2 || parts.size() > 4)
    throw UserError("defect " + text + " must read KIND:STRENGTH[:SHAPE[:RADIUS]][@AMOUNT]");
  defect.strength = parse_number(parts[1], text, "the strength");
  if (parts.size() > 2 && changes_columns(defect.kind))
    throw UserError("defect " + text + ": a column of atoms has no other shape; " + parts[0] + ":" +
                    parts[1]);
  if (parts.size() > 2) {
    const auto* shape = std::find(shapes.begin(), shapes.end(), parts[2]);
    if (shape == shapes.end())
      throw UserError("defect " + text + ": there is no shape '" + parts[2] + "'; there are " +
                      listed(shapes, [](const char* s) { return s; }));
    defect.shape = static_cast<DefectShape>(shape - shapes.begin());
    defect.radius = std::array{0.0, 1.5, 3.0, 4.0}[static_cast<size_t>(defect.shape)];
  }
  if (parts.size() > 3) {
    if (defect.shape == DefectShape::pixel) throw UserError("defect " + text + ": a pixel has no radius");
    defect.radius = parse_number(parts[3], text, "the radius");
  }
  check_defect(defect);
  return defect;
}

void check_defect(const Defect& defect) {
  const Kind& kind = of(defect.kind);
  if (!(defect.strength > 0 && defect.strength <= kind.most))
    throw UserError(std::string("the strength of ") + kind.name + " must lie above 0 and at most at " +
                    short_number(kind.most) + " (" + kind.unit + "), not " + short_number(defect.strength));
  if (defect.amount && !(*defect.amount >= 0))
    throw UserError(std::string("the number of ") + kind.name + " defects cannot be negative");
  if (defect.kind == DefectKind::interface_step && defect.strength != std::floor(defect.strength))
    throw UserError("an interface steps by a whole number of cells");
  const bool whole = defect.radius == std::floor(defect.radius);
  if (defect.shape == DefectShape::line && !(defect.radius >= 1 && whole))
    throw UserError("a line must reach a whole number of pixels, 1 or more, to both sides");
  if (defect.shape == DefectShape::lattice && !(defect.radius >= 2 && whole))
    throw UserError("the sites of a lattice must be a whole number of pixels, 2 or more, apart");
}

double host_share(DefectKind kind, const PixelMaterial& material) {
  switch (kind) {
    case DefectKind::fe_shift:
    case DefectKind::white_lines:
    case DefectKind::broadening:
      return material.iron();
    case DefectKind::ti_shift:
      return material.substrate;
    default:
      return 1;
  }
}

DefectPlaces place_defects(const std::vector<Defect>& defects, double anomalies, const Specimen& specimen,
                           uint64_t seed) {
  const int64_t height = specimen.height, width = specimen.width, pixels = height * width;
  DefectPlaces places;
  places.labels.resize(static_cast<size_t>(pixels));
  places.signs.resize(static_cast<size_t>(pixels));
  const std::vector<double> all_wanted = wanted_numbers(defects, anomalies, specimen);
  std::vector<PixelMaterial> materials = specimen.materials;
  std::optional<AtomicColumns> columns = specimen.columns;
  std::optional<ColumnChanges> column_changes;
  if (columns) column_changes.emplace(*columns);
  std::vector<std::pair<uint64_t, int64_t>> candidates(static_cast<size_t>(pixels));
  // Columns first, so that what is placed in pixels keeps clear of them.
  std::vector<size_t> order(defects.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_partition(order, [&](size_t k) { return changes_columns(defects[k].kind); });
  for (size_t k : order) {
    const Defect& defect = defects[k];
    const double wanted = all_wanted[k];
    if (changes_columns(defect.kind) && !specimen.columns)
      throw UserError(
          "defect " + defect_name(defect) +
          " is of a column of atoms; presets lattice, lattice-110 and lattice-interface have these");
    if (wanted == 0) continue;
    if (changes_columns(defect.kind)) {
      const double made = column_changes->make(defect, static_cast<int64_t>(k), wanted, seed);
      if (made < wanted)
        throw UserError(
            "only " + short_number(made) + " of " + short_number(wanted) + " anomalies (" +
            kind_name(defect.kind) + ") fit into the lattice, a cell or more apart" +
            (defect.kind == DefectKind::interface_step ? "; lattice-interface has an interface" : ""));
      std::vector<PixelMaterial> changed = columns->seen();
      label_change(materials, changed, static_cast<uint8_t>(k + 1), places);
      places.materials = materials = std::move(changed);
      continue;
    }
    // The side of the smallest image that could hold one, before its pixels are listed.
    if (!(defect.radius >= 0) || (defect.shape == DefectShape::disc || defect.shape == DefectShape::line
                                      ? 2 * std::floor(defect.radius) + 1
                                      : defect.radius) > static_cast<double>(std::min(height, width)))
      throw UserError("anomalies of a radius of " + short_number(defect.radius) + " pixels do not fit into " +
                      std::to_string(height) + " x " + std::to_string(width));
    const std::vector<std::vector<Offset>> ways = footprints(defect);

    // Every pixel is a candidate, in an order of its own draw. Each defect draws in a space of its own.
    const int64_t first_draw = static_cast<int64_t>(k) * pixels;
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      Philox4 r = draw(seed, SimulationDraw::places, first_draw + pixel);
      candidates[static_cast<size_t>(pixel)] = {uint64_t{r.v[0]} << 32 | r.v[1], pixel};
    }
    std::sort(candidates.begin(), candidates.end());
    const Philox4 origin = draw(seed, SimulationDraw::lattice_origin, 0);

    double placed = 0;
    for (const auto& [key, pixel] : candidates) {
      if (placed == wanted) break;
      const int64_t y = pixel / width, x = pixel % width;
      if (defect.shape == DefectShape::lattice) {
        const auto spacing = static_cast<int64_t>(defect.radius);
        if ((y + origin.v[0]) % spacing != 0 || (x + origin.v[1]) % spacing != 0) continue;
      }
      const std::vector<Offset>& way =
          ways[draw(seed, SimulationDraw::line_direction, first_draw + pixel).v[0] % ways.size()];
      auto taken = [&, y = y, x = x](const Offset& offset) {
        const int64_t oy = y + offset.first, ox = x + offset.second;
        if (oy < 0 || ox < 0 || oy >= height || ox >= width) return true;
        const auto at = static_cast<size_t>(oy * width + ox);
        return places.labels[at] != 0 || host_share(defect.kind, materials[at]) < 0.5;
      };
      if (std::any_of(way.begin(), way.end(), taken)) continue;
      const Philox4 coin =
          draw(seed, SimulationDraw::signs, (static_cast<int64_t>(k) << 40) + static_cast<int64_t>(placed));
      for (const Offset& offset : way) {
        const auto at = static_cast<size_t>((y + offset.first) * width + x + offset.second);
        places.labels[at] = static_cast<uint8_t>(k + 1);
        places.signs[at] = coin.v[0] & 1 ? 1 : -1;
      }
      ++placed;
    }
    if (placed < wanted) {
      char text[256];
      std::snprintf(text, sizeof text,
                    "only %.0f of %.0f anomalies (%s, %s, radius %g) fit into the %lld x %lld pixels%s",
                    placed, wanted, kind_name(defect.kind).c_str(), shape_name(defect.shape).c_str(),
                    defect.radius, static_cast<long long>(height), static_cast<long long>(width),
                    host_share(defect.kind, {1, 1, 0, 0}) == 0   ? " in which Fe is at home"
                    : host_share(defect.kind, {0, 0, 0, 0}) == 0 ? " in which Ti is at home"
                                                                 : "");
      throw UserError(text);
    }
  }
  for (size_t i = 0; i < places.faint.size(); ++i)
    if (places.labels[i]) places.faint[i] = 0;
  return places;
}

}  // namespace eelsvae
