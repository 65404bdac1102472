#include "engine/study/study_runner.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "engine/detect/baselines.h"
#include "engine/detect/job.h"
#include "engine/detect/scorer.h"
#include "engine/detect/scores.h"
#include "engine/network/kernel_choice.h"
#include "engine/study/study_protocol.h"
#include "engine/train/trainer.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using Kind = ScoreOutcome::Kind;
using Part = StudyCell::Part;

// Keeps the weights of the best epoch, as eelsvae-train does on disk.
class BestWeights final : public TrainingObserver {
 public:
  BestWeights(const StudyUnit& unit, Model& model, StudyObserver& observer)
      : unit_(unit), model_(model), observer_(observer) {}
  void on_step(const TrainingState&, int64_t, double) override {}
  void on_epoch(const TrainingState& state, bool improved) override {
    observer_.on_epoch(unit_, state.epoch, state.history.back().training.loss);
    if (!improved) return;
    weights_.clear();
    for (const Model::State& tensor : model_.states()) {
      if (!tensor.weight) continue;
      std::vector<float>& values = weights_[tensor.name];
      model_.read_state(tensor, [&](const float* block, int64_t count) {
        values.insert(values.end(), block, block + count);
      });
    }
  }
  bool stop_requested() override { return observer_.stop().requested(); }

  void load_into(Model& other) const {
    for (const Model::State& tensor : other.states()) {
      auto next = weights_.at(tensor.name).begin();
      other.write_state(tensor, [&](float* block, int64_t count) {
        std::copy_n(next, count, block);
        next += count;
      });
    }
    other.refresh();
  }

 private:
  const StudyUnit& unit_;
  Model& model_;
  StudyObserver& observer_;
  std::map<std::string, std::vector<float>> weights_;
};

struct ScoreChoice {
  Kind kind;
  Score score;
};

// Where expectations come from, and what was fitted beforehand.
struct Source {
  std::string name, footing;
  ExpectationSource expect;
  std::vector<ScoreChoice> scores;
  std::vector<std::vector<float>> held_out;  // for each score: ascending, of normal spectra; or empty
};

class UnitRun {
 public:
  UnitRun(const StudyUnit& unit, const Study& study, const BackendOffer& offer, StudyObserver& observer)
      : unit_(unit),
        config_(unit.config),
        evaluation_(study.evaluation),
        offer_(offer),
        backend_(offer.create(offer.variants.front())),
        observer_(observer) {}

  void run() {
    clean_ = record(recording_settings(evaluation_, unit_.preset, unit_.seed, 0), config_, nullptr,
                    backend_.get());
    fitted_ = {clean_.prepared.image.energy, clean_.prepared.scaling, clean_.prepared.alignment};
    for (const std::string& note : clean_.prepared.notes) observer_.on_note(note);
    check_non_negative(clean_.prepared.image, config_.loss.reconstruction);
    train();
    fit_sources();
    for (const StudyCell& cell : unit_.cells) {
      StudyResult result;
      result.cell = cell;
      result.active_latent_units = active_units_;
      result.latent_units = config_.model.latent_dim;
      switch (cell.part) {
        case Part::published:
          score_published(result);
          break;
        case Part::defects:
          score_defect(result);
          break;
        case Part::normal:
          score_normal(result);
          break;
        case Part::sweep:
          score_sweep(result);
          break;
      }
      observer_.on_result(result);
    }
  }

 private:
  void train() {
    const ModelShape shape = model_shape(config_.tiles, config_.model, clean_.prepared.image.energy.size);
    const KernelChoice choice = choose_kernels(offer_, shape, config_.loss.reconstruction,
                                               config_.training.batch_size, Purpose::training);
    if (const std::string text = describe(choice); !text.empty()) observer_.on_note(text);
    network_backend_ = offer_.create(choice.variant);
    Model trained(*network_backend_, shape, config_.loss.reconstruction, config_.training.batch_size,
                  Purpose::training);
    Trainer trainer(trained, config_, clean_.prepared.image);
    trained.allocate();
    for (const std::string& note : network_backend_->notes()) observer_.on_note(note);
    trained.initialize(config_.training.seed);
    TrainingState state = trainer.initial_state();
    BestWeights best(unit_, trained, observer_);
    if (!trainer.run(state, best)) throw Interrupted();
    active_units_ = state.history.back().active_latent_units;
    model_ = std::make_unique<Model>(*network_backend_, shape, config_.loss.reconstruction,
                                     config_.detection.batch_size, Purpose::inference);
    model_->allocate();
    best.load_into(*model_);
  }

  Expectation of_model(const SpectrumImageView& image) {
    return expect_from(*model_, image, config_.detection, {}, observer_.stop());
  }

