#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/detect/baselines.h"
#include "engine/detect/expectation.h"
#include "engine/image/spectrum_image.h"
#include "engine/live/row_band.h"
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
  // Of all rows without an expectation, to the last of these, the next ones, whose spectra may still change.
  // Where guesses() says no, that costs too much.
  virtual bool guesses() const = 0;
  virtual Expectation guess(const SpectrumImageView& rows) = 0;
};

// A baseline, which must outlive it.
class BaselineRows final : public RowExpectation {
 public:
  // Of a scan of so many rows.
  BaselineRows(const Baseline& baseline, int64_t height) : baseline_(baseline), height_(height) {}

  int64_t reach() const override { return baseline_.reach(); }
  Expectation add(const SpectrumImageView& rows) override;
  bool guesses() const override { return true; }
  Expectation guess(const SpectrumImageView& rows) override;

 private:
  void hold(const SpectrumImageView& rows);
  // Of the rows told_ to `last` of those that are held.
  Expectation expected(const SpectrumImageView& rows, int64_t last);

  const Baseline& baseline_;
  int64_t height_;
  // Rows of the scan that are still needed, those of first_ and after it, and their mask.
  std::optional<RowBand> held_;
  std::vector<uint8_t> held_mask_;
  int64_t first_ = 0, told_ = 0;  // told_: the first without expectation
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
  bool guesses() const override { return false; }
  Expectation guess(const SpectrumImageView&) override { return {}; }

 private:
  RowReconstruction rows_;
  bool foretells_totals_;
};

}  // namespace eelsvae
