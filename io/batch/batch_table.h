#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/batch/cube_list.h"
#include "io/batch/shared_work.h"

namespace eelsvae {

// An image of a list and what has become of it.
struct CubeResult {
  ListedCube cube;
  std::optional<SharedWork::Attempt> attempt;  // the latest
  nlohmann::json summary;                      // of its detection, where it is done; else null
};

// A line for each image, as JSON objects with the keys of the columns, null where there is nothing to say:
// name, path, state ("waiting", "at work", "done", "failed"), spectra that were looked at, excluded ones,
// found, regions, threshold, trusted, doubts, expectation, predictive deviance of model, mean spectrum and
// PCA, precision, recall and f1 where the truth is known, seconds, host, attempts, message.
nlohmann::ordered_json batch_rows(std::span<const CubeResult> results);
// The same as comma-separated values.
std::string batch_csv(const nlohmann::ordered_json& rows);
// The same as a page that links to each image's report. origin: lines of what all have in common; options:
// what all were looked at with.
std::string batch_html(const nlohmann::ordered_json& rows, const std::vector<std::string>& origin,
                       const std::vector<std::string>& options);
// "198 of 200 images are done, 2 failed; anomalies in 17, 3 thresholds are not to be trusted"
std::string batch_headline(const nlohmann::ordered_json& rows);

}  // namespace eelsvae
