#include "io/reports/detection_findings.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/detect/change_words.h"
#include "engine/detect/edges.h"
#include "engine/short_number.h"
#include "io/config/detection_json.h"
#include "io/reports/embedded_arrays.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr int64_t deviation_budget = 800'000;       // bytes before base64
constexpr int64_t region_spectra_budget = 500'000;  // bytes before base64
constexpr size_t tiles_shown = 2000;

// In steps of a thousandth of `unit` * 1000, kept within the type.
int16_t steps_of(double value, double unit) {
  constexpr double most = std::numeric_limits<int16_t>::max();
  return std::isfinite(value) ? static_cast<int16_t>(std::lround(std::clamp(value / unit, -most, most)))
                              : int16_t{0};
}

json deviation_json(const Deviation& deviation) {
  if (deviation.first >= deviation.last) return nullptr;
  return {deviation.first, deviation.last, finite_json(deviation.significance), finite_json(deviation.share)};
}

}  // namespace

json deviations_data(const Detection& found, const std::vector<int64_t>& by_score) {
  const std::vector<Deviation>& deviations = found.deviations;
  const int64_t all = std::ssize(deviations);
  const bool complete = 8 * all <= deviation_budget;
  const int64_t count = complete ? all : deviation_budget / 12;
  std::vector<uint32_t> pixels;
  std::vector<uint16_t> ranges;
  std::vector<int16_t> sizes;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t pixel = complete ? i : by_score[i];
    const Deviation& deviation = deviations[pixel];
    pixels.push_back(static_cast<uint32_t>(pixel));
    ranges.push_back(static_cast<uint16_t>(deviation.first));
    ranges.push_back(static_cast<uint16_t>(deviation.last));
    sizes.push_back(steps_of(deviation.significance, 0.1));
    sizes.push_back(steps_of(deviation.share, 0.001));
  }
  return {{"pixels", complete ? json(nullptr) : json(base64(pixels))},
          {"ranges", base64(ranges)},
          {"sizes", base64(sizes)}};
}

std::string edges_text(const Deviation& deviation, const Axis& energy,
                       const std::vector<std::string>& elements) {
  if (deviation.first >= deviation.last || energy.units != "eV") return "";
  const double first = energy.value(deviation.first), last = energy.value(deviation.last - 1);
  return text_of(edges_near(std::min(first, last), std::max(first, last), elements));
}

std::string regions_csv(const Detection& found, const SpectrumImageView& prepared,
                        const std::vector<std::string>& elements) {
  // Without a unit the numbers are those of the axis, whatever they count.
  const auto unit = [](const Axis& axis, const char* none) -> std::string {
    const std::string text = !axis.units.empty()                   ? axis.units
                             : axis.offset == 0 && axis.scale == 1 ? none
                                                                   : "";
    return text.empty() || text.find_first_of("\",\r\n") != std::string::npos ? "" : " [" + text + "]";
  };
  const auto number = [](double value) {
    return std::isfinite(value) ? short_number(value, 7) : std::string();
  };
  const std::string energy = unit(prepared.energy, "channel"), length = unit(prepared.y, "");
  const bool has_area = !length.empty() && prepared.y.units == prepared.x.units;
  std::string text = "region,pixels,area" + (has_area ? " [" + prepared.y.units + "^2]" : std::string()) +
                     ",y" + unit(prepared.y, "px") + ",x" + unit(prepared.x, "px") +
                     ",strongest y [px],strongest x [px],score,from" + energy + ",to" + energy +
                     ",significance [sigma],share,near edges [eV],what changed,chi-squared "
                     "before,chi-squared after,channels\r\n";
  for (size_t i = 0; i < found.regions.size(); ++i) {
    const Region& region = found.regions[i];
    const Deviation& deviation = found.deviations[static_cast<size_t>(region.strongest)];
    text += std::to_string(i + 1) + "," + std::to_string(region.pixels.size()) + "," + number(region.area) +
            "," + number(region.y) + "," + number(region.x) + "," +
            std::to_string(region.strongest / prepared.x.size) + "," +
            std::to_string(region.strongest % prepared.x.size) + "," + number(region.highest_score) + ",";
    if (deviation.first < deviation.last)
      text += number(prepared.energy.value(deviation.first)) + "," +
              number(prepared.energy.value(deviation.last - 1)) + "," + number(deviation.significance) + "," +
              number(deviation.share);
    else
      text += ",,,";
    text += ",\"" + edges_text(deviation, prepared.energy, elements) + "\",";
    const Explanation& explanation = region.explanation;
    if (explanation.channels > 0)
      text += "\"" + sentence(explanation, elements) + "\"," + number(explanation.chi_squared_before) + "," +
              number(explanation.chi_squared_after) + "," + std::to_string(explanation.channels);
    else
      text += ",,,";
    text += "\r\n";
  }
  return text;
}

