#include "engine/study/study_runner.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "engine/detect/baselines.h"
#include "engine/detect/job.h"
#include "engine/detect/scorer.h"
#include "engine/detect/scores.h"
#include "engine/study/study_protocol.h"
#include "engine/train/job.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using Kind = ScoreOutcome::Kind;
using Part = StudyCell::Part;

// Tells the study of every epoch, too.
class UnitWeights final : public BestWeights {
 public:
  UnitWeights(const StudyUnit& unit, const Model& model, StudyObserver& observer)
      : BestWeights(model, observer.stop()), unit_(unit), observer_(observer) {}
  void on_epoch(const TrainingState& state, bool improved) override {
    observer_.on_epoch(unit_, state.epoch, state.history.back().training.loss);
    BestWeights::on_epoch(state, improved);
  }

 private:
  const StudyUnit& unit_;
  StudyObserver& observer_;
};

// Where expectations come from, and how they are scored.
struct Source {
  std::string name, footing;
  ExpectationSource expect;
  Kind kind;
  std::vector<Score> scores;                      // where the source has its own, one, whichever
  std::optional<Comparison> comparison = {};      // of a model
  std::vector<std::vector<float>> held_out = {};  // for each score: ascending, of normal spectra; or empty
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
    std::optional<Comparison> comparison;
    trained_ = train(clean_.prepared.image, comparison);
    clean_sources_.push_back(source_of(trained_, "clean", comparison));
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
  TrainedModel train(const SpectrumImage& image, std::optional<Comparison>& comparison) {
    TrainingJob job(offer_, config_, image);
    if (!job.kernels_note().empty()) observer_.on_note(job.kernels_note());
    job.start();
    for (const std::string& note : job.backend().notes()) observer_.on_note(note);
    UnitWeights best(unit_, job.model(), observer_);
    if (!job.run(best)) throw Interrupted();
    if (active_units_ < 0) active_units_ = job.state().history.back().active_latent_units;
    if (const PredictionSample* held_out = job.trainer().held_out())
      comparison = compare_baselines(*held_out, image, held_out_pixels(job.trainer().split(), image, 1));
    if (comparison) comparison->model = std::ranges::min_element(job.state().history, {}, counted)->deviance;
    TrainedModel trained = job.finish(best);
    if (comparison)
      comparison->finds = compare_finds(
          image, config_.tiles.image_size,
          [&](const SpectrumImageView& of) {
            return expect_from(*trained.model, of, config_.detection, {}, observer_.stop());
          },
          config_.preprocess, config_.detection);
    return trained;
  }

  Source source_of(const TrainedModel& trained, const std::string& footing,
                   const std::optional<Comparison>& comparison) const {
    const ExpectationSource expect = [this, &trained](const SpectrumImageView& image) {
      return expect_from(*trained.model, image, config_.detection, {}, observer_.stop());
    };
    std::vector<Score> scores = evaluation_.scores;
    if (config_.model.latent == LatentOf::cell) std::erase(scores, Score::latent);
    return {"model", footing, expect, Kind::configured, std::move(scores), comparison};
  }

  std::vector<Score> scores_of_baselines() const {
    std::vector<Score> scores = evaluation_.scores;
    std::erase_if(scores, needs_model);
    return scores;
  }

  Source source_of(const std::string& name, const SpectrumImage& image, const std::string& footing) const {
    const BaselineSpec spec = parse_baseline(name);
    const bool own = spec.kind == BaselineSpec::Kind::rx;
    auto baseline = std::make_shared<Baseline>(image, std::span<const uint8_t>{}, spec);
    return {name, footing, [baseline](const SpectrumImageView& i) { return expect_from(*baseline, i); },
            own ? Kind::own : Kind::configured, own ? std::vector{Score::whitened} : scores_of_baselines()};
  }

  void fit_sources() {
    for (const std::string& name : evaluation_.baselines)
      clean_sources_.push_back(source_of(name, clean_.prepared.image, "clean"));
    // Nothing can expect better: what is left to win is the distance to it.
    SimulationSettings settings = recording_settings(evaluation_, unit_.preset, unit_.seed, 0);
    settings.noise = false;
    auto known = std::make_shared<SpectrumImage>(
        std::move(record(settings, config_, &fitted_, backend_.get()).prepared.image));
    const ExpectationSource truth = [known](const SpectrumImageView&) {
      return Expectation{known->counts, {}, {}, {}};
    };
    clean_sources_.push_back({"known truth", "clean", truth, Kind::configured, scores_of_baselines()});
  }

