#include "engine/specimen/spectrum_components.h"

#include <algorithm>
#include <cmath>

namespace eelsvae {
namespace {

double power_law(double ev, double at, double counts, double exponent) {
  return counts * std::pow(ev / at, -exponent);
}
// A step, rounded over 2 eV, that decays as E^-3.
double continuum(double ev, double onset, double counts) {
  constexpr double width_ev = 1.0;
  return 0.5 * (1 + std::tanh((ev - onset) / width_ev)) * power_law(ev, onset, counts, 3);
}
double peak(double ev, double centre, double counts, double fwhm) {
  const double distance = (ev - centre) / fwhm;
  return counts * std::exp(-4 * std::log(2.0) * distance * distance);
}

struct Line {
  double ev, counts, fwhm_ev;
};
double changed(double ev, const Line& line, double area, double broadening) {
  return peak(ev, line.ev, line.counts * area / broadening, line.fwhm_ev * broadening);
}

constexpr Line iron_l3 = {717.5, 26, 3.4}, iron_l2 = {730, 10, 4};
constexpr double reduced_iron_ev = -1.7;  // Fe2+ against Fe3+

double iron_white_lines(double ev) {
  return peak(ev, iron_l3.ev, iron_l3.counts, iron_l3.fwhm_ev) +
         peak(ev, iron_l2.ev, iron_l2.counts, iron_l2.fwhm_ev);
}

// Without a change the sum is formed as it always was, bit by bit.
double iron_white_lines(double ev, const EdgeChange& change) {
  if (change.broadening == 1 && change.l3 == 1 && change.l2 == 1) return iron_white_lines(ev);
  return changed(ev, iron_l3, change.l3, change.broadening) +
         changed(ev, iron_l2, change.l2, change.broadening);
}

double titanium_white_lines(double ev, const EdgeChange& change) {
  constexpr Line t2g3 = {457.9, 16, 1.3}, eg3 = {460.3, 26, 1.9}, t2g2 = {463.3, 18, 2.0},
                 eg2 = {465.7, 22, 2.4};
  return changed(ev, t2g3, change.l3, change.broadening) + changed(ev, eg3, change.l3, change.broadening) +
         changed(ev, t2g2, change.l2, change.broadening) + changed(ev, eg2, change.l2, change.broadening);
}

double film_background(double ev) {
  return power_law(ev, 430, 75, 2.70);
}
double film_oxygen(double ev) {
  return continuum(ev, 534, 12) + peak(ev, 538, 10, 3.5) + peak(ev, 546.5, 8, 8);
}
double iron_steps(double ev) {
  return continuum(ev, 715, 4) + continuum(ev, 728, 2);
}
double film(double ev) {
  const double background = film_background(ev);
  const double oxygen = film_oxygen(ev);
  const double iron = iron_steps(ev);
  return background + oxygen + iron;
}

double substrate_background(double ev) {
  return power_law(ev, 430, 62, 2.75);
}
double substrate_oxygen(double ev) {
  return continuum(ev, 533, 14) + peak(ev, 535, 8, 2.2) + peak(ev, 540.5, 9, 4.5) + peak(ev, 548.5, 11, 6);
}
double substrate(double ev) {
  return substrate_background(ev) + substrate_oxygen(ev) + continuum(ev, 456, 8) + continuum(ev, 462, 4);
}

double manganese(double ev) {
  return continuum(ev, 640, 4.6) + continuum(ev, 651, 2.3) + peak(ev, 642.5, 30, 3.4) +
         peak(ev, 653.5, 13, 4);
}
double chromium(double ev) {
  return continuum(ev, 575, 5.2) + continuum(ev, 584, 2.6) + peak(ev, 577.5, 32, 3.2) +
         peak(ev, 586, 16, 3.6);
}

}  // namespace

double component_counts(Component component, const EdgeChange& change, double ev) {
  // Power laws end at 0 eV, which convolutions with plasmons can come close to.
  constexpr double lowest_ev = 20;
  const double at = std::max(ev - change.shift_ev, lowest_ev);
  const double slope = change.exponent == 0 ? 1 : power_law(at, change.pivot_ev, 1, change.exponent);
  switch (component) {
    case Component::film:
      return film(at);
    case Component::film_background:
      return film_background(at) * slope;
    case Component::film_oxygen:
      return film_oxygen(at);
    case Component::film_oxygen_peak:
      return peak(at, 538, 10, 3.5);
    case Component::iron_steps:
      return iron_steps(at);
    case Component::iron_lines:
      return iron_white_lines(at, change);
    case Component::reduced_iron:
      return iron_white_lines(at - reduced_iron_ev, change);
    case Component::manganese:
      return manganese(at);
    case Component::substrate:
      return substrate(at);
    case Component::substrate_background:
      return substrate_background(at) * slope;
    case Component::substrate_oxygen:
      return substrate_oxygen(at);
    case Component::titanium_lines:
      return titanium_white_lines(at, change);
    case Component::chromium:
      return chromium(at);
  }
  return 0;
}

EdgeChange iron_ratio_change(double factor) {
  const double l3 = iron_l3.counts * iron_l3.fwhm_ev, l2 = iron_l2.counts * iron_l2.fwhm_ev;
  EdgeChange change;
  change.l2 = (l3 + l2) / (factor * l3 + l2);
  change.l3 = factor * change.l2;
  return change;
}

}  // namespace eelsvae
