#include "io/reports/study_json.h"

#include <nlohmann/json.hpp>

#include "io/config/comparison_json.h"
#include "io/config/config_fields.h"
#include "io/files/atomic_file.h"
#include "io/files/json_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

std::array<std::pair<const char*, StudyCell::Part>, 4> choices(StudyCell::Part) {
  using Part = StudyCell::Part;
  return {{{"published", Part::published},
           {"defects", Part::defects},
           {"normal", Part::normal},
           {"sweep", Part::sweep}}};
}
std::array<std::pair<const char*, ScoreOutcome::Kind>, 3> choices(ScoreOutcome::Kind) {
  using Kind = ScoreOutcome::Kind;
  return {{{"configured", Kind::configured}, {"own", Kind::own}, {"published", Kind::published}}};
}

template <typename Table, typename Value>
const char* name_in(const Table& table, Value value) {
  for (const auto& [name, candidate] : table)
    if (candidate == value) return name;
  throw std::logic_error("internal error: a result without a name");
}
template <typename Table>
auto named_in(const Table& table, const json& name) {
  for (const auto& [known, value] : table)
    if (name == known) return value;
  throw UserError("unknown name " + name.dump());
}

json optional(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}
std::optional<double> optional_from(const json& value) {
  if (value.is_null()) return std::nullopt;
  return value.get<double>();
}

json to_json(const ScoreOutcome& o) {
  json thresholds = json::array();
  for (const ThresholdOutcome& t : o.thresholds)
    thresholds.push_back({{"method", name_in(choices(t.method), t.method)},
                          {"rate", t.rate},
                          {"hits", t.hits},
                          {"false_alarms", t.false_alarms},
                          {"missed", t.missed},
                          {"rightly_left", t.rightly_left},
                          {"precision", t.precision()},
                          {"recall", t.recall()},
                          {"f1", t.f1()}});
  json j = {{"source", o.source},
            {"footing", o.footing},
            {"kind", name_in(choices(o.kind), o.kind)},
            {"score", name_in(choices(o.score), o.score)},
            {"defect", o.defect},
            {"comparison", o.comparison ? to_json(*o.comparison) : json(nullptr)},
            {"thresholds", thresholds}};
  for (const auto& [key, heading, value] : ranking_measures<std::optional<double>>)
    j[key] = optional(o.*value);
  return j;
}

ScoreOutcome outcome_from(const json& j) {
  ScoreOutcome o;
  o.source = j.at("source").get<std::string>();
  o.footing = j.at("footing").get<std::string>();
  o.kind = named_in(choices(o.kind), j.at("kind"));
  o.score = named_in(choices(o.score), j.at("score"));
  o.defect = j.at("defect").get<std::string>();
  for (const auto& [key, heading, value] : ranking_measures<std::optional<double>>)
    o.*value = optional_from(j.at(key));
  if (j.contains("comparison") && !j["comparison"].is_null()) o.comparison = comparison_from(j["comparison"]);
  for (const json& t : j.at("thresholds")) {
    ThresholdOutcome& outcome = o.thresholds.emplace_back();
    outcome.method = named_in(choices(outcome.method), t.at("method"));
    outcome.rate = t.at("rate").get<double>();
    outcome.hits = t.at("hits").get<int64_t>();
    outcome.false_alarms = t.at("false_alarms").get<int64_t>();
    outcome.missed = t.at("missed").get<int64_t>();
    outcome.rightly_left = t.at("rightly_left").get<int64_t>();
  }
  return o;
}

json to_json(const QualityOutcome& q) {
  return {{"source", q.source},
          {"psnr_db", optional(q.psnr_db)},
          {"ssim_map", optional(q.ssim_map)},
          {"ssim_channels", optional(q.ssim_channels)},
          {"reduced_deviance", q.reduced_deviance},
          {"autocorrelation", q.autocorrelation},
          {"dark_reduced_deviance", q.dark_reduced_deviance},
          {"dark_autocorrelation", q.dark_autocorrelation}};
}

QualityOutcome quality_from(const json& j) {
  QualityOutcome q;
  q.source = j.at("source").get<std::string>();
  q.psnr_db = optional_from(j.at("psnr_db"));
  q.ssim_map = optional_from(j.at("ssim_map"));
  q.ssim_channels = optional_from(j.at("ssim_channels"));
  q.reduced_deviance = j.at("reduced_deviance").get<double>();
  q.autocorrelation = j.at("autocorrelation").get<double>();
  q.dark_reduced_deviance = j.at("dark_reduced_deviance").get<double>();
  q.dark_autocorrelation = j.at("dark_autocorrelation").get<double>();
  return q;
}

}  // namespace

std::string part_name(StudyCell::Part part) {
  return name_in(choices(part), part);
}

std::string score_text(const ScoreOutcome& o) {
  if (o.kind == ScoreOutcome::Kind::own) return "own";
  return std::string(name_of(o.score)) +
         (o.kind == ScoreOutcome::Kind::published ? ", published window" : "");
}

json to_json(const StudyResult& r) {
  json outcomes = json::array(), quality = json::array();
  for (const ScoreOutcome& outcome : r.outcomes) outcomes.push_back(to_json(outcome));
  for (const QualityOutcome& q : r.quality) quality.push_back(to_json(q));
  return {{"part", part_name(r.cell.part)},
          {"preset", r.cell.preset},
          {"seed", r.cell.seed},
          {"subject", r.cell.subject},
          {"amount", r.cell.amount},
          {"pixels", r.pixels},
          {"anomalous", r.anomalous},
          {"left_out", r.left_out},
          {"active_latent_units", r.active_latent_units},
          {"latent_units", r.latent_units},
          {"outcomes", outcomes},
          {"quality", quality}};
}

StudyResult study_result_from(const json& j, const std::string& context) {
  try {
    StudyResult r;
    r.cell.part = named_in(choices(r.cell.part), j.at("part"));
    r.cell.preset = j.at("preset").get<std::string>();
    r.cell.seed = j.at("seed").get<int64_t>();
    r.cell.subject = j.at("subject").get<std::string>();
    r.cell.amount = j.at("amount").get<double>();
    r.pixels = j.at("pixels").get<int64_t>();
    r.anomalous = j.at("anomalous").get<int64_t>();
    r.left_out = j.at("left_out").get<int64_t>();
    r.active_latent_units = j.at("active_latent_units").get<int64_t>();
    r.latent_units = j.at("latent_units").get<int64_t>();
    for (const json& outcome : j.at("outcomes")) r.outcomes.push_back(outcome_from(outcome));
    for (const json& q : j.at("quality")) r.quality.push_back(quality_from(q));
    return r;
  } catch (const json::exception&) {
    throw UserError(context + ": not a result of this program");
  } catch (const UserError& error) {
    throw UserError(context + ": " + error.what());
  }
}

std::string StudyFolder::existing() const {
  for (const std::string& file : {cells(), results(), config(), tables(), report()})
    if (std::filesystem::exists(file)) return file;
  return "";
}

std::vector<StudyResult> read_cells(const std::string& path) {
  std::vector<StudyResult> results;
  if (!std::filesystem::exists(path)) return results;
  const std::string text = read_text_file(path);
  int64_t line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut short
    const std::string context = path + ": line " + std::to_string(line);
    results.push_back(
        study_result_from(parse_json_object(text.substr(begin, end - begin), context), context));
    begin = end + 1;
  }
  return results;
}

}  // namespace eelsvae