  std::vector<ScoreChoice> choices_of(const BaselineSpec& spec) const {
    if (spec.kind == BaselineSpec::Kind::rx) return {{Kind::own, Score::whitened}};
    std::vector<ScoreChoice> list;
    for (Score score : evaluation_.scores)
      if (score != Score::latent) list.push_back({Kind::configured, score});
    return list;
  }

  Source source_of(const std::string& name, const SpectrumImage& image, const std::string& footing) const {
    const BaselineSpec spec = parse_baseline(name);
    auto baseline = std::make_shared<Baseline>(image, std::span<const uint8_t>{}, spec);
    return {name,
            footing,
            [baseline](const SpectrumImageView& i) { return expect_from(*baseline, i); },
            choices_of(spec),
            {}};
  }

  void fit_sources() {
    Source model{
        "model", "clean", [this](const SpectrumImageView& image) { return of_model(image); }, {}, {}};
    for (Score score : evaluation_.scores) model.scores.push_back({Kind::configured, score});
    clean_sources_.push_back(std::move(model));
    for (const std::string& name : evaluation_.baselines)
      clean_sources_.push_back(source_of(name, clean_.prepared.image, "clean"));
    // Nothing can expect better: what is left to win is the distance to it.
    SimulationSettings settings = recording_settings(evaluation_, unit_.preset, unit_.seed, 0);
    settings.noise = false;
    auto known = std::make_shared<SpectrumImage>(
        std::move(record(settings, config_, &fitted_, backend_.get()).prepared.image));
    Source truth{"known truth", "clean", {}, choices_of(parse_baseline("mean")), {}};
    truth.expect = [known](const SpectrumImageView&) {
      return Expectation{{known->counts.begin(), known->counts.end()}, {}, {}, {}};
    };
    clean_sources_.push_back(std::move(truth));
  }

  std::vector<Source> contaminated_sources(const std::vector<std::string>& names,
                                           const SpectrumImage& image) const {
    std::vector<Source> sources;
    for (const std::string& name : names) sources.push_back(source_of(name, image, "contaminated"));
    return sources;
  }

  // The maps of several scores of one expectation.
  std::vector<std::vector<float>> maps_of(const SpectrumImage& image, const Expectation& expectation,
                                          const std::vector<ScoreChoice>& choices) {
    Scorer scorer(image, expectation, config_.preprocess, config_.detection);
    std::vector<std::vector<float>> maps;
    for (const ScoreChoice& choice : choices) {
      observer_.stop().stop_if_requested();
      maps.push_back(
          choice.kind == Kind::published
              ? pearson_scores(image, expectation.spectra, channel_window(image.energy, published_window_ev))
              : scorer.scores(choice.score));
    }
    return maps;
  }

  // Scores of the recording that is held out, for conformal thresholds; made when they are first needed.
  void hold_out(Source& source) {
    if (!source.held_out.empty()) return;
    if (!held_out_)
      held_out_ = record(recording_settings(evaluation_, unit_.preset, unit_.seed, 1), config_, &fitted_,
                         backend_.get());
    const SpectrumImage& image = held_out_->prepared.image;
    const Expectation expectation = source.expect(image);
    std::vector<uint8_t> normal(held_out_->left_out.size());
    std::transform(held_out_->left_out.begin(), held_out_->left_out.end(), normal.begin(),
                   std::logical_not<>());
    for (const std::vector<float>& scores : maps_of(image, expectation, source.scores))
      source.held_out.push_back(sorted_scores(scores, normal));
  }

  void count(StudyResult& result, const std::vector<uint8_t>& truth, const std::vector<uint8_t>& left_out) {
    for (size_t i = 0; i < truth.size(); ++i) {
      result.left_out += left_out[i] != 0;
      result.pixels += left_out[i] == 0;
      result.anomalous += left_out[i] == 0 && truth[i] != 0;
    }
  }

  void add_outcomes(StudyResult& result, const StudyImage& image, Source& source,
                    const std::string& defect = "") {
    if (source.footing == "clean") hold_out(source);
    const Expectation expectation = source.expect(image.prepared.image);
    const std::vector<std::vector<float>> maps = maps_of(image.prepared.image, expectation, source.scores);
    for (size_t k = 0; k < maps.size(); ++k) {
      ScoreOutcome outcome = outcome_of(
          maps[k], image.truth, image.left_out, {}, evaluation_.rates,
          source.held_out.empty() ? std::span<const float>{} : std::span<const float>(source.held_out[k]));
      outcome.source = source.name;
      outcome.footing = source.footing;
      outcome.kind = source.scores[k].kind;
      outcome.score = source.scores[k].score;
      outcome.defect = defect;
      result.outcomes.push_back(std::move(outcome));
    }
  }