json regions_data(const Detection& found, const Axis& energy, const std::vector<std::string>& elements) {
  if (found.regions.empty()) return nullptr;
  const int64_t channels = energy.size;
  const int64_t shown = static_cast<int64_t>(std::min(found.regions.size(), regions_shown));
  std::vector<uint8_t> ranks(found.scores.size(), 0);
  std::vector<float> spectra;
  json table = json::array();
  for (int64_t i = 0; i < shown; ++i) {
    const Region& region = found.regions[i];
    for (int64_t pixel : region.pixels) ranks[static_cast<size_t>(pixel)] = static_cast<uint8_t>(i + 1);
    spectra.insert(spectra.end(), region.deviation.begin(), region.deviation.end());
    table.push_back({{"pixels", region.pixels.size()},
                     {"area", finite_json(region.area)},
                     {"y", finite_json(region.y)},
                     {"x", finite_json(region.x)},
                     {"strongest", region.strongest},
                     {"score", finite_json(region.highest_score)},
                     {"deviation", deviation_json(found.deviations[region.strongest])},
                     {"edges", edges_text(found.deviations[region.strongest], energy, elements)},
                     {"explanation", sentence(region.explanation, elements)}});
  }
  const int64_t bin =
      std::max<int64_t>(1, (2 * shown * channels + region_spectra_budget - 1) / region_spectra_budget);
  std::vector<int64_t> slots(static_cast<size_t>(shown));
  std::iota(slots.begin(), slots.end(), 0);
  const auto [values, spectrum_ranges] = packed_spectra<uint16_t>(spectra, channels, slots, bin);
  return {{"count", found.regions.size()},
          {"table", table},
          {"ranks", base64(ranks)},
          {"bin", bin},
          {"channels", (channels + bin - 1) / bin},
          {"spectra", values},
          {"spectraRange", spectrum_ranges}};
}

json latent_data(const Detection& found, const Expectation& expectation, int64_t image_width) {
  if (!expectation.grid) return nullptr;
  const TileGrid& grid = *expectation.grid;
  const std::vector<float>& means = expectation.latent;
  const size_t tiles = grid.origins.size(), units = means.size() / tiles;

  std::vector<double> variances(units);
  for (size_t unit = 0; unit < units; ++unit) {
    double sum = 0, squares = 0;
    for (size_t t = 0; t < tiles; ++t) sum += means[t * units + unit];
    const double mean = sum / static_cast<double>(tiles);
    for (size_t t = 0; t < tiles; ++t) squares += std::pow(means[t * units + unit] - mean, 2);
    variances[unit] = squares / static_cast<double>(tiles);
    if (!std::isfinite(variances[unit])) variances[unit] = 0;
  }
  std::vector<size_t> by_variance(units);
  std::iota(by_variance.begin(), by_variance.end(), size_t{0});
  std::stable_sort(by_variance.begin(), by_variance.end(),
                   [&](size_t a, size_t b) { return variances[a] > variances[b]; });
  const size_t across = by_variance.front(), up = by_variance[std::min<size_t>(1, units - 1)];

  struct Tile {
    size_t index;
    int64_t pixel;  // of the highest score
    float score;
  };
  std::vector<Tile> scored;
  for (size_t t = 0; t < tiles; ++t) {
    Tile tile = {t, -1, 0};
    for (int64_t y = grid.origins[t].y; y < grid.origins[t].y + grid.tile; ++y)
      for (int64_t x = grid.origins[t].x; x < grid.origins[t].x + grid.tile; ++x) {
        const int64_t pixel = y * image_width + x;
        const float score = found.scores[pixel];
        if (std::isfinite(score) && (tile.pixel < 0 || score > tile.score)) tile = {t, pixel, score};
      }
    const bool placed = std::isfinite(means[t * units + across]) && std::isfinite(means[t * units + up]);
    if (tile.pixel >= 0 && placed) scored.push_back(tile);
  }
  std::stable_sort(scored.begin(), scored.end(),
                   [](const Tile& a, const Tile& b) { return a.score > b.score; });

  json points = json::array();
  const size_t highest = std::min(scored.size(), tiles_shown / 2);
  const size_t step =
      std::max<size_t>(1, (scored.size() - highest + tiles_shown / 2 - 1) / (tiles_shown / 2));
  for (size_t i = 0; i < scored.size(); i += i < highest ? 1 : step) {
    const auto& [t, pixel, score] = scored[i];
    points.push_back({means[t * units + across], means[t * units + up], score, pixel, grid.origins[t].y,
                      grid.origins[t].x});
  }
  return {{"units", {across, up}},
          {"variances", {variances[across], variances[up]}},
          {"size", grid.tile},
          {"tiles", scored.size()},
          {"points", points}};
}

std::vector<float> deviation_energies(const Detection& found, const Axis& energy) {
  std::vector<float> energies(found.deviations.size(), std::numeric_limits<float>::quiet_NaN());
  for (size_t pixel = 0; pixel < energies.size(); ++pixel) {
    const Deviation& deviation = found.deviations[pixel];
    if (found.mask[pixel] != 0 && deviation.first < deviation.last)
      energies[pixel] = static_cast<float>(energy.value(0.5 * (deviation.first + deviation.last - 1)));
  }
  return energies;
}

}  // namespace eelsvae
