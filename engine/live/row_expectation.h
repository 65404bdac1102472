#pragma once

#include <cstdint>
#include <optional>

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
  // Takes the next prepared rows. Returns what is expected of the rows that are known with them: those that
  // follow what was returned before, at most as far as what was taken.
  virtual Expectation add(const SpectrumImageView& rows) = 0;
  // Of rows whose spectra may still change; absent where that costs too much.
  virtual std::optional<Expectation> guess(const SpectrumImageView& rows) = 0;
};

// A baseline, which looks at one spectrum at a time, must outlive it.
class BaselineRows final : public RowExpectation {
 public:
  explicit BaselineRows(const Baseline& baseline) : baseline_(baseline) {}

  int64_t reach() const override { return 0; }
  Expectation add(const SpectrumImageView& rows) override { return expect_from(baseline_, rows); }
  std::optional<Expectation> guess(const SpectrumImageView& rows) override {
    return expect_from(baseline_, rows);
  }

 private:
  const Baseline& baseline_;
};

// A model, which must outlive it, sees the rows of a tile together.
class ModelRows final : public RowExpectation {
 public:
  // Arguments and errors as RowReconstruction has them.
  ModelRows(Model& model, int64_t height, int64_t width, const Axis& energy, const DetectionConfig& config)
      : rows_(model, height, width, energy, config.stride, config.blend),
        foretells_totals_(model.loss_kind() == ReconstructionLoss::poisson) {}

  int64_t reach() const override { return rows_.reach(); }
  Expectation add(const SpectrumImageView& rows) override {
    Expectation expectation;
    expectation.spectra = rows_.add(rows);
    expectation.foretells_totals = foretells_totals_;
    return expectation;
  }
  std::optional<Expectation> guess(const SpectrumImageView&) override { return std::nullopt; }

 private:
  RowReconstruction rows_;
  bool foretells_totals_;
};

}  // namespace eelsvae
