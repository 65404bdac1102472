#include "engine/detect/edges.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include "engine/short_number.h"

namespace eelsvae {
namespace {

// Shell and onset in eV, in turn; a minus before edges that are small or seldom used. The values of Gatan's
// EELS atlas, https://eels.info/atlas, as exspy 0.3.2 has them, in tenths of an eV and up to 8 keV; of
// elements without stable isotopes the major edges and M2, M3.
struct Row {
  const char *element, *edges;
};
constexpr Row table[] = {
    {"H", "K 13.6"},
    {"He", "K 24.6"},
    {"Li", "K 55"},
    {"Be", "K 111"},
    {"B", "K 188"},
    {"C", "K 284"},
    {"N", "K 401"},
    {"O", "K 532"},
    {"F", "K 685"},
    {"Ne", "K 867"},
    {"Na", "K 1072 -L1 63 L2,3 31"},
    {"Mg", "K 1305 -L1 89 L2,3 51"},
    {"Al", "K 1560 -L1 118 L2,3 73"},
    {"Si", "K 1839 -L1 149.7 L2 99.8 L3 99.2"},
    {"P", "K 2146 -L1 189 L2,3 132"},
    {"S", "-L1 229 L2,3 165"},
    {"Cl", "-L1 270 L2,3 200"},
    {"Ar", "-L1 320 L2,3 245"},
    {"K", "-L1 377 L2 296 L3 294"},
    {"Ca", "-L1 438 L2 350 L3 346"},
    {"Sc", "-L1 500 L2 407 L3 402 M2,3 32"},
    {"Ti", "-L1 564 L2 462 L3 456 M2,3 35"},
    {"V", "-L1 628 L2 521 L3 513 M2,3 38"},
    {"Cr", "-L1 695 L2 584 L3 575 M2,3 43"},
    {"Mn", "-L1 769 L2 651 L3 640 M2,3 51"},
    {"Fe", "-K 7113 -L1 846 L2 721 L3 708 M2,3 57"},
    {"Co", "-L1 926 L2 794 L3 779 M2,3 59"},
    {"Ni", "-L1 1008 L2 872 L3 855 M2,3 68"},
    {"Cu", "-L1 1096 L2 951 L3 931 M2,3 74"},
    {"Zn", "-L1 1194 L2 1043 L3 1020 -M2,3 87"},
    {"Ga", "-L1 1298 L2 1142 L3 1115"},
    {"Ge", "-L1 1414 L2 1248 L3 1217"},
    {"As", "-L1 1526 L2 1359 L3 1323"},
    {"Se", "-L1 1654 L2 1476 L3 1436"},
    {"Br", "-L1 1782 L2 1596 L3 1550"},
    {"Kr", "-L1 1921 L2 1727 L3 1675 M4,5 89"},
    {"Rb", "-L1 2065 L2 1864 L3 1804 -M2 247 -M3 238 M4,5 110"},
    {"Sr", "-L1 2216 L2 2007 L3 1940 -M2 280 -M3 269 M4,5 134"},
    {"Y", "-L1 2372 L2 2155 L3 2080 -M2 312 -M3 300 M4,5 160"},
    {"Zr", "-L1 2532 L2 2307 L3 2222 -M2 344 -M3 330 M4,5 181"},
    {"Nb", "-L1 2698 L2 2465 L3 2371 -M2 378 -M3 363 M4 205 M5 202.3"},
    {"Mo", "-L1 2866 L2 2625 L3 2520 -M2 410 -M3 392 M4 228 M5 227"},
    {"Tc", "L2 2793 L3 2677 -M2 445 -M3 425 M4 256 M5 253 N2,3 39"},
    {"Ru", "-M2 483 -M3 461 M4,5 279"},
    {"Rh", "-M2 521 -M3 496 M4 312 M5 308"},
    {"Pd", "-M2 559 -M3 531 M4 340 M5 335"},
    {"Ag", "-M2 602 -M3 571 M4 373 M5 367"},
    {"Cd", "-M2 651 -M3 616 M4 411 M5 404"},
    {"In", "-M2 702 -M3 664 M4 451 M5 443"},
    {"Sn", "-M2 756 -M3 714 M4 494 M5 485"},
    {"Sb", "-M2 812 -M3 766 M4 537 M5 528"},
    {"Te", "-M2 870 -M3 819 M4 582 M5 572"},
    {"I", "-M2 930 -M3 875 M4 631 M5 620"},
    {"Xe", "M4 685 M5 672"},
    {"Cs", "-M2 1065 -M3 998 M4 740 M5 726 N4,5 78"},
    {"Ba", "-M2 1137 -M3 1062 M4 796 M5 781 N4,5 90"},
    {"La", "-M2 1204 -M3 1123 M4 849 M5 832 N4,5 99"},
    {"Ce", "-M2 1273 -M3 1185 M4 901 M5 883 N4,5 110"},
    {"Pr", "-M2 1337 -M3 1242 M4 951 M5 931 N4,5 114"},
    {"Nd", "-M2 1403 -M3 1297 M4 1000 M5 978 N4,5 118"},
    {"Pm", "L3 6459 -M2 1471 -M3 1357 M4 1052 M5 1027 O2,3 24"},
    {"Sm", "-M2 1541 -M3 1420 M4 1106 M5 1080 N4,5 130"},
    {"Eu", "-M2 1614 -M3 1481 M4 1161 M5 1131 N4,5 134"},
    {"Gd", "-M2 1688 -M3 1544 M4 1217 M5 1185 N4,5 141"},
    {"Tb", "-M2 1768 -M3 1611 M4 1275 M5 1241 N4,5 148"},
    {"Dy", "-M2 1842 -M3 1676 M4 1332 M5 1295 N4,5 154"},
    {"Ho", "-M2 1923 -M3 1741 M4 1391 M5 1351 N4,5 161"},
    {"Er", "-M2 2006 -M3 1812 M4 1453 M5 1409 N4,5 168"},
    {"Tm", "-M2 2090 -M3 1884 M4 1515 M5 1468 N4,5 180"},
    {"Yb", "-M2 2173 -M3 1950 M4 1576 M5 1528 N4,5 184"},
    {"Lu", "-M2 2263 -M3 2024 M4 1639 M5 1588 N4,5 195"},
    {"Hf", "M4 1716 M5 1662"},
    {"Ta", "M4 1793 M5 1735"},
    {"W", "M4 1872 M5 1809"},
    {"Re", "M4 1949 M5 1883"},
    {"Os", "M4 2031 M5 1960"},
    {"Ir", "M4 2116 M5 2040"},
    {"Pt", "M4 2202 M5 2122"},
    {"Au", "M4 2291 M5 2206"},
    {"Hg", "M4 2385 M5 2295"},
    {"Tl", "M4 2485 M5 2389"},
    {"Pb", "M4 2586 M5 2484"},
    {"Bi", "M4 2688 M5 2580"},
    {"Po", "-M2 3854 -M3 3302 M4 2798 M5 2683 O4,5 31"},
    {"At", "-M2 4008 -M3 3426 M4 2908 M5 2787"},
    {"Rn", "-M2 4159 -M3 3538 M4 3022 M5 2892"},
    {"Fr", "-M2 4327 -M3 3663 M4 3136 M5 3000"},
    {"Ra", "-M2 4490 -M3 3792 M4 3248 M5 3105 N6,7 299 O4,5 67"},
    {"Ac", "-M2 4656 -M3 3909 M4 3370 M5 3219"},
    {"Th", "M4 3491 M5 3332 O4,5 83"},
    {"Pa", "-M2 5001 -M3 4174 M4 3611 M5 3442 N6 371 N7 360 O4,5 94"},
    {"U", "M4 3728 M5 3552 O4,5 96"},
    {"Np", "-M2 5366 -M3 4435 M4 3850 M5 3666 N6 415 N7 404 O4 109 O5 101"},
    {"Pu", "-M2 5541 -M3 4557 M4 3973 M5 3778 N6 446 N7 432 O4 116 O5 105"},
    {"Am", "-M2 5710 -M3 4667 M4 4092 M5 3887 O4 116 O5 103"},
};

std::vector<Edge> read_table() {
  std::vector<Edge> all;
  for (const Row& row : table) {
    std::istringstream text(row.edges);
    std::string shell;
    for (double onset; text >> shell >> onset;) {
      const bool minor = shell.starts_with('-');
      all.push_back({row.element, minor ? shell.substr(1) : shell, onset, !minor});
    }
  }
  std::ranges::stable_sort(all, {}, &Edge::onset_ev);
  return all;
}

// Symbols are often typed without capitals, of which no two differ alone.
bool same_symbol(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, {}, [](unsigned char c) { return std::tolower(c); },
      [](unsigned char c) { return std::tolower(c); });
}

}  // namespace

