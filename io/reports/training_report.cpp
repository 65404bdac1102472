#include "io/reports/training_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/image/energy_axis.h"
#include "io/config/config.h"
#include "io/files/number_text.h"
#include "io/reports/embedded_arrays.h"
#include "io/reports/map_style.h"
#include "io/reports/page.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr int64_t spectra_shown = 6;

// "40 s", "3 min", "2 h 05 min", "1 d 4 h"
std::string rough_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 90) return std::to_string(whole) + " s";
  const int64_t minutes = (whole + 30) / 60;
  if (minutes < 60) return std::to_string(minutes) + " min";
  const int64_t hours = minutes / 60, rest = minutes % 60;
  if (hours < 24)
    return std::to_string(hours) + " h " + (rest < 10 ? "0" : "") + std::to_string(rest) + " min";
  return std::to_string(hours / 24) + " d " + std::to_string(hours % 24) + " h";
}

std::string headline(const TrainingReport& report) {
  const int64_t done = std::ssize(report.history), epochs = report.config.training.epochs;
  const std::string of = " of " + count_text(epochs);
  switch (report.progress) {
    case TrainingReport::Progress::finished:
      return "Finished: " + count_text(done) + (done == 1 ? " epoch" : " epochs");
    case TrainingReport::Progress::stopped:
      return "Stopped in epoch " + count_text(std::min(done + 1, epochs)) + of + "; continue with --resume";
    default:
      break;
  }
  std::string text = "Running: epoch " + count_text(std::min(done + 1, epochs)) + of;
  if (const auto left = training_seconds_left(report.history, epochs))
    text += ", about " + rough_duration(*left) + " left";
  return text;
}

std::string losses(const TrainingReport& report) {
  if (report.history.empty()) return "No epoch is complete yet.";
  const auto spectra = static_cast<double>(report.config.tiles.image_size * report.config.tiles.image_size);
  const EpochRecord& last = report.history.back();
  const EpochRecord& best =
      *std::min_element(report.history.begin(), report.history.end(),
                        [&](const EpochRecord& a, const EpochRecord& b) { return counted(a) < counted(b); });
  std::string text = "Loss of a spectrum " + number_text(last.training.loss / spectra);
  if (last.validation) text += ", in validation " + number_text(last.validation->loss / spectra);
  text += ". Best in epoch " + count_text(best.epoch);
  if (report.comparison && best.deviance) {
    Comparison comparison = *report.comparison;
    comparison.model = best.deviance;
    text += ". " + describe(comparison) + ". ";
  } else {
    text += ": " + number_text(counted(best) / spectra) + ". ";
  }
  return text + count_text(last.active_latent_units) + " of " + count_text(report.config.model.latent_dim) +
         " latent units are active.";
}

// Pixels spread over the tile, those that are excluded (all zero) passed by for their nearest neighbours.
std::vector<int64_t> sample_pixels(const ReconstructedTile& tile, int64_t channels) {
  std::vector<int64_t> pixels;
  auto is_free = [&](int64_t pixel) {
    const auto spectrum = std::span(tile.observed)
                              .subspan(static_cast<size_t>(pixel * channels), static_cast<size_t>(channels));
    return std::ranges::find(pixels, pixel) == pixels.end() &&
           std::ranges::any_of(spectrum, [](float v) { return v != 0; });
  };
  for (int64_t k = 0; k < spectra_shown; ++k) {
    const int64_t y = (2 * (k / 3) + 1) * tile.size / 4, x = (2 * (k % 3) + 1) * tile.size / 6;
    int64_t nearest = -1, distance = 0;
    for (int64_t pixel = 0; pixel < tile.size * tile.size; ++pixel) {
      const int64_t dy = pixel / tile.size - y, dx = pixel % tile.size - x, d = dy * dy + dx * dx;
      if ((nearest < 0 || d < distance) && is_free(pixel)) {
        nearest = pixel;
        distance = d;
      }
    }
    if (nearest >= 0) pixels.push_back(nearest);
  }
  return pixels;
}

// The channels whose sum the tile's maps show: where a deviation counts, or, where that is not set, the
// sixteenth of the spectrum whose share of a pixel's intensity differs the most among the pixels. The whole
// spectrum would not tell a reconstruction by cross-entropy, which keeps its sum.
ChannelWindow map_window(const TrainingReport& report) {
  if (const auto& range = report.config.detection.window; range && report.prepared.energy.scale > 0) {
    const ChannelWindow window = channels_within(report.prepared.energy, *range);
    if (window.size() > 0) return window;
  }
  const std::vector<float>& cube = report.tile->observed;
  const int64_t channels = report.prepared.energy.size, parts = std::min<int64_t>(16, channels);
  ChannelWindow best = {0, channels};
  double most = 0;
  for (int64_t part = 0; part < parts; ++part) {
    const ChannelWindow window = {part * channels / parts, (part + 1) * channels / parts};
    double sum = 0, squares = 0, pixels = 0;
    for (auto spectrum = cube.begin(); spectrum != cube.end(); spectrum += channels) {
      const double total = std::accumulate(spectrum, spectrum + channels, 0.0);
      if (!(total > 0)) continue;
      const double share = std::accumulate(spectrum + window.first, spectrum + window.last, 0.0) / total;
      sum += share;
      squares += share * share;
      ++pixels;
    }
    const double variance = pixels > 0 ? squares / pixels - std::pow(sum / pixels, 2) : 0;
    if (variance > most) {
      most = variance;
      best = window;
    }
  }
  return best;
}

