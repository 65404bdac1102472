#include "engine/specimen/specimen_spectra.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// One plasmon of BiFeO3 and, for lack of better, of SrTiO3 (docs/specimens.md): a Gaussian.
constexpr double plasmon_ev = 24, plasmon_fwhm_ev = 8;
constexpr double plasmon_sigma_ev = plasmon_fwhm_ev / 2.354820045;
constexpr double sigmas = 3.5;  // where a Gaussian counts as zero

// Poisson's probabilities of 0, 1, ... plasmons, up to where less than a thousandth is left.
std::vector<double> poisson(double mean) {
  std::vector<double> probabilities = {std::exp(-mean)};
  for (double rest = 1 - probabilities[0]; rest > 1e-3; rest -= probabilities.back())
    probabilities.push_back(probabilities.back() * mean / static_cast<double>(probabilities.size()));
  return probabilities;
}
// As many as the thickest place with the strongest defect has, 3 + 3 mean free paths.
constexpr double most_orders = 15;

EdgeChange change_of(const Defect& defect, int sign, const Axis& energy) {
  EdgeChange change;
  switch (defect.kind) {
    case DefectKind::fe_shift:
    case DefectKind::o_shift:
    case DefectKind::ti_shift:
      change.shift_ev = sign * defect.strength;
      break;
    case DefectKind::white_lines:
      change = iron_ratio_change(1 + sign * defect.strength);
      break;
    case DefectKind::broadening:
      change.broadening = 1 + defect.strength;
      break;
    case DefectKind::background:
      change.exponent = sign * defect.strength;
      change.pivot_ev = energy.value(0.5 * static_cast<double>(energy.size - 1));
      break;
    default:
      break;
  }
  return change;
}

bool changed_by(Component component, DefectKind kind) {
  switch (kind) {
    case DefectKind::fe_shift:
    case DefectKind::white_lines:
    case DefectKind::broadening:
      return component == Component::iron_lines || component == Component::reduced_iron;
    case DefectKind::ti_shift:
      return component == Component::titanium_lines;
    case DefectKind::o_shift:
      return component == Component::film_oxygen || component == Component::film_oxygen_peak ||
             component == Component::substrate_oxygen;
    case DefectKind::background:
      return component == Component::film_background || component == Component::substrate_background;
    default:
      return false;
  }
}

}  // namespace

ExpectedSpectra::ExpectedSpectra(const Axis& energy, const Specimen& specimen,
                                 const std::vector<Defect>& defects, const DefectPlaces& places)
    : energy_(energy), specimen_(specimen), defects_(defects), places_(places) {
  changes_.emplace_back();
  for (const Defect& defect : defects)
    for (int sign : {1, -1}) changes_.push_back(change_of(defect, sign, energy));
  tabulate_scattering();
}

double ExpectedSpectra::term_counts(size_t term, double ev) const {
  return component_counts(static_cast<Component>(term % component_count), changes_[term / component_count],
                          ev);
}

