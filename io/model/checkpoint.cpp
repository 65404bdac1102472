#include "io/model/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include "io/config/comparison_json.h"
#include "io/config/config.h"
#include "io/config/config_fields.h"
#include "io/files/element_type.h"
#include "io/model/fitted_json.h"

namespace eelsvae {
namespace {

using nlohmann::json;

json to_json(const AlignmentReference& reference) {
  return {{"energy_ev", reference.energy_ev},
          {"dispersion_ev", reference.dispersion_ev},
          {"margin", reference.margin},
          {"spectrum", reference.spectrum}};
}

AlignmentReference alignment_from(const json& j, Align align) {
  AlignmentReference reference = {j.at("energy_ev"), j.at("dispersion_ev"), j.at("margin"),
                                  j.at("spectrum").get<std::vector<double>>()};
  const bool sound = reference.dispersion_ev > 0 && reference.margin >= 1 &&
                     reference.margin <= largest_margin &&
                     std::ssize(reference.spectrum) >= 2 * reference.margin + smallest_window;
  if (align == Align::feature && !sound) throw UserError("the alignment has no usable reference spectrum");
  return reference;
}

json to_json(const EpochLoss& loss) {
  return {{"loss", loss.loss}, {"reconstruction", loss.reconstruction}, {"kl", loss.kl}};
}

EpochLoss loss_from(const json& j) {
  return {j.at("loss"), j.at("reconstruction"), j.at("kl")};
}

json to_json(const EpochRecord& r) {
  return {{"epoch", r.epoch},
          {"steps", r.steps},
          {"training", to_json(r.training)},
          {"validation", r.validation ? to_json(*r.validation) : json()},
          {"deviance", r.deviance ? json(*r.deviance) : json()},
          {"learning_rate", r.learning_rate},
          {"kl_weight", r.kl_weight},
          {"gradient_norm", r.gradient_norm},
          {"active_latent_units", r.active_latent_units},
          {"seconds", r.seconds}};
}

EpochRecord record_from(const json& j) {
  EpochRecord r;
  r.epoch = j.at("epoch");
  r.steps = j.at("steps");
  r.training = loss_from(j.at("training"));
  if (!j.at("validation").is_null()) r.validation = loss_from(j.at("validation"));
  if (j.contains("deviance") && !j["deviance"].is_null()) r.deviance = j["deviance"];
  r.learning_rate = j.at("learning_rate");
  r.kl_weight = j.at("kl_weight");
  r.gradient_norm = j.at("gradient_norm");
  r.active_latent_units = j.at("active_latent_units");
  r.seconds = j.at("seconds");
  return r;
}

// JSON has no infinity: "no best loss yet" is null.
json finite_or_null(double value) {
  return std::isfinite(value) ? json(value) : json();
}
double or_infinity(const json& j) {
  return j.is_null() ? std::numeric_limits<double>::infinity() : j.get<double>();
}

json to_json(const TrainingState& s) {
  return {{"epoch", s.epoch},
          {"batch", s.batch},
          {"step", s.step},
          {"learning_rate", s.schedule.learning_rate},
          {"schedule_best", finite_or_null(s.schedule.best)},
          {"epochs_without_progress", s.schedule.epochs_without_progress},
          {"best", finite_or_null(s.best)},
          {"reconstruction_sum", s.reconstruction_sum},
          {"kl_sum", s.kl_sum},
          {"norm_sum", s.norm_sum},
          {"mean_sum", s.mean_sum},
          {"mean_square_sum", s.mean_square_sum}};
}

TrainingState state_from(const json& j, int64_t latent) {
  TrainingState s;
  s.epoch = j.at("epoch");
  s.batch = j.at("batch");
  s.step = j.at("step");
  s.schedule.learning_rate = j.at("learning_rate");
  s.schedule.best = or_infinity(j.at("schedule_best"));
  s.schedule.epochs_without_progress = j.at("epochs_without_progress");
  s.best = or_infinity(j.at(j.contains("best") ? "best" : "best_loss"));  // as it was called first
  s.reconstruction_sum = j.at("reconstruction_sum");
  s.kl_sum = j.at("kl_sum");
  s.norm_sum = j.at("norm_sum");
  s.mean_sum = j.at("mean_sum").get<std::vector<double>>();
  s.mean_square_sum = j.at("mean_square_sum").get<std::vector<double>>();
  if (s.epoch < 0 || s.batch < 0) throw UserError("a count of epochs or batches is negative");
  for (const std::vector<double>* sums : {&s.mean_sum, &s.mean_square_sum})
    if (std::ssize(*sums) != latent)
      throw UserError("sums over " + std::to_string(sums->size()) + " latent units, the model has " +
                      std::to_string(latent));
  return s;
}

// A name from a file, on one line whatever it holds.
std::string quoted_text(const std::string& text) {
  return json(text.substr(0, 80)).dump(-1, ' ', true, json::error_handler_t::replace);
}

// Elements [first, first + count) of a tensor as floats; the bytes need not be aligned.
void copy_floats(const TensorView& tensor, int64_t first, int64_t count, float* out) {
  auto convert = [&]<typename T>(T, auto&& to_float) {
    for (int64_t i = 0; i < count; ++i) {
      T value;
      std::memcpy(&value, tensor.data + static_cast<size_t>(first + i) * sizeof(T), sizeof(T));
      out[i] = to_float(value);
    }
  };
  if (tensor.dtype == "F32")
    std::memcpy(out, tensor.data + static_cast<size_t>(first) * sizeof(float),
                static_cast<size_t>(count) * sizeof(float));
  else if (tensor.dtype == "F64")
    convert(double{}, [](double v) { return static_cast<float>(v); });
  else if (tensor.dtype == "BF16")
    convert(bfloat16{}, [](bfloat16 v) { return static_cast<float>(v); });
  else
    convert(uint16_t{}, half_to_float);
}

// A checkpoint's tensors, which the model hands over when they are asked for, and the rest.
struct CheckpointParts {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

CheckpointParts parts_of(const Model& model, const CheckpointInfo& info) {
  std::vector<SafetensorsEntry> entries;
  for (const Model::State& state : model.states()) {
    if (!state.weight && !info.training) continue;
    entries.push_back({state.name, "F32", state.parameter.shape, [&model, &state](const ByteSink& sink) {
                         model.read_state(state, [&](const float* block, int64_t count) {
                           sink(block, static_cast<size_t>(count) * sizeof(float));
                         });
                       }});
  }
  std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                 {"config", to_json_text(info.config)},
                                                 {"energy", axis_to_json(info.energy).dump()},
                                                 {"scaling", scaling_to_json(info.scaling).dump()}};
  if (info.alignment) metadata["alignment"] = to_json(*info.alignment).dump();
  if (info.computed_by)
    metadata["computed_by"] =
        json{{"precision", info.computed_by->precision}, {"kernels", info.computed_by->kernels}}.dump();
  if (info.comparison) metadata["comparison"] = to_json(*info.comparison).dump();
  if (info.provenance != Provenance{}) metadata["provenance"] = to_json(info.provenance).dump();
  if (!info.normal_scores.empty()) metadata["normal_scores"] = json(info.normal_scores).dump();
  json history = json::array();
  for (const EpochRecord& record : info.history) history.push_back(to_json(record));
  metadata["history"] = history.dump();
  if (info.training) metadata["training"] = to_json(*info.training).dump();
  return {std::move(entries), std::move(metadata)};
}

}  // namespace

void write_checkpoint(const std::string& path, const Model& model, const CheckpointInfo& info) {
  const CheckpointParts parts = parts_of(model, info);
  write_safetensors(path, parts.entries, parts.metadata);
}

std::vector<std::byte> checkpoint_content(const Model& model, const CheckpointInfo& info) {
  const CheckpointParts parts = parts_of(model, info);
  return safetensors_content(parts.entries, parts.metadata);
}

uint64_t checkpoint_bytes(const ModelShape& shape, bool with_moments) {
  return static_cast<uint64_t>(shape.parameter_count()) * sizeof(float) * (with_moments ? 3 : 1) + (1 << 16);
}

CheckpointInfo read_checkpoint_info(const SafetensorsFile& file) {
  const auto& metadata = file.metadata();
  auto part = [&](const char* key) -> const std::string& {
    auto found = metadata.find(key);
    if (found == metadata.end())
      throw UserError(file.path() + ": holds no eelsvae model: its metadata have no '" + key +
                      "'; give a run folder or a checkpoint that eelsvae-train wrote");
    return found->second;
  };
  CheckpointInfo info;
  info.config = parse_config(part("config"), file.path() + " (metadata)");
  const std::string &energy = part("energy"), &scaling = part("scaling"), &history = part("history");
  auto damaged = [&](const std::string& what) {
    size_t tag = what.find("] ");  // "[json.exception.type_error.302] type must be ..."
    return UserError(file.path() + ": the model description in the metadata is damaged: " +
                     what.substr(tag == std::string::npos ? 0 : tag + 2, 160) +
                     "; give a run folder or a checkpoint that eelsvae-train wrote");
  };
  try {
    info.energy = axis_from(json::parse(energy));
    info.scaling = scaling_from(json::parse(scaling));
    const Align align = info.config.preprocess.align;
    if (metadata.contains("alignment"))
      info.alignment = alignment_from(json::parse(metadata.at("alignment")), align);
    else if (align != Align::none)
      throw UserError("preprocess.align is set, but the alignment's reference is missing");
    if (metadata.contains("computed_by")) {
      const json by = json::parse(metadata.at("computed_by"));
      info.computed_by = {by.at("precision").get<std::string>(), by.at("kernels").get<std::string>()};
    }
    if (metadata.contains("comparison"))
      info.comparison = comparison_from(json::parse(metadata.at("comparison")));
    if (metadata.contains("provenance"))
      info.provenance = provenance_from(json::parse(metadata.at("provenance")));
    if (metadata.contains("normal_scores")) {
      info.normal_scores = json::parse(metadata.at("normal_scores")).get<std::vector<float>>();
      if (!std::ranges::is_sorted(info.normal_scores))
        throw UserError("the scores of held-out spectra do not ascend");
    }
    for (const json& record : json::parse(history)) info.history.push_back(record_from(record));
    if (metadata.contains("training")) {
      info.training = state_from(json::parse(metadata.at("training")), info.config.model.latent_dim);
      if (info.training->epoch != std::ssize(info.history))
        throw UserError("the history has " + std::to_string(info.history.size()) +
                        " epochs, the training state " + std::to_string(info.training->epoch));
      info.training->history = info.history;
    }
  } catch (const json::exception& error) {
    throw damaged(error.what());
  } catch (const UserError& error) {
    throw damaged(error.what());
  }
  return info;
}

void load_checkpoint(const SafetensorsFile& file, Model& model, bool moments) {
  std::set<std::string> known;
  for (const Model::State& state : model.states()) {
    known.insert(state.name);
    if (!state.weight && !moments) continue;
    if (!file.contains(state.name)) throw UserError(file.path() + ": has no tensor " + state.name);
    const TensorView& tensor = file.tensor(state.name);
    if (tensor.shape != state.parameter.shape) {
      auto text = [](const std::vector<int64_t>& shape) { return json(shape).dump(); };
      throw UserError(file.path() + ": " + state.name + " has shape " + text(tensor.shape) +
                      ", the configured model needs " + text(state.parameter.shape));
    }
    if (tensor.dtype != "F32" && tensor.dtype != "F64" && tensor.dtype != "BF16" && tensor.dtype != "F16")
      throw UserError(file.path() + ": " + state.name + " is of type " + tensor.dtype +
                      ", not a floating-point type");
    int64_t first = 0;
    model.write_state(state, [&](float* block, int64_t count) {
      copy_floats(tensor, first, count, block);
      first += count;
    });
  }
  for (const std::string& name : file.names())
    if (!known.contains(name) && !name.starts_with("optimizer."))
      throw UserError(file.path() + ": has a tensor " + quoted_text(name) + " that the model does not know");
  model.refresh();
}

json metrics_of(const EpochRecord& record) {
  return to_json(record);
}

}  // namespace eelsvae
