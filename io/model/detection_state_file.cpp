#include "io/model/detection_state_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "engine/detect/kept_detection.h"
#include "io/config/config.h"
#include "io/model/fitted_json.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr const char* key = "eelsvae_detection_state";
constexpr int version = 1;

// JSON has no infinity, which stands for "no limit".
template <typename Number>
json finite_or_null(Number value) {
  return std::isfinite(value) ? json(value) : json();
}

json scree_json(const std::vector<ScreeEntry>& scree) {
  json list = json::array();
  for (const ScreeEntry& entry : scree)
    list.push_back(
        {{"variance", entry.variance},
         {"share", entry.share},
         {"spatial_correlation", entry.spatial_correlation ? json(*entry.spatial_correlation) : json()},
         {"kept", entry.kept}});
  return list;
}

std::vector<ScreeEntry> scree_from(const json& list) {
  std::vector<ScreeEntry> scree;
  for (const json& j : list) {
    ScreeEntry entry{j.at("variance"), j.at("share"), std::nullopt, j.at("kept")};
    if (const json& correlation = j.at("spatial_correlation"); !correlation.is_null())
      entry.spatial_correlation = correlation.get<double>();
    scree.push_back(entry);
  }
  return scree;
}

json null_json(const EmpiricalNull& null) {
  return {{"family", name(null.family)},
          {"location", null.location},
          {"scale", null.scale},
          {"normal_share", null.normal_share},
          {"low", null.low},
          {"high", null.high},
          {"misfit", null.misfit}};
}

EmpiricalNull null_from(const json& j) {
  using Family = EmpiricalNull::Family;
  EmpiricalNull null;
  const std::string family = j.at("family");
  const auto families = {Family::normal, Family::largest, Family::largest_normal};
  const auto* found = std::ranges::find(families, family, [](Family f) { return std::string(name(f)); });
  if (found == families.end()) throw UserError("the scores follow an unknown law, '" + family + "'");
  null.family = *found;
  null.location = j.at("location");
  null.scale = j.at("scale");
  null.normal_share = j.at("normal_share");
  null.low = j.at("low");
  null.high = j.at("high");
  null.misfit = j.at("misfit");
  if (!(null.scale > 0) || !(null.normal_share > 0 && null.normal_share <= 1))
    throw UserError("the law of the scores has no positive scale or share");
  return null;
}

