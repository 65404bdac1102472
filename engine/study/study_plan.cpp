#include "engine/study/study_plan.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/detect/baselines.h"
#include "engine/image/energy_axis.h"
#include "engine/prepare/preprocess.h"
#include "engine/short_number.h"
#include "engine/specimen/simulate.h"
#include "engine/study/study_protocol.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Repeats what `action` has against a value, with the key that the value stands in.
template <typename Action>
void checked(const std::string& key, Action action) {
  try {
    action();
  } catch (const UserError& error) {
    throw UserError("evaluation." + key + ": " + error.what());
  }
}

template <typename T>
void check_distinct(const std::string& key, const std::vector<T>& list) {
  if (std::set<T>(list.begin(), list.end()).size() != list.size())
    throw UserError("evaluation." + key + ": an entry appears twice");
}

void check_names(const EvaluationConfig& e) {
  for (const std::string& preset : e.presets) checked("presets", [&] { parse_specimen(preset); });
  checked("published_preset", [&] { parse_specimen(e.published_preset); });
  checked("sweep_preset", [&] { parse_specimen(e.sweep_preset); });
  for (const std::string& baseline : e.baselines) checked("baselines", [&] { parse_baseline(baseline); });
  for (const std::string& defect : e.defects)
    checked("defects", [&] {
      if (parse_defect(defect).amount)
        throw UserError(defect + " has an amount of its own; amounts stand in evaluation.amounts");
    });
  check_distinct("presets", e.presets);
  check_distinct("seeds", e.seeds);
  for (int64_t seed : e.tuning_seeds)
    if (std::ranges::find(e.seeds, seed) != e.seeds.end())
      throw UserError("evaluation.tuning_seeds: seed " + std::to_string(seed) +
                      " is one of evaluation.seeds; what was chosen on a seed is not to be judged by it");
  check_distinct("defects", e.defects);
  check_distinct("amounts", e.amounts);
  check_distinct("rates", e.rates);
  check_distinct("baselines", e.baselines);
  check_distinct("published_shifts", e.published_shifts);
  check_distinct("published_amounts", e.published_amounts);
}

// That the defects can be seen on these specimens, by one of each in a small image, and have room in all of
// the recordings.
void check_defects(const EvaluationConfig& e, const std::set<std::string>& presets) {
  constexpr int64_t small = 48;
  for (const std::string& preset : presets)
    for (const std::string& text : e.defects)
      checked("defects", [&] {
        try {
          const Defect defect = parse_defect(text);
          SimulationSettings one = recording_settings(e, preset, e.seeds.front(), 0, defect, 1);
          one.height = std::min(one.height, small);
          one.width = std::min(one.width, small);
          simulate(one);
          for (int64_t seed : e.seeds)
            for (double amount : e.amounts) {
              const SimulationSettings s = recording_settings(e, preset, seed, 0, defect, amount);
              const Specimen specimen = make_specimen(preset_parameters(s.preset), s.height, s.width,
                                                      preset_pixel_nm(s.preset), s.seed);
              place_defects(s.defects, s.anomalies, specimen, s.seed);
            }
        } catch (const UserError& error) {
          throw UserError(text + " on " + preset + ": " + error.what());
        }
      });
}

// That what preprocessing leaves of a recording has room for tiles, windows and shifts.
void check_image(const Study& study) {
  const EvaluationConfig& e = study.evaluation;
  SimulationSettings s = recording_settings(e, e.published_preset, e.seeds.front(), 0);
  const SpectrumImage reduced =
      reduce(simulate(s).image, study.config.preprocess, study.config.data.energy_range).image;
  if (std::min(reduced.y.size, reduced.x.size) < study.config.tiles.image_size)
    throw UserError("evaluation.shape: " + std::to_string(reduced.y.size) + " x " +
                    std::to_string(reduced.x.size) + " pixels are fewer than a tile of " +
                    std::to_string(study.config.tiles.image_size));
  if (study.config.detection.window)
    channel_window(reduced.energy, *study.config.detection.window);  // its error names the axis
  if (e.published_shifts.empty()) return;
  checked("published_shifts", [&] {
    channel_window(reduced.energy, published_window_ev);
    // Up to 15 channels are lost where the axis is narrowed to a multiple of 16.
    const int64_t edge = 8, centre = strongest_peak(reduced, published_peak_ev);
    for (int64_t shift : e.published_shifts) {
      const int64_t reach = ShiftInjection{}.half_width + shift;
      if (centre - reach < edge || centre + reach >= reduced.energy.size - edge)
        throw UserError("a shift of " + std::to_string(shift) + " channels moves the Fe L peak beyond " +
                        describe(reduced.energy));
    }
  });
}