  std::vector<Source> contaminated_sources(const std::vector<std::string>& names,
                                           const SpectrumImage& image) const {
    std::vector<Source> sources;
    for (const std::string& name : names) sources.push_back(source_of(name, image, "contaminated"));
    return sources;
  }

  // Scores of the recording that is held out, for conformal thresholds; made when they are first needed.
  void hold_out(Source& source) {
    if (!source.held_out.empty()) return;
    if (!held_out_)
      held_out_ = record(recording_settings(evaluation_, unit_.preset, unit_.seed, 1), config_, &fitted_,
                         backend_.get());
    NormalSpectra normal{held_out_->prepared.image, config_.preprocess, held_out_->left_out};
    for (uint8_t& pixel : normal.pixels) pixel = !pixel;
    source.held_out = normal_scores(normal, source.expect(normal.image), config_.detection, source.scores,
                                    observer_.stop());
  }

  void count(StudyResult& result, const std::vector<uint8_t>& truth, const std::vector<uint8_t>& left_out) {
    for (size_t i = 0; i < truth.size(); ++i) {
      result.left_out += left_out[i] != 0;
      result.pixels += left_out[i] == 0;
      result.anomalous += left_out[i] == 0 && truth[i] != 0;
    }
  }

  void add_outcome(StudyResult& result, const Source& source, Kind kind, Score score, ScoreOutcome outcome) {
    outcome.source = source.name;
    outcome.footing = source.footing;
    outcome.kind = kind;
    outcome.score = score;
    outcome.comparison = source.comparison;
    result.outcomes.push_back(std::move(outcome));
  }

  void add_outcomes(StudyResult& result, const StudyImage& image, Source& source,
                    const std::string& defect = "") {
    if (source.footing == "clean") hold_out(source);
    const std::vector<std::vector<float>> maps =
        score_maps(image.prepared.image, source.expect(image.prepared.image), config_.preprocess,
                   config_.detection, source.scores, observer_.stop());
    for (size_t k = 0; k < maps.size(); ++k) {
      add_outcome(
          result, source, source.kind, source.scores[k],
          outcome_of(maps[k], image.truth, image.left_out, image.prepared.image.excluded, evaluation_.rates,
                     source.held_out.empty() ? std::span<const float>{} : source.held_out[k]));
      result.outcomes.back().defect = defect;
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
    if (evaluation_.train_on_scored) {
      std::optional<Comparison> comparison;
      const TrainedModel trained = train(image.prepared.image, comparison);
      Source source = source_of(trained, "contaminated", comparison);
      add_outcomes(result, image, source);
    }
    if (!image.ceiling.empty())
      add_outcome(result, {"likelihood ratio", "clean", {}, Kind::own, {}}, Kind::own, Score::whitened,
                  outcome_of(image.ceiling, image.truth, image.left_out, image.prepared.image.excluded,
                             evaluation_.rates, {}));
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
      if (source.kind != Kind::own) add_quality(result, image.prepared.image, source);
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
    const ChannelWindow published_channels = channel_window(image.energy, published_window_ev);
    // By the published score, if asked for, and by these.
    const auto add = [&](const Source& source, bool published, const std::vector<Score>& scores) {
      const Expectation expectation = source.expect(image);
      const auto outcome = [&](const std::vector<float>& map) {
        return outcome_of(map, truth, left_out, left_out, evaluation_.rates, {});
      };
      if (published)
        add_outcome(result, source, Kind::published, Score::pearson,
                    outcome(pearson_scores(image, expectation.spectra, published_channels)));
      const std::vector<std::vector<float>> maps =
          score_maps(image, expectation, config_.preprocess, config_.detection, scores, observer_.stop());
      for (size_t k = 0; k < maps.size(); ++k)
        add_outcome(result, source, source.kind, scores[k], outcome(maps[k]));
    };
    std::vector<Score> ours = evaluation_.scores;
    std::erase_if(ours, [](Score score) { return score != Score::whitened && score != Score::combined; });
    for (const Source& source : clean_sources_) {
      const bool own = source.kind == Kind::own;
      add(source, !own, own ? source.scores : ours);
    }
    for (const Source& source : contaminated_sources({"pca:3", "pca:4", "pca:5"}, image))
      add(source, true, {});
  }

  const StudyUnit& unit_;
  const Config& config_;
  const EvaluationConfig& evaluation_;
  const BackendOffer& offer_;
  std::unique_ptr<Backend> backend_;
  StudyObserver& observer_;
  StudyImage clean_;
  FittedPreprocess fitted_;
  std::optional<StudyImage> held_out_;
  TrainedModel trained_;
  int64_t active_units_ = -1;  // of the unit's own model, which is the first
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