struct Parts {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

// Refers to the state.
Parts parts_of(const DetectionState& state) {
  Parts parts;
  const auto add = [&](const std::string& tensor, const auto& values) {
    const bool single = sizeof values[0] == sizeof(float);
    parts.entries.push_back(
        {tensor, single ? "F32" : "F64", {std::ssize(values)}, [&values](const ByteSink& sink) {
           sink(values.data(), values.size() * sizeof values[0]);
         }});
  };
  const ResidualModel& residuals = state.scores.residuals;
  add("noise.channel_factor", residuals.noise.channel_factor);
  add("noise.correlation", residuals.noise.correlation);
  add("noise.clipped", residuals.noise.clipped);
  add("residuals.mean", residuals.mean);
  add("residuals.components", residuals.components);
  add("residuals.strengths", residuals.strengths);
  add("filters.mean_expected", state.scores.mean_expected);
  add("filters.inverse_spreads", state.scores.inverse_spreads);
  Config config;
  config.preprocess = state.preprocess;
  config.detection = state.detection;
  json j = {{"version", version},
            {"config", json::parse(to_json_text(config))},
            {"energy", axis_to_json(state.fitted.energy)},
            {"scaling", scaling_to_json(state.fitted.scaling)},
            {"noise", {{"floor", residuals.noise.floor}, {"gain", residuals.noise.gain}}},
            {"level", residuals.level},
            {"null", null_json(state.null)},
            {"spectra", state.spectra},
            {"doubts", state.doubts},
            {"model", state.model_fingerprint}};
  if (state.fitted.set_aside)
    j["set_aside"] = {{"dark_below", finite_or_null(state.fitted.set_aside->dark_below)},
                      {"highest", finite_or_null(state.fitted.set_aside->highest)}};
  if (state.baseline) {
    const Baseline::Fitted& baseline = state.baseline->fitted();
    add("baseline.mean", baseline.mean);
    add("baseline.directions", baseline.directions);
    add("baseline.variances", baseline.variances);
    j["baseline"] = {{"name", to_string(baseline.spec)},
                     {"spectra", baseline.spectra},
                     {"scree", scree_json(baseline.scree)}};
  }
  parts.metadata[key] = j.dump();
  return parts;
}

// `count` numbers of a tensor; -1: as many as there are.
template <typename Number>
std::vector<Number> numbers(const SafetensorsFile& file, const std::string& tensor, int64_t count) {
  const TensorView view = file.tensor(tensor);
  const bool single = sizeof(Number) == sizeof(float);
  if (view.dtype != (single ? "F32" : "F64") || view.shape.size() != 1 ||
      (count >= 0 && view.shape[0] != count))
    throw UserError("'" + tensor + "' has another type or size than the rest");
  std::vector<Number> values(static_cast<size_t>(view.shape[0]));
  if (!values.empty()) std::memcpy(values.data(), view.data, view.bytes);
  if (!std::all_of(values.begin(), values.end(), [](Number v) { return std::isfinite(v); }))
    throw UserError("'" + tensor + "' holds numbers that are not finite");
  return values;
}

DetectionState state_from(const SafetensorsFile& file, const json& j) {
  if (j.at("version").get<int>() != version)
    throw UserError("it is of version " + std::to_string(j.at("version").get<int>()) +
                    ", and this program reads version " + std::to_string(version));
  DetectionState state;
  const Config config = parse_config(j.at("config").dump(), "its configuration");
  state.preprocess = config.preprocess;
  state.detection = config.detection;
  state.fitted.energy = axis_from(j.at("energy"));
  state.fitted.scaling = scaling_from(j.at("scaling"));
  if (!(state.fitted.energy.scale > 0) || !std::isfinite(state.fitted.energy.offset))
    throw UserError("the energy axis has no positive dispersion");
  if (j.contains("set_aside")) {
    SetAsideLevels levels;
    const json& given = j.at("set_aside");
    if (!given.at("dark_below").is_null()) levels.dark_below = given.at("dark_below");
    if (!given.at("highest").is_null()) levels.highest = given.at("highest");
    state.fitted.set_aside = levels;
  }
  const int64_t channels = state.fitted.energy.size;
  ResidualModel& residuals = state.scores.residuals;
  residuals.noise.floor = j.at("noise").at("floor");
  residuals.noise.gain = j.at("noise").at("gain");
  if (!(residuals.noise.floor >= 0) || !(residuals.noise.gain >= 0) ||
      !(residuals.noise.floor + residuals.noise.gain > 0))
    throw UserError("the noise is negative or zero");
  residuals.noise.channel_factor = numbers<float>(file, "noise.channel_factor", channels);
  if (std::ranges::any_of(residuals.noise.channel_factor, [](float f) { return !(f > 0); }))
    throw UserError("a channel's noise is negative or zero");
  residuals.noise.correlation = numbers<double>(file, "noise.correlation", -1);
  if (std::ssize(residuals.noise.correlation) > 64 ||
      std::ranges::any_of(residuals.noise.correlation, [](double r) { return std::abs(r) >= 1; }))
    throw UserError("the noise's correlation is none");
  residuals.noise.clipped = numbers<float>(file, "noise.clipped", -1);
  if (!residuals.noise.clipped.empty() && std::ssize(residuals.noise.clipped) != channels)
    throw UserError("'noise.clipped' has another size than the rest");
  residuals.whitening = EnergyWhitening(residuals.noise.correlation);
  residuals.mean = numbers<float>(file, "residuals.mean", channels);
  residuals.strengths = numbers<double>(file, "residuals.strengths", -1);
  if (std::ssize(residuals.strengths) > channels ||
      std::ranges::any_of(residuals.strengths, [](double s) { return s < 0; }))
    throw UserError("the strengths of the components are none");
  residuals.components = numbers<float>(file, "residuals.components", residuals.count() * channels);
  residuals.level = j.at("level");
  if (!(residuals.level > 0)) throw UserError("the noise along a component is zero");
  state.scores.mean_expected = numbers<double>(file, "filters.mean_expected", channels);
  state.scores.inverse_spreads = numbers<float>(file, "filters.inverse_spreads", -1);
  state.null = null_from(j.at("null"));
  state.spectra = j.at("spectra");
  state.doubts = j.at("doubts").get<std::vector<std::string>>();
  state.model_fingerprint = j.at("model");
  if (j.contains("baseline")) {
    const json& given = j.at("baseline");
    Baseline::Fitted baseline;
    baseline.spec = parse_baseline(given.at("name"));
    baseline.channels = channels;
    baseline.spectra = given.at("spectra");
    baseline.mean = numbers<double>(file, "baseline.mean", channels);
    baseline.variances = numbers<double>(file, "baseline.variances", -1);
    if (std::ssize(baseline.variances) > channels)
      throw UserError("the baseline has more components than channels");
    baseline.directions =
        numbers<double>(file, "baseline.directions", std::ssize(baseline.variances) * channels);
    baseline.scree = scree_from(given.at("scree"));
    state.baseline.emplace(std::move(baseline));
  }
  if (!state.baseline == state.model_fingerprint.empty())
    throw UserError("it names neither a baseline nor a model, or both");
  check_can_be_kept(state.preprocess, state.detection);
  return state;
}

}  // namespace

void write_detection_state(const std::string& path, const DetectionState& state) {
  const Parts parts = parts_of(state);
  write_safetensors(path, parts.entries, parts.metadata);
}

std::vector<std::byte> detection_state_content(const DetectionState& state) {
  const Parts parts = parts_of(state);
  return safetensors_content(parts.entries, parts.metadata);
}

DetectionState read_detection_state(const SafetensorsFile& file) {
  const std::string remedy =
      std::string("; give the ") + detection_state_name + " of a detection's folder, or the folder";
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    throw UserError(file.path() + ": holds no state of a detection" + remedy);
  const auto damaged = [&](const std::string& what) {
    const size_t tag = what.find("] ");  // "[json.exception.type_error.302] type must be ..."
    return UserError(file.path() + ": the state of a detection is damaged: " +
                     what.substr(tag == std::string::npos ? 0 : tag + 2, 240) + remedy);
  };
  try {
    return state_from(file, json::parse(found->second));
  } catch (const json::exception& error) {
    throw damaged(error.what());
  } catch (const UserError& error) {
    throw damaged(error.what());
  }
}

std::string state_file(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  const fs::path inside = fs::path(path) / detection_state_name;
  if (!fs::exists(inside, ignored))
    throw UserError(path + ": holds no " + detection_state_name +
                    "; a detection by detection.score whitened or learned, without despiking, aligning or "
                    "binning of pixels, writes one");
  return inside.string();
}

DetectionState load_detection_state(const std::string& path) {
  return read_detection_state(SafetensorsFile(state_file(path)));
}

}  // namespace eelsvae
