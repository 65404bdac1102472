#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/study/study.h"

namespace eelsvae {

// Results of a study as JSON, one object for each cell.
nlohmann::json to_json(const StudyResult& result);
// UserError "CONTEXT: ..." for anything that to_json did not write.
StudyResult study_result_from(const nlohmann::json& json, const std::string& context);

// "whitened"; "own"; "pearson, published window".
std::string score_text(const ScoreOutcome& outcome);
// "published", "defects", "normal" or "sweep".
std::string part_name(StudyCell::Part part);

// The files of a study's folder.
struct StudyFolder {
  std::filesystem::path path;
  std::string config() const { return path / "config.json"; }  // as resolved
  std::string cells() const { return path / "cells.jsonl"; }   // a line for each finished cell
  std::string results() const { return path / "results.json"; }
  std::string tables() const { return path / "tables.md"; }
  std::string report() const { return path / "report.html"; }
  // The first of these files that is there already, "" if none is.
  std::string existing() const;
};

// What an interrupted study has finished. A last line that a crash cut short is dropped; any other line that
// cannot be read is a UserError. Empty where there is no file.
std::vector<StudyResult> read_cells(const std::string& path);

}  // namespace eelsvae