struct Variant {
  std::string subject;
  Config config;
};

std::vector<Variant> variants(const Study& study) {
  const EvaluationConfig& e = study.evaluation;
  std::vector<Variant> list;
  if (e.sweep_losses.empty() && e.sweep_latent_dims.empty() && e.sweep_doses.empty()) return list;
  list.push_back({"as configured", study.config});
  for (ReconstructionLoss loss : e.sweep_losses) {
    if (loss == study.config.loss.reconstruction) continue;
    Variant v{std::string("loss.reconstruction=") + name_of(loss), study.config};
    v.config.loss.reconstruction = loss;
    if (loss == ReconstructionLoss::mse && e.sweep_mse_dose) {
      v.config.loss.dose = *e.sweep_mse_dose;
      v.subject += " loss.dose=" + short_number(v.config.loss.dose);
    }
    list.push_back(v);
  }
  for (int64_t latent : e.sweep_latent_dims) {
    if (latent == study.config.model.latent_dim) continue;
    list.push_back({"model.latent_dim=" + std::to_string(latent), study.config});
    list.back().config.model.latent_dim = latent;
  }
  for (double dose : e.sweep_doses) {
    if (dose == study.config.loss.dose) continue;
    list.push_back({"loss.dose=" + short_number(dose), study.config});
    list.back().config.loss.dose = dose;
  }
  return list;
}

}  // namespace

std::vector<StudyUnit> plan_study(const Study& study) {
  const EvaluationConfig& e = study.evaluation;
  check_names(e);
  const std::vector<Variant> swept = variants(study);
  std::set<std::string> presets(e.presets.begin(), e.presets.end());
  if (!swept.empty()) presets.insert(e.sweep_preset);
  check_image(study);
  check_defects(e, presets);

  using Part = StudyCell::Part;
  std::vector<StudyUnit> units;
  auto unit = [&](const std::string& preset, int64_t seed) -> StudyUnit& {
    for (StudyUnit& u : units)
      if (u.preset == preset && u.seed == seed) return u;
    units.push_back({study.config, preset, seed, {}});
    units.back().config.training.seed = static_cast<uint64_t>(seed);
    return units.back();
  };
  for (int64_t seed : e.seeds)
    if (!e.published_shifts.empty())
      for (const char* method : {"roll ", "move "})
        for (double amount : e.published_amounts)
          for (int64_t shift : e.published_shifts)
            unit(e.published_preset, seed)
                .cells.push_back(
                    {Part::published, e.published_preset, seed, method + std::to_string(shift), amount});
  for (const std::string& preset : e.presets)
    for (int64_t seed : e.seeds) {
      StudyUnit& u = unit(preset, seed);
      u.cells.push_back({Part::normal, preset, seed, "none", 0});
      for (const std::string& defect : e.defects)
        for (double amount : e.amounts) u.cells.push_back({Part::defects, preset, seed, defect, amount});
    }
  for (size_t k = 0; k < swept.size(); ++k) {
    const StudyCell cell{Part::sweep, e.sweep_preset, e.seeds.front(), swept[k].subject, e.amounts.back()};
    if (k == 0) {
      unit(e.sweep_preset, e.seeds.front()).cells.push_back(cell);
      continue;
    }
    units.push_back({swept[k].config, e.sweep_preset, e.seeds.front(), {cell}});
    units.back().config.training.seed = static_cast<uint64_t>(e.seeds.front());
  }
  if (units.empty())
    throw UserError("evaluation: there is nothing to do; name presets, published_shifts or a sweep");
  return units;
}

}  // namespace eelsvae
