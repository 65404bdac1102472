#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/detect/deviation.h"
#include "engine/detect/regions.h"
#include "engine/image/spectrum_image.h"
#include "engine/image/tiling.h"

namespace eelsvae {

struct TrainingEpoch {
  int64_t epoch = 0;
  double train_loss = 0;
  std::optional<double> validation_loss;
};

// A further map to look at beside the score, (y, x); NaN: no value there.
struct MapLayer {
  std::string name;  // with its units: "thickness (nm)"
  std::span<const float> values;
};

// Where the tiles of an image lie in the model's latent space.
struct LatentTiles {
  std::span<const float> means;         // (tiles, latent) of the posterior
  std::span<const TileOrigin> origins;  // (tiles)
  int64_t size = 0;                     // pixels along an edge
};

// What a detection found, for people to look at. Maps are (y, x) and cubes (y, x, E) with the sizes of the
// axes; the spans belong to the caller.
struct DetectionReport {
  std::string title;  // of the spectrum image
  std::string data_file;
  std::string model;  // file or run folder
  std::string score;  // name of the score
  Axis y, x, energy;

  std::span<const float> scores;               // larger is more anomalous; NaN: no score
  std::optional<double> threshold;             // on the scores
  std::string threshold_method;                // "Otsu", "given"; empty: unknown
  std::optional<double> false_discovery_rate;  // that the threshold was chosen for
  std::optional<double> false_discoveries;     // how many of the anomalous spectra are estimated to be false
  // What the null fitted to the scores expects of normal spectra: (score, number of spectra per unit of
  // score), scores ascending. Empty: no null was fitted.
  std::vector<std::pair<double, double>> null_curve;
  std::span<const uint8_t> mask;                 // not 0: anomalous
  std::span<const uint8_t> excluded;             // not 0: left out, without a score; empty: none
  std::span<const uint8_t> truth;                // not 0: known to be anomalous; empty: unknown
  std::optional<std::array<int64_t, 2>> window;  // first and past-the-last channel of the score

  std::span<const float> observed;        // preprocessed cube; empty: the report shows no spectra
  std::span<const float> reconstruction;  // empty: spectra are shown without one
  std::string intensity_label = "preprocessed intensity";

  std::span<const Deviation> deviations;  // of every pixel; empty: not known
  std::span<const Region> regions;        // highest score first; empty: none
  std::optional<LatentTiles> latent;
  std::vector<MapLayer> layers;

  std::vector<std::pair<std::string, double>> metrics;        // against the truth: "F1", 0.97
  std::vector<std::pair<std::string, std::string>> summary;   // what else to list, as text
  std::vector<TrainingEpoch> history;                         // empty: unknown
  std::string configuration;                                  // JSON text; empty: none
  std::vector<std::pair<std::string, std::string>> versions;  // of programs, libraries and device
};

}  // namespace eelsvae
