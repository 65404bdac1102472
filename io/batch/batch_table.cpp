#include "io/batch/batch_table.h"

#include <algorithm>

#include "io/files/number_text.h"
#include "io/reports/page.h"

namespace eelsvae {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

const char* state_of(const CubeResult& result) {
  if (!result.summary.is_null()) return "done";
  if (SharedWork::is_open(result.attempt)) return "waiting";
  const bool at_work = result.attempt->state == SharedWork::State::at_work && !result.attempt->dead;
  return at_work ? "at work" : "failed";
}

json at(const json& tree, const char* key) {
  const auto found = tree.is_object() ? tree.find(key) : tree.end();
  return tree.is_object() && found != tree.end() ? *found : json();
}

int64_t count(const ordered_json& rows, const auto& wanted) {
  return std::ranges::count_if(rows, wanted);
}

}  // namespace

ordered_json batch_rows(std::span<const CubeResult> results) {
  ordered_json rows = ordered_json::array();
  for (const CubeResult& result : results) {
    const json& summary = result.summary;
    const json deviance = at(summary, "predictive_deviance");
    std::string doubts;
    if (const json reasons = at(summary, "reasons"); reasons.is_array())
      for (const json& reason : reasons) doubts += (doubts.empty() ? "" : "; ") + reason.get<std::string>();
    ordered_json row = {{"name", result.cube.name},
                        {"path", result.cube.path},
                        {"state", state_of(result)},
                        {"spectra", at(summary, "pixels")},
                        {"excluded", at(summary, "excluded_pixels")},
                        {"found", at(summary, "anomalous_pixels")},
                        {"regions", at(summary, "regions")},
                        {"threshold", at(summary, "threshold")},
                        {"trusted", at(summary, "trusted")},
                        {"doubts", summary.is_null() ? json() : json(doubts)},
                        {"expectation", at(summary, "model")},
                        {"deviance_model", at(deviance, "model")},
                        {"deviance_mean", at(deviance, "mean")},
                        {"deviance_pca", at(deviance, "pca")},
                        {"precision", at(summary, "precision")},
                        {"recall", at(summary, "recall")},
                        {"f1", at(summary, "f1")},
                        {"seconds", json()},
                        {"host", json()},
                        {"attempts", 0},
                        {"message", json()}};
    if (result.attempt) {
      row["host"] = result.attempt->host;
      row["attempts"] = result.attempt->number;
      if (result.attempt->seconds > 0) row["seconds"] = result.attempt->seconds;
      if (!result.attempt->message.empty()) row["message"] = result.attempt->message;
      if (result.attempt->dead && row["state"] == "failed")
        row["message"] =
            "each of " + std::to_string(result.attempt->number) + " attempts ended without a word";
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string batch_csv(const ordered_json& rows) {
  std::string text;
  const auto line = [&](const auto& field_of) {
    std::string fields;
    for (const auto& [key, value] : rows.front().items()) fields += "," + csv_field(field_of(key));
    text += fields.substr(1) + "\r\n";
  };
  if (rows.empty()) return text;
  line([](const std::string& key) { return key; });
  for (const ordered_json& row : rows)
    line([&](const std::string& key) {
      const ordered_json& value = row[key];
      return value.is_null() ? std::string() : value.is_string() ? value.get<std::string>() : value.dump();
    });
  return text;
}

std::string batch_headline(const ordered_json& rows) {
  const auto in_state = [&](const char* state) {
    return count(rows, [&](const ordered_json& row) { return row["state"] == state; });
  };
  const int64_t failed = in_state("failed"),
                found = count(
                    rows,
                    [](const ordered_json&row) { return row["found"].is_number() && row["found"] > 0; }),
                doubtful = count(rows, [](const ordered_json&row) { return row["trusted"] == false; });
  std::string text =
      count_text(in_state("done")) + " of " + count_text(std::ssize(rows)) + " images are done";
  if (failed > 0) text += ", " + count_text(failed) + " failed";
  text += "; anomalies in " + count_text(found);
  if (doubtful > 0)
    text += ", " + count_text(doubtful) + (doubtful == 1 ? " threshold is" : " thresholds are") +
            " not to be trusted";
  return text;
}

std::string batch_html(const ordered_json& rows, const std::vector<std::string>& origin,
                       const std::vector<std::string>& options) {
  return render_page("batch.html", {{"title", "Anomalies in many spectrum images"},
                                    {"headline", batch_headline(rows)},
                                    {"origin", origin},
                                    {"palette", ""},
                                    {"configuration", json(options).dump(1)},
                                    {"rows", rows}});
}

}  // namespace eelsvae