ExpectedSpectra::Weights ExpectedSpectra::weights(const PixelMaterial& m, int label, int sign) const {
  const Defect* defect = label > 0 ? &defects_[static_cast<size_t>(label - 1)] : nullptr;
  const size_t change = defect ? static_cast<size_t>(2 * label - (sign > 0 ? 1 : 0)) : 0;
  // Counts grow with the thickness, as the share of electrons that ionize does.
  double scale = m.brightness * (m.thickness > 0 ? m.thickness / reference_thickness : 1);
  Weights result;
  result.scattering = m.thickness;
  if (defect && defect->kind == DefectKind::intensity) scale *= 1 + sign * defect->strength;
  if (defect && defect->kind == DefectKind::scattering) result.scattering += defect->strength;
  const bool less_oxygen = defect && defect->kind == DefectKind::oxygen;
  const double oxygen = less_oxygen ? 1 - defect->strength : 1;

  // `whole` of a component that stands for itself, `of_it` of it also being part of film or substrate.
  auto add = [&](Component component, double whole, double of_it = 0) {
    const auto index = static_cast<size_t>(component);
    if (defect && changed_by(component, defect->kind)) {
      if (whole + of_it != 0)
        result.terms.push_back({change * component_count + index, scale * (whole + of_it)});
      whole = -of_it;
    }
    if (whole != 0) result.terms.push_back({index, scale * whole});
  };
  const double film = 1 - m.substrate;
  const SiteAmounts &in_film = m.film_sites, &in_substrate = m.substrate_sites;
  const double titanium = m.substrate * in_substrate.metal;
  add(Component::film, film);
  add(Component::iron_lines, m.iron() * (1 - m.damage));
  add(Component::reduced_iron, m.iron() * m.damage);
  add(Component::iron_steps, film * (in_film.metal - 1 - in_film.metal * m.manganese));
  add(Component::manganese, film * m.manganese * in_film.metal);
  add(Component::film_oxygen, film * (oxygen * in_film.oxygen - 1), film);
  add(Component::film_oxygen_peak, -film * m.damage * oxygen * in_film.oxygen);
  add(Component::film_background, 0, film);
  add(Component::substrate, titanium);  // its steps are those of Ti
  add(Component::substrate_oxygen, m.substrate * (oxygen * in_substrate.oxygen - in_substrate.metal),
      titanium);
  add(Component::substrate_background, m.substrate * (1 - in_substrate.metal), titanium);
  add(Component::titanium_lines, titanium);
  if (defect && defect->kind == DefectKind::foreign) add(Component::chromium, defect->strength);
  return result;
}

double ExpectedSpectra::Table::at(double ev) const {
  const double place =
      std::clamp((ev - first_ev) / step_ev, 0.0, static_cast<double>(values.size() - 1) - 1e-9);
  const auto i = static_cast<size_t>(place);
  const double share = place - static_cast<double>(i);
  return values[i] + share * (values[i + 1] - values[i]);
}

std::vector<ExpectedSpectra::Table> ExpectedSpectra::scattered(size_t term, double from_ev,
                                                               double to_ev) const {
  const double step_ev = std::max(0.1, energy_.scale / 4);
  auto table = [&](double from, auto&& function) {
    Table result{from, step_ev, {}};
    result.values.resize(static_cast<size_t>((to_ev - from) / step_ev) + 2);
    for (size_t i = 0; i < result.values.size(); ++i)
      result.values[i] = function(from + static_cast<double>(i) * step_ev);
    return result;
  };
  // Not as far as these defects need: a pixel's spectrum must not depend on those of others.
  constexpr double reach_ev = most_orders * plasmon_ev + sigmas * 4 * plasmon_sigma_ev;
  const Table single = table(from_ev - reach_ev, [&](double ev) { return term_counts(term, ev); });

  std::vector<Table> tables;
  for (size_t n = 1; n <= orders_; ++n) {
    // n plasmons are a Gaussian, too; its integral by the trapezoidal rule, an eighth of sigma apart at n
    // = 1.
    const double centre = static_cast<double>(n) * plasmon_ev;
    const double sigma = std::sqrt(static_cast<double>(n)) * plasmon_sigma_ev;
    const auto half = static_cast<int>(std::ceil(8 * sigmas * std::sqrt(static_cast<double>(n))));
    std::vector<std::pair<double, double>> kernel;
    double sum = 0;
    for (int j = -half; j <= half; ++j) {
      const double z = sigmas * j / half;
      kernel.push_back({centre + sigma * z, std::exp(-0.5 * z * z)});
      sum += kernel.back().second;
    }
    for (auto& [loss, weight] : kernel) weight /= sum;
    tables.push_back(table(from_ev, [&](double ev) {
      double counts = 0;
      for (const auto& [loss, weight] : kernel) counts += weight * single.at(ev - loss);
      return counts;
    }));
  }
  return tables;
}