  StudyImage defect_image(const std::string& defect, double amount) {
    const auto kind = std::find(evaluation_.defects.begin(), evaluation_.defects.end(), defect);
    const auto share = std::find(evaluation_.amounts.begin(), evaluation_.amounts.end(), amount);
    expect(kind != evaluation_.defects.end() && share != evaluation_.amounts.end(),
           "a cell that is not planned");
    const int64_t recording = 3 + (kind - evaluation_.defects.begin()) * std::ssize(evaluation_.amounts) +
                              (share - evaluation_.amounts.begin());
    return record(
        recording_settings(evaluation_, unit_.preset, unit_.seed, recording, parse_defect(defect), amount),
        config_, &fitted_, backend_.get());
  }

  void score_defect(StudyResult& result) {
    const StudyImage image = defect_image(result.cell.subject, result.cell.amount);
    count(result, image.truth, image.left_out);
    for (Source& source : clean_sources_) add_outcomes(result, image, source);
    for (Source& source : contaminated_sources(evaluation_.baselines, image.prepared.image))
      add_outcomes(result, image, source);
  }

  StudyImage normal_image() {
    return record(recording_settings(evaluation_, unit_.preset, unit_.seed, 2), config_, &fitted_,
                  backend_.get());
  }

  void add_quality(StudyResult& result, const SpectrumImage& image, const Source& source) {
    observer_.stop().stop_if_requested();
    const Expectation expectation = source.expect(image);
    const NoiseModel noise =
        Scorer(image, expectation, config_.preprocess, config_.detection).residuals().noise;
    result.quality.push_back(quality_of(image, expectation.spectra, noise));
    result.quality.back().source = source.name;
  }

  void score_normal(StudyResult& result) {
    const StudyImage image = normal_image();
    count(result, image.truth, image.left_out);
    for (Source& source : clean_sources_) {
      add_outcomes(result, image, source);
      if (source.scores.front().kind != Kind::own) add_quality(result, image.prepared.image, source);
    }
    for (Source& source : contaminated_sources(evaluation_.baselines, image.prepared.image))
      add_outcomes(result, image, source);
  }

  void score_sweep(StudyResult& result) {
    add_quality(result, normal_image().prepared.image, clean_sources_.front());
    for (const std::string& defect : evaluation_.defects) {
      const StudyImage image = defect_image(defect, result.cell.amount);
      count(result, image.truth, image.left_out);
      add_outcomes(result, image, clean_sources_.front(), defect);
    }
  }

  // In the very image that was trained on. The filters came before, so nothing spreads to neighbours.
  void score_published(StudyResult& result) {
    SpectrumImage image = clean_.prepared.image;
    const std::vector<uint8_t> truth =
        inject_shifts(image, published_injection(result.cell.subject, image, result.cell.amount, unit_.seed));
    std::vector<uint8_t> left_out = excluded_tiles(config_.tiles, image.y.size, image.x.size);
    for (size_t i = 0; i < left_out.size(); ++i) left_out[i] |= clean_.left_out[i];
    count(result, truth, left_out);
    auto add = [&](const Source& source, const std::vector<ScoreChoice>& choices) {
      const Expectation expectation = source.expect(image);
      const std::vector<std::vector<float>> maps = maps_of(image, expectation, choices);
      for (size_t k = 0; k < maps.size(); ++k) {
        ScoreOutcome outcome = outcome_of(maps[k], truth, left_out, left_out, evaluation_.rates, {});
        outcome.source = source.name;
        outcome.footing = source.footing;
        outcome.kind = choices[k].kind;
        outcome.score = choices[k].score;
        result.outcomes.push_back(std::move(outcome));
      }
    };
    const ScoreChoice published{Kind::published, Score::pearson};
    std::vector<ScoreChoice> ours = {published};
    for (Score score : evaluation_.scores)
      if (score == Score::whitened || score == Score::combined) ours.push_back({Kind::configured, score});
    for (const Source& source : clean_sources_) {
      if (source.scores.front().kind == Kind::own) {
        add(source, source.scores);
        continue;
      }
      add(source, ours);
    }
    for (const Source& source : contaminated_sources({"pca:3", "pca:4", "pca:5"}, image))
      add(source, {published});
  }

  const StudyUnit& unit_;
  const Config& config_;
  const EvaluationConfig& evaluation_;
  const BackendOffer& offer_;
  std::unique_ptr<Backend> backend_, network_backend_;
  StudyObserver& observer_;
  StudyImage clean_;
  FittedPreprocess fitted_;
  std::optional<StudyImage> held_out_;
  std::unique_ptr<Model> model_;
  int64_t active_units_ = 0;
  std::vector<Source> clean_sources_;
};

}  // namespace

bool run_unit(const StudyUnit& unit, const Study& study, const BackendOffer& offer, StudyObserver& observer) {
  try {
    UnitRun(unit, study, offer, observer).run();
    return true;
  } catch (const Interrupted&) {
    return false;
  }
}

}  // namespace eelsvae
