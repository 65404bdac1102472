#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/study/study.h"
#include "io/config/config_fields.h"

namespace eelsvae {

// The configuration of a study: the groups of io/config/config.h, which say how a model is made and used, and
// the group `evaluation`. Everything that io/config/config.h says of configurations holds.
Study parse_study(std::string_view text, const std::string& origin,
                  const std::vector<std::string>& overrides = {});
Study read_study(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});
std::string to_json_text(const Study& study);
// Throws UserError where values that are fine by themselves do not go together.
void check_config(const Study& study, const std::string& origin);

// The section of docs/evaluation.md that lists the keys of the group `evaluation`.
std::string study_reference_markdown();

template <typename Test>
auto each(std::string text, Test test) {
  return Rule{"each " + text,
              [test](const auto& list) { return std::all_of(list.begin(), list.end(), test); }};
}
template <typename Test>
auto some_each(std::string text, Test test) {
  return Rule{"one or more, each " + text, [test](const auto& list) {
                return !list.empty() && std::all_of(list.begin(), list.end(), test);
              }};
}

template <typename AnyStudy, typename Visitor>
void visit_study_fields(AnyStudy& study, Visitor&& visit) {
  auto& e = study.evaluation;
  const auto above = [](double value) { return value > 0; };
  const auto positive = [](int64_t value) { return value >= 1; };
  visit(Field{"evaluation", "presets", "",
              "specimens of the honest study, as `eelsvae-simulate` knows them (docs/specimens.md), with "
              "what their "
              "scans have besides: `bfo:vacuum=0.5:correlation=0.3`; []: none"},
        e.presets, anything());
  visit(Field{"evaluation", "shape", "", "pixels along y and x and channels of every simulated recording"},
        e.shape, Rule{"each from 16 to 100000", [](const auto& shape) {
                        return std::all_of(shape.begin(), shape.end(),
                                           [](int64_t n) { return n >= 16 && n <= 100000; });
                      }});
  visit(Field{"evaluation", "energy_offset_ev", "eV", "energy loss of the first channel"}, e.energy_offset_ev,
        above_zero());
  visit(Field{"evaluation", "dispersion_ev", "eV per channel", "width of a channel"}, e.dispersion_ev,
        above_zero());
  visit(Field{"evaluation", "exposure", "", "factor on all counts; 1 as in the published image"}, e.exposure,
        above_zero());
  visit(Field{"evaluation", "seeds", "",
              "of the specimens, of their noise and of the models (in place of `training.seed`); every seed "
              "is a repetition"},
        e.seeds,
        some_each("from 0 to 1000000000", [](int64_t seed) { return seed >= 0 && seed <= 1'000'000'000; }));
  visit(
      Field{"evaluation", "tuning_seeds", "",
            "seeds on which settings of the study were chosen; nothing is done with them, but that none may "
            "stand in `seeds`"},
      e.tuning_seeds, anything());
  visit(
      Field{"evaluation", "defects", "",
            "kinds of anomalies of the honest study, KIND:STRENGTH[:SHAPE[:RADIUS]] (docs/specimens.md), one "
            "to a recording; every preset must be able to show them"},
      e.defects, Rule{"one or more", [](const auto& list) { return !list.empty(); }});
  visit(
      Field{"evaluation", "amounts", "",
            "of anomalies in a recording: below 1 the share of the pixels that are anomalous, otherwise the "
            "number of anomalies"},
      e.amounts, some_each("greater than 0", above));
  visit(Field{"evaluation", "rates", "",
              "false-discovery rates asked for, of the thresholds fdr and conformal"},
        e.rates, some_each("between 0 and 1", [](double rate) { return 0 < rate && rate < 1; }));
  visit(Field{"evaluation", "scores", "", "scores of the honest study; latent is the model's only"}, e.scores,
        Rule{"one or more", [](const auto& list) { return !list.empty(); }});
  visit(
      Field{"evaluation", "baselines", "",
            "what the model is compared with: mean, pca:K or pca (components chosen), rx:K or rx; fitted to "
            "the recording without defects and, besides, to the scored one"},
      e.baselines, anything());
  visit(Field{"evaluation", "train_on_scored", "",
              "also train a model on every recording with defects, as a user does who has that scan alone"},
        e.train_on_scored, anything());
  visit(Field{"evaluation", "published_preset", "", "specimen of the published study"}, e.published_preset,
        anything());
  visit(Field{"evaluation", "published_shifts", "channels",
              "of the Fe L peak in the published study; []: it is left out"},
        e.published_shifts, each("from 1 to 40", [](int64_t shift) { return shift >= 1 && shift <= 40; }));
  visit(Field{"evaluation", "published_amounts", "",
              "of pixels with a moved peak: below 1 their share, otherwise their number; published: 600 of "
              "36864"},
        e.published_amounts, some_each("greater than 0", above));
  visit(Field{"evaluation", "sweep_preset", "",
              "specimen of the sweeps, which use the first seed, every defect and the last amount"},
        e.sweep_preset, anything());
  visit(Field{"evaluation", "sweep_losses", "", "loss.reconstruction of models to compare; []: none"},
        e.sweep_losses, anything());
  visit(
      Field{"evaluation", "sweep_mse_dose", "",
            "loss.dose of mse in this comparison, since the numbers of the two losses differ in size; null: "
            "`loss.dose`"},
      e.sweep_mse_dose, above_zero());
  visit(Field{"evaluation", "sweep_latent_dims", "", "model.latent_dim of models to compare; []: none"},
        e.sweep_latent_dims, each("1 or more", positive));
  visit(Field{"evaluation", "sweep_doses", "", "loss.dose of models to compare; []: none"}, e.sweep_doses,
        each("greater than 0", above));
}

template <typename Visitor>
void visit_fields(Study& study, Visitor&& visit) {
  visit_study_fields(study, visit);
  visit_fields(study.config, visit);
}
template <typename Visitor>
void visit_fields(const Study& study, Visitor&& visit) {
  visit_study_fields(study, visit);
  visit_fields(study.config, visit);
}

}  // namespace eelsvae