std::string Edge::name() const {
  return element + " " + shell;
}

const std::vector<Edge>& all_edges() {
  static const std::vector<Edge> edges = read_table();
  return edges;
}

bool is_element(const std::string& symbol) {
  return std::ranges::any_of(table, [&](const Row& row) { return same_symbol(symbol, row.element); });
}

bool is_wanted(const Edge& edge, std::span<const std::string> elements) {
  return elements.empty() ? edge.major : std::ranges::any_of(elements, [&](const std::string& symbol) {
    return same_symbol(symbol, edge.element);
  });
}

std::vector<Edge> edges_near(double from_ev, double to_ev, std::span<const std::string> elements) {
  constexpr double rise = 10;  // eV from an onset to the far side of its white line
  constexpr size_t most = 3;
  std::vector<Edge> near;
  for (const Edge& edge : all_edges())
    if (is_wanted(edge, elements) && edge.onset_ev >= from_ev - rise && edge.onset_ev <= to_ev)
      near.push_back(edge);
  std::ranges::stable_sort(near, {}, [&](const Edge& edge) { return std::abs(edge.onset_ev - from_ev); });
  if (near.size() > most) near.resize(most);
  return near;
}

std::string text_of(std::span<const Edge> edges) {
  std::string text;
  for (const Edge& edge : edges)
    text += (text.empty() ? "" : ", ") + edge.name() + " " + short_number(edge.onset_ev, 6);
  return text;
}

}  // namespace eelsvae
