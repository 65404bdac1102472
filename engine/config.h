#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/reconstruction_loss.h"

namespace eelsvae {

// Everything a run can be told. The keys, defaults, units and one-line explanations that users see are listed
// once, in io/config/config_fields.h; the defaults here are the published setting's where there is one.

// How a file is to be taken, where it does not say so itself.
struct ReadOptions {
  int64_t dataset = -1;      // which image of a file; -1: the EELS spectrum image
  std::string axes = "yxE";  // what the image's axes are, in the order in which they are listed
  bool swap_axes = false;    // then exchange y and x
  std::optional<double> energy_offset = {};                // eV, of the first channel; the file's if absent
  std::optional<double> dispersion = {};                   // eV per channel; the file's if absent
  std::optional<std::array<double, 2>> energy_range = {};  // eV that are used; the whole axis if absent
  std::optional<std::string> frame = {};                   // of a series of images: its number, or "sum"
  bool operator==(const ReadOptions&) const = default;
};

struct DataConfig : ReadOptions {
  std::string data_path;
  std::optional<std::string> exclude_path;      // a .npy mask (y, x), not 0: excluded
  std::vector<std::array<int64_t, 4>> exclude;  // rectangles [y0, x0, y1, x1), pixels
  bool operator==(const DataConfig&) const = default;
};

enum class Scaling { robust_minmax, minmax, zscore, quantile, none };
enum class Align { none, zero_loss, feature };
enum class AlignBy { pixel, row };

struct PreprocessConfig {
  // Steps that still yield counts (reduce() in engine/prepare/preprocess.h); all but set_aside off by
  // default.
  std::optional<std::array<int64_t, 2>> crop_y, crop_x;  // pixels [first, last); all of them if absent
  double set_aside = 0.05;                            // least share of the brightest pixels' counts; 0: off
  double despike = 0;                                 // threshold, standard deviations; 0: off
  Align align = Align::none;                          // what the energy drift is measured at
  AlignBy align_by = AlignBy::pixel;                  // one shift for each pixel, or for each scan line
  std::optional<std::array<double, 2>> align_window;  // eV, where the peak or the feature is
  std::optional<std::string> align_path;              // image to measure in; the image itself if absent
  int64_t align_dataset = -1;                         // which image of that file
  int64_t bin_xy = 1, bin_energy = 1;                 // pixels and channels that are added up

  // Steps that make them targets.
  double sigma = 0.5;  // Gaussian filter over (y, x, E), in pixels and channels; 0: off
  Scaling scaling_method = Scaling::robust_minmax;
  std::array<double, 2> percentiles = {1, 99};  // of robust_minmax
  int64_t xy_window = 3;                        // side of the spatial mean, odd; 1: off
  bool operator==(const PreprocessConfig&) const = default;
};

struct TilesConfig {
  int64_t image_size = 24;               // side of a tile, a multiple of 4
  int64_t sliding_window_stride = 24;    // of training tiles
  std::vector<int64_t> anomaly_indices;  // tiles left out of training, counted row by row
};

// What a latent vector describes: a tile, as published, or each cell of 4 x 4 pixels (engine/network/).
enum class LatentOf { tile, cell };

struct ModelConfig {
  std::array<int64_t, 4> channels = {32, 64, 128, 256};
  int64_t hidden = 512;
  int64_t latent_dim = 48;
  LatentOf latent = LatentOf::tile;
  int64_t blind = 5;  // of cells: side of the squares that are not shown (blind_blocks.h), pixels
};

constexpr const char* name_of(ReconstructionLoss loss) {
  switch (loss) {
    case ReconstructionLoss::cross_entropy:
      return "cross_entropy";
    case ReconstructionLoss::mse:
      return "mse";
    case ReconstructionLoss::poisson:
      return "poisson";
  }
  return "?";
}

struct LossConfig {
  ReconstructionLoss reconstruction = ReconstructionLoss::cross_entropy;
  double dose = 1;               // factor on the reconstruction term
  double kl_weight = 1;          // beta
  int64_t kl_warmup_epochs = 0;  // beta rises linearly over so many epochs
};

struct TrainingConfig {
  int64_t epochs = 300;
  int64_t batch_size = 1;
  double learning_rate = 1e-4;
  double clip_value = 3.53;  // global gradient norm; 0: off
  int64_t lr_patience = 10;  // epochs without progress before the rate is lowered; 0: never lowered
  double lr_factor = 0.5;
  bool augment = false;  // random flips and quarter turns of tiles
  uint64_t seed = 0;
  double validation_fraction = 0.1;  // of the image, in tiles
  int64_t patience = 20;             // epochs without a better prediction after which training ends; 0: never
};

enum class Blend { uniform, cosine };

// How unlike what is expected of it a spectrum is; engine/detect/scores.h and engine/detect/whitened_score.h.
enum class Score {
  joint,
  learned,
  whitened,
  amounts,
  combined,
  deviance,
  pearson,
  pearson_background,
  latent
};
// Whether only a model has what the score looks at: baselines are refused it, a study leaves it out for them.
constexpr bool needs_model(Score score) {
  return score == Score::latent;
}
enum class ThresholdMethod { fdr, otsu, conformal };
// Whether the method's threshold is made for a false-discovery rate.
constexpr bool keeps_rate(ThresholdMethod method) {
  return method == ThresholdMethod::fdr || method == ThresholdMethod::conformal;
}
// Whether it needs scores of normal spectra that were held out of training.
constexpr bool needs_held_out(ThresholdMethod method) {
  return method == ThresholdMethod::conformal;
}

struct DetectionConfig {
  Score score = Score::whitened;
  std::optional<std::array<double, 2>> window;  // eV; the whole range if absent
  int64_t context = 9;                          // side of the surroundings that foretell a pixel; 0: none
  double pooling = 0;                           // sigma of the pooling over neighbours, pixels; 0: off
  ThresholdMethod threshold_method = ThresholdMethod::fdr;
  double fdr = 0.05;                // wanted share of false ones among the found
  std::optional<double> threshold;  // on the score, in place of the method's
  int64_t stride = 0;               // of overlapping tiles; 0: half a tile
  Blend blend = Blend::cosine;
  int64_t passes = 4;                 // of a network of cells, each blind to other pixels: 4 or 16
  int64_t batch_size = 8;             // tiles that a model reconstructs at a time
  std::vector<std::string> elements;  // of the specimen, for the names of edges; empty: any

  // Whether scores are made alike, whatever is made of them.
  bool scores_like(const DetectionConfig& other, LatentOf latent) const {
    return score == other.score && window == other.window && context == other.context &&
           pooling == other.pooling && stride == other.stride && blend == other.blend &&
           (latent == LatentOf::tile || passes == other.passes);
  }
  // Whether a method decides: a number that is given takes precedence.
  bool threshold_by(ThresholdMethod method) const { return !threshold && threshold_method == method; }
  bool threshold_by_rate() const { return !threshold && keeps_rate(threshold_method); }
  bool threshold_by_held_out() const { return !threshold && needs_held_out(threshold_method); }
};

struct Config {
  DataConfig data;
  PreprocessConfig preprocess;
  TilesConfig tiles;
  ModelConfig model;
  LossConfig loss;
  TrainingConfig training;
  DetectionConfig detection;
  std::string device = "auto";
  std::string precision = "auto";
};

}  // namespace eelsvae
