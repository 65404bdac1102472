#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/image/spectrum_image.h"
#include "engine/specimen/defects.h"
#include "engine/specimen/specimen.h"
#include "engine/specimen/spectrum_components.h"

namespace eelsvae {

// The noiseless spectra of a specimen with defects: counts per channel of 0.3 eV, before stripes, thickness
// waves and the response of the channels.
//
// A pixel's spectrum is a sum of components (engine/specimen/spectrum_components.h), changed by the pixel's
// defect, with weights that follow from its material. Plural scattering adds to each component its
// convolutions with one, two, ... plasmons, weighted by Poisson's distribution; these are tabulated once,
// while the components themselves are computed at the exact energies of every scan line.
class ExpectedSpectra {
 public:
  ExpectedSpectra(const Axis& energy, const Specimen& specimen, const std::vector<Defect>& defects,
                  const DefectPlaces& places);

  // What a thread needs for itself: the components at the energies of a line, made when first asked for.
  class Line {
   public:
    Line(const ExpectedSpectra& spectra, int64_t y) : spectra_(spectra), y_(y), rows_(spectra.terms()) {}
    // Writes the counts (E) of pixel x.
    void spectrum(int64_t x, double* counts);

   private:
    const std::vector<double>& rows(size_t term);
    const ExpectedSpectra& spectra_;
    int64_t y_;
    std::vector<std::vector<double>> rows_;  // (term), then (order of scattering, E)
  };

  // The largest change that the k-th defect makes to a pixel's spectrum on the axis, as a share of its
  // largest change between 400 and 1000 eV; 1 where the image has no pixel with it.
  double visible_share(size_t k) const;

 private:
  struct Weights {
    std::vector<std::pair<size_t, double>> terms;  // a component with a change, and its factor
    double scattering = 0;                         // mean free paths
  };
  // A function of energy, linear between points `step` apart.
  struct Table {
    double first_ev = 0, step_ev = 1;
    std::vector<double> values;
    double at(double ev) const;
  };

  size_t terms() const { return component_count * changes_.size(); }
  double term_counts(size_t term, double ev) const;
  Weights weights(const PixelMaterial& material, int label, int sign) const;
  void tabulate_scattering();
  std::vector<Table> scattered(size_t term, double from_ev, double to_ev) const;

  const Axis& energy_;
  const Specimen& specimen_;
  const std::vector<Defect>& defects_;
  const DefectPlaces& places_;
  std::vector<EdgeChange> changes_;            // none, then two for each defect: of sign + and -
  size_t orders_ = 0;                          // of plural scattering that count
  std::vector<std::vector<Table>> scattered_;  // (term), then (order - 1); empty where not needed
};

}  // namespace eelsvae
