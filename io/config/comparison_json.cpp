#include "io/config/comparison_json.h"

#include <nlohmann/json.hpp>
#include <optional>

namespace eelsvae {

using nlohmann::json;

json to_json(const Comparison& comparison) {
  auto or_null = [](const std::optional<double>& value) { return value ? json(*value) : json(); };
  return {{"spectra", comparison.spectra},
          {"mean", comparison.mean},
          {"pca", or_null(comparison.pca)},
          {"components", comparison.components},
          {"model", or_null(comparison.model)},
          {"finds", comparison.finds ? json{{"mean", comparison.finds->mean},
                                            {"model", comparison.finds->model},
                                            {"pca", or_null(comparison.finds->pca)}}
                                     : json()}};
}

Comparison comparison_from(const json& j) {
  Comparison comparison;
  comparison.spectra = j.at("spectra");
  comparison.mean = j.at("mean");
  if (!j.at("pca").is_null()) comparison.pca = j.at("pca");
  comparison.components = j.at("components");
  if (!j.at("model").is_null()) comparison.model = j.at("model");
  if (j.contains("finds") && !j["finds"].is_null()) {
    const json& finds = j["finds"];
    comparison.finds = {finds.at("mean"), finds.at("model"), {}};
    if (!finds.at("pca").is_null()) comparison.finds->pca = finds.at("pca");
  }
  return comparison;
}

}  // namespace eelsvae
