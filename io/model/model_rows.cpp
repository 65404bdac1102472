#include "io/model/model_rows.h"

#include <utility>

#include "io/model/trained_model.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// With the model that it is made with.
class OwnedModelRows final : public RowExpectation {
 public:
  OwnedModelRows(std::shared_ptr<TrainedModel> trained, const DetectionState& state, int64_t height,
                 int64_t width)
      : trained_(std::move(trained)),
        rows_(*trained_->model, height, width, state.fitted.energy, state.detection) {}

  int64_t reach() const override { return rows_.reach(); }
  int64_t before() const override { return rows_.before(); }
  void add(const SpectrumImageView& rows, int64_t first, Expectation& known) override {
    rows_.add(rows, first, known);
  }
  bool guesses() const override { return rows_.guesses(); }
  void guess(const SpectrumImageView& rows, int64_t first, Expectation& known) override {
    rows_.guess(rows, first, known);
  }

 private:
  std::shared_ptr<TrainedModel> trained_;
  ModelRows rows_;
};

}  // namespace

void check_made_with(const SafetensorsFile& file, const DetectionState& state) {
  if (state.baseline)
    throw UserError("the state has a baseline of its own, which expects the spectra; leave the model out");
  if (state.model_fingerprint != model_fingerprint(file))
    throw UserError("the state was made with another model than " + file.path() +
                    "; give that, or detect with this one to make a state");
}

std::shared_ptr<TrainedModel> load_row_model(const SafetensorsFile& file, const Config& config,
                                             const DetectionState& state, int64_t height, int64_t width,
                                             const BackendOffer& offer) {
  check_made_with(file, state);
  return std::make_shared<TrainedModel>(
      load_trained_model(file, config, state.fitted.energy.size,
                         tiles_at_a_time(config.tiles, state.detection, height, width), offer));
}

std::unique_ptr<RowExpectation> rows_of_model(std::shared_ptr<TrainedModel> model,
                                              const DetectionState& state, int64_t height, int64_t width) {
  return std::make_unique<OwnedModelRows>(std::move(model), state, height, width);
}

std::unique_ptr<RowExpectation> load_model_rows(const SafetensorsFile& file, const Config& config,
                                                const DetectionState& state, int64_t height, int64_t width,
                                                const BackendOffer& offer) {
  return rows_of_model(load_row_model(file, config, state, height, width, offer), state, height, width);
}

}  // namespace eelsvae