std::vector<float> sums(const std::vector<float>& cube, int64_t channels, ChannelWindow window) {
  std::vector<float> result;
  for (auto spectrum = cube.begin(); spectrum != cube.end(); spectrum += channels)
    result.push_back(
        static_cast<float>(std::accumulate(spectrum + window.first, spectrum + window.last, 0.0)));
  return result;
}

json samples(const TrainingReport& report) {
  if (!report.tile) return nullptr;
  const ReconstructedTile& tile = *report.tile;
  const int64_t channels = report.prepared.energy.size;
  const std::vector<int64_t> pixels = sample_pixels(tile, channels);
  const ChannelWindow window = map_window(report);
  const std::vector<float> observed_map = sums(tile.observed, channels, window),
                           model_map = sums(tile.reconstruction, channels, window);
  const std::array<double, 2> limits = robust_limits(observed_map);
  json data = {{"pixels", json::array()},
               {"size", tile.size},
               {"limits", limits},
               {"observedMap", base64(observed_map)},
               {"modelMap", base64(model_map)}};
  for (int64_t pixel : pixels)
    data["pixels"].push_back({tile.origin.y + pixel / tile.size, tile.origin.x + pixel % tile.size});
  std::tie(data["observed"], data["observedRange"]) =
      packed_spectra<uint16_t>(tile.observed, channels, pixels, 1);
  std::tie(data["model"], data["modelRange"]) =
      packed_spectra<uint16_t>(tile.reconstruction, channels, pixels, 1);
  return data;
}

// Of a spectrum.
json loss_terms(const EpochLoss& loss, const Config& config) {
  const auto spectra = static_cast<double>(config.tiles.image_size * config.tiles.image_size);
  return {finite_json(loss.loss / spectra), finite_json(config.loss.dose * loss.reconstruction / spectra),
          finite_json(config.loss.kl_weight * loss.kl / spectra)};
}

json history(const TrainingReport& report) {
  json records = json::array();
  for (const EpochRecord& r : report.history)
    records.push_back(
        {{"epoch", r.epoch},
         {"training", loss_terms(r.training, report.config)},
         {"validation", r.validation ? loss_terms(*r.validation, report.config) : json(nullptr)},
         {"deviance", r.deviance ? finite_json(*r.deviance) : json(nullptr)},
         {"rate", finite_json(r.learning_rate)},
         {"norm", finite_json(r.gradient_norm)},
         {"active", r.active_latent_units}});
  return records;
}

json comparison(const TrainingReport& report) {
  if (!report.comparison) return nullptr;
  return {{"mean", report.comparison->mean},
          {"pca", report.comparison->pca ? json(*report.comparison->pca) : json(nullptr)}};
}

std::string energy_text(const Axis& energy, ChannelWindow window) {
  if (energy.units.empty())
    return "channels " + count_text(window.first) + " to " + count_text(window.last - 1);
  char text[64];
  std::snprintf(text, sizeof text, "%.1f to %.1f ", energy.value(static_cast<double>(window.first)),
                energy.value(static_cast<double>(window.last - 1)));
  return text + energy.units;
}

std::string tile_text(const TrainingReport& report) {
  const ReconstructedTile& tile = *report.tile;
  return "The tile at y " + count_text(tile.origin.y) + ", x " + count_text(tile.origin.x) +
         (tile.validation ? ", which is not trained on" : ", one of those trained on") + ", after epoch " +
         count_text(tile.epoch) + ". Maps: sums over " +
         energy_text(report.prepared.energy, map_window(report)) + ", both in the same colours.";
}

}  // namespace

std::optional<double> training_seconds_left(std::span<const EpochRecord> history, int64_t epochs) {
  if (history.empty()) return std::nullopt;
  const auto recent = history.last(std::min<size_t>(history.size(), 10));
  double seconds = 0;
  for (const EpochRecord& record : recent) seconds += record.seconds;
  const int64_t left = std::max<int64_t>(0, epochs - std::ssize(history));
  return seconds / static_cast<double>(recent.size()) * static_cast<double>(left);
}

std::string render_training_report(const TrainingReport& report) {
  if (report.tile) {
    const auto samples_in_tile =
        static_cast<size_t>(report.tile->size * report.tile->size * report.prepared.energy.size);
    expect(report.tile->observed.size() == samples_in_tile &&
               report.tile->reconstruction.size() == samples_in_tile,
           "a training report's tile matches its energy axis");
  }
  const bool running = report.progress == TrainingReport::Progress::running;
  const std::string& title = report.prepared.title;
  return render_page("training.html", {{"title", "Training" + (title.empty() ? "" : ": " + title)},
                                       {"headline", headline(report)},
                                       {"sublines", losses(report)},
                                       {"origin", "Data: " + report.config.data.data_path},
                                       {"palette", base64<Colour>(viridis())},
                                       {"history", history(report)},
                                       {"comparison", comparison(report)},
                                       {"latent", report.config.model.latent_dim},
                                       {"energy", axis_json(report.prepared.energy)},
                                       {"samples", samples(report)},
                                       {"tile", report.tile ? json(tile_text(report)) : json(nullptr)},
                                       {"written", report.written},
                                       {"next", running ? finite_json(report.next_seconds) : json(nullptr)},
                                       {"versions", describe(report.provenance)},
                                       {"configuration", to_json_text(report.config)}});
}

}  // namespace eelsvae
