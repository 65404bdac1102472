#include "io/model/fitted_json.h"

#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/config/config_fields.h"
#include "kernels/error.h"

namespace eelsvae {

using nlohmann::json;

json axis_to_json(const Axis& axis) {
  return {{"name", axis.name},
          {"units", axis.units},
          {"offset", axis.offset},
          {"scale", axis.scale},
          {"size", axis.size}};
}

Axis axis_from(const json& j) {
  const Axis axis = {j.at("name"), j.at("units"), j.at("offset"), j.at("scale"), j.at("size")};
  if (axis.size < 1) throw UserError("the energy axis has no channels");
  return axis;
}

json scaling_to_json(const ScalingParameters& scaling) {
  return {{"offset", scaling.offset},
          {"range", scaling.range},
          {"quantiles", scaling.quantiles},
          {"method", name_of(scaling.method)}};
}

ScalingParameters scaling_from(const json& j) {
  ScalingParameters scaling;
  scaling.offset = j.at("offset");
  scaling.range = j.at("range");
  scaling.quantiles = j.at("quantiles").get<std::vector<double>>();
  const auto methods = choices(Scaling{});
  const auto method =
      std::ranges::find(methods, j.at("method").get<std::string>(), &decltype(methods)::value_type::first);
  if (method == methods.end()) throw UserError("unknown scaling method");
  scaling.method = method->second;
  if (!(scaling.range > 0)) throw UserError("the scaling's range is not positive");
  if (scaling.method == Scaling::quantile &&
      (scaling.quantiles.size() < 2 || !std::is_sorted(scaling.quantiles.begin(), scaling.quantiles.end())))
    throw UserError("the scaling has no ascending quantiles");
  return scaling;
}

}  // namespace eelsvae
