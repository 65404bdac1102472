#include "io/serve/row_scans.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "engine/detect/kept_detection.h"
#include "io/config/detection_settings.h"
#include "io/model/checkpoint.h"
#include "io/model/model_rows.h"
#include "io/run/training_run.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

class SessionScan : public LiveScan {
 public:
  SessionScan(RowSession session, const Axis& energy, std::string scored_by)
      : session_(std::move(session)), energy_(energy), scored_by_(std::move(scored_by)) {}

  Rows push(int64_t first, int64_t count, std::span<const float> spectra) override {
    return learning([&] { return session_.push(first, count, spectra); });
  }
  Rows score_provisionally() override { return session_.score_provisionally(); }
  Rows finish() override {
    return learning([&] { return session_.finish(); });
  }
  int64_t final_rows() const override { return session_.final_rows(); }
  int64_t scored_rows() const override { return session_.scored_rows(); }
  int64_t complete_rows() const override { return session_.complete_rows(); }
  int64_t reach() const override { return session_.reach(); }
  const ScanCounts& counts() const override { return session_.counts(); }
  std::span<const float> scores() const override { return session_.scores(); }
  double threshold() const override { return session_.threshold(); }
  std::vector<AnomalousSpectrum> worst(int64_t most) const override { return session_.worst(most); }
  Detection result() const override { return session_.result(); }
  Axis prepared_energy() const override {
    const std::shared_ptr<const DetectionState> state = session_.state();
    return state ? state->fitted.energy : energy_;
  }
  std::string scored_by() const override { return scored_by_; }

 private:
  // A mistake of the sender's leaves the scan as it was, and this one does not.
  template <class Work>
  static Rows learning(const Work& work) {
    try {
      return work();
    } catch (const NothingLearned& error) {
      throw std::runtime_error(std::string("nothing can be learned from its first rows: ") + error.what());
    }
  }

  RowSession session_;
  Axis energy_;
  std::string scored_by_;
};

}  // namespace

ScansByState::ScansByState(std::shared_ptr<const DetectionState> state, std::string name)
    : state_(std::move(state)), name_(std::move(name)) {
  if (!state_->baseline)
    throw UserError(name_ + " is of a detection with a model; give that, too, with --model RUN");
}

std::unique_ptr<LiveScan> ScansByState::open(const ScanPlan& plan) {
  return std::make_unique<SessionScan>(RowSession(state_, plan), plan.energy, description());
}

ScansByModel::ScansByModel(SafetensorsFile file, const Config& config, BackendOffer offer,
                           std::shared_ptr<const DetectionState> state, std::string name)
    : file_(std::move(file)),
      config_(config),
      offer_(std::move(offer)),
      state_(std::move(state)),
      name_(std::move(name)) {
  check_made_with(file_, *state_);
  if (config_.model.latent == LatentOf::cell)
    throw UserError(name_ +
                    ": a network of cells (model.latent=cell) does not reconstruct rows as they come; one of "
                    "tiles does, and a baseline");
}

std::unique_ptr<LiveScan> ScansByModel::open(const ScanPlan& plan) {
  if (!model_ || plan.height != height_ || plan.width != width_) {
    model_ = load_row_model(file_, config_, *state_, plan.height, plan.width, offer_);
    height_ = plan.height;
    width_ = plan.width;
  }
  return std::make_unique<SessionScan>(RowSession(state_, plan, RowSession::default_patience,
                                                  rows_of_model(model_, *state_, plan.height, plan.width)),
                                       plan.energy, description());
}

LearningScans::LearningScans(LearnFromRows learning) : learning_(std::move(learning)) {
  check_can_be_kept(learning_.preprocess, learning_.detection);
}

std::unique_ptr<LiveScan> LearningScans::open(const ScanPlan& plan) {
  LearnFromRows learning = learning_;
  learning.rows = std::min(learning.rows, plan.height);
  check_plan(plan);
  return std::make_unique<SessionScan>(RowSession(learning, plan), plan.energy, description());
}

std::string LearningScans::description() const {
  return to_string(learning_.baseline) + ", learned from the first " + std::to_string(learning_.rows) +
         " rows of each scan";
}

std::unique_ptr<LiveScanSource> scans_by(std::shared_ptr<const DetectionState> state, const std::string& name,
                                         const std::string& model, const std::vector<std::string>& settings,
                                         std::string* said) {
  if (model.empty()) return std::make_unique<ScansByState>(std::move(state), name);
  for (const std::string& setting : settings) {
    const std::string key = setting.substr(0, setting.find('='));
    if (key != "device" && key != "precision" && key != "detection.batch_size")
      throw UserError("--set " + key +
                      ": belongs to the state; beside --model may be set device, precision and "
                      "detection.batch_size");
  }
  SafetensorsFile file(model_file(model));
  Config config = read_checkpoint_info(file).config;
  apply_to_detection(settings, config, "--set");
  BackendOffer offer = find_backend(config.device, config.precision, "auto", said);
  return std::make_unique<ScansByModel>(std::move(file), config, std::move(offer), std::move(state),
                                        model + " and " + name);
}

}  // namespace eelsvae