void ExpectedSpectra::tabulate_scattering() {
  std::vector<uint8_t> needed(terms());
  double most = 0;
  for (size_t pixel = 0; pixel < specimen_.materials.size(); ++pixel) {
    const PixelMaterial& material = specimen_.materials[pixel];
    const int label = places_.labels[pixel];
    const bool scatters =
        label > 0 && defects_[static_cast<size_t>(label - 1)].kind == DefectKind::scattering;
    if (material.thickness == 0 && !scatters) continue;
    const Weights w = weights(material, label, places_.signs[pixel]);
    most = std::max(most, w.scattering);
    for (const auto& [term, weight] : w.terms) needed[term] = 1;
  }
  if (most == 0) return;
  orders_ = poisson(most).size() - 1;
  expect(static_cast<double>(orders_) <= most_orders, "more orders of scattering than there is room for");

  const auto [lowest, highest] = std::minmax_element(specimen_.drift_ev.begin(), specimen_.drift_ev.end());
  const double from_ev = energy_.value(0) - *highest;
  const double to_ev = energy_.value(static_cast<double>(energy_.size - 1)) - *lowest;
  scattered_.resize(terms());
#pragma omp parallel for schedule(dynamic)
  for (size_t term = 0; term < terms(); ++term)
    if (needed[term]) scattered_[term] = scattered(term, from_ev, to_ev);
}

const std::vector<double>& ExpectedSpectra::Line::rows(size_t term) {
  std::vector<double>& rows = rows_[term];
  if (!rows.empty()) return rows;
  const auto channels = static_cast<size_t>(spectra_.energy_.size);
  const bool scattered = !spectra_.scattered_.empty() && !spectra_.scattered_[term].empty();
  rows.resize(channels * (scattered ? 1 + spectra_.orders_ : 1));
  const double drift_ev = spectra_.specimen_.drift_ev[static_cast<size_t>(y_)];
  for (size_t c = 0; c < channels; ++c) {
    const double ev = spectra_.energy_.value(static_cast<double>(c)) - drift_ev;
    rows[c] = spectra_.term_counts(term, ev);
    for (size_t n = 1; scattered && n <= spectra_.orders_; ++n)
      rows[n * channels + c] = spectra_.scattered_[term][n - 1].at(ev);
  }
  return rows;
}

void ExpectedSpectra::Line::spectrum(int64_t x, double* counts) {
  const auto pixel = static_cast<size_t>(y_ * spectra_.specimen_.width + x);
  const auto channels = static_cast<size_t>(spectra_.energy_.size);
  const Weights w = spectra_.weights(spectra_.specimen_.materials[pixel], spectra_.places_.labels[pixel],
                                     spectra_.places_.signs[pixel]);
  const std::vector<double> probabilities = poisson(w.scattering);
  std::fill_n(counts, channels, 0.0);
  for (const auto& [term, weight] : w.terms) {
    const std::vector<double>& all = rows(term);
    for (size_t n = 0; n < probabilities.size(); ++n) {
      const double factor = weight * probabilities[n];
      const double* row = all.data() + n * channels;
      for (size_t c = 0; c < channels; ++c) counts[c] += factor * row[c];
    }
  }
}

double ExpectedSpectra::visible_share(size_t k) const {
  const auto label = static_cast<uint8_t>(k + 1);
  const auto found = std::find(places_.labels.begin(), places_.labels.end(), label);
  if (found == places_.labels.end()) return 1;
  const auto pixel = static_cast<size_t>(found - places_.labels.begin());
  const Weights with = weights(specimen_.materials[pixel], label, places_.signs[pixel]);
  const Weights without = weights(specimen_.materials[pixel], 0, 0);
  auto change = [&](double ev) {
    double sum = 0;
    for (const auto& [term, weight] : with.terms) sum += weight * term_counts(term, ev);
    for (const auto& [term, weight] : without.terms) sum -= weight * term_counts(term, ev);
    return std::abs(sum);
  };
  double anywhere = 0, visible = 0;
  for (double ev = 400; ev <= 1000; ev += 0.25) anywhere = std::max(anywhere, change(ev));
  for (int64_t c = 0; c < energy_.size; ++c)
    visible = std::max(visible, change(energy_.value(static_cast<double>(c))));
  return anywhere > 0 ? std::min(1.0, visible / anywhere) : 0;
}

}  // namespace eelsvae
