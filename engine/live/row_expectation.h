#pragma once

#include <cstdint>

#include "engine/detect/baselines.h"
#include "engine/detect/expectation.h"
#include "engine/image/spectrum_image.h"
#include "engine/network/model.h"
#include "engine/network/reconstruction.h"

namespace eelsvae {

// What is expected of the spectra of a running scan, as its rows are prepared one after the other.
class RowExpectation {
 public:
  virtual ~RowExpectation() = default;

  // So many rows after a row have to be there before it is known what is expected of it.
  virtual int64_t reach() const = 0;
  // So many rows before the first one without an expectation are still looked at.
  virtual int64_t before() const = 0;
  // More rows are prepared. rows: those of the scan from row `first` on, with before() ones before the first
  // that has no expectation, to the last that is prepared. Into `known` what is expected of the rows for
  // which that is known now: those that follow what was told before.
  virtual void add(const SpectrumImageView& rows, int64_t first, Expectation& known) = 0;
  // The same of all rows without an expectation, to the last of these, whose spectra may still change; they
  // are not taken. Where guesses() says no, that costs too much.
  virtual bool guesses() const = 0;
  virtual void guess(const SpectrumImageView& rows, int64_t first, Expectation& known) = 0;
};

// A baseline, which must outlive it.
class BaselineRows final : public RowExpectation {
 public:
  // Of a scan of so many rows.
  BaselineRows(const Baseline& baseline, int64_t height) : baseline_(baseline), height_(height) {}

  int64_t reach() const override { return baseline_.reach(); }
  int64_t before() const override { return baseline_.reach(); }
  void add(const SpectrumImageView& rows, int64_t first, Expectation& known) override;
  bool guesses() const override { return true; }
  void guess(const SpectrumImageView& rows, int64_t first, Expectation& known) override;

 private:
  // Of the rows from told_ to `last`.
  void expect(const SpectrumImageView& rows, int64_t first, int64_t last, Expectation& known) const;

  const Baseline& baseline_;
  int64_t height_;
  int64_t told_ = 0;  // the first row without an expectation
};

// A model, which must outlive it, sees the rows of a tile together.
class ModelRows final : public RowExpectation {
 public:
  // Arguments and errors as RowReconstruction has them.
  ModelRows(Model& model, int64_t height, int64_t width, const Axis& energy, const DetectionConfig& config)
      : rows_(model, height, width, energy, config.stride, config.blend),
        foretells_totals_(model.loss_kind() == ReconstructionLoss::poisson) {}

  int64_t reach() const override { return rows_.reach(); }
  int64_t before() const override { return 0; }
  void add(const SpectrumImageView& rows, int64_t first, Expectation& known) override {
    known.spectra = rows_.add(rows.rows(there_ - first, rows.y.size));
    known.foretells_totals = foretells_totals_;
    there_ = first + rows.y.size;
  }
  bool guesses() const override { return false; }
  void guess(const SpectrumImageView&, int64_t, Expectation&) override {}

 private:
  RowReconstruction rows_;
  bool foretells_totals_;
  int64_t there_ = 0;  // rows that were taken
};

}  // namespace eelsvae
