#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/config.h"
#include "engine/detect/edges.h"

// The table of every configuration key. Reading, writing, --set, suggestions and docs/config.md all follow
// it; a new key is a member in engine/config.h and a line here.
namespace eelsvae {

struct Field {
  const char* group;  // "": the top level
  const char* key;
  const char* unit;
  const char* meaning;
};

// What a value must satisfy besides its type; the text completes "must be ...".
template <typename Test>
struct Rule {
  std::string text;
  Test holds;
};
template <typename Test>
Rule(std::string, Test) -> Rule<Test>;

inline std::string joined(const std::vector<std::string>& words, const char* separator, const char* last) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 == words.size() ? last : separator) + words[i];
  return text;
}

inline std::string any_of(const std::vector<std::string>& words) {
  return joined(words, ", ", " or ");
}

inline auto anything() {
  return Rule{"", [](const auto&) { return true; }};
}
inline auto at_least(int64_t low) {
  return Rule{std::to_string(low) + " or more", [low](auto value) { return value >= low; }};
}
inline auto from_to(int64_t low, int64_t high) {
  return Rule{"from " + std::to_string(low) + " to " + std::to_string(high),
              [low, high](auto value) { return value >= low && value <= high; }};
}
inline auto above_zero() {
  return Rule{"greater than 0", [](double value) { return value > 0; }};
}
inline auto ascending() {
  return Rule{"ascending", [](const std::array<double, 2>& range) { return range[0] < range[1]; }};
}
inline auto pixel_range() {
  return Rule{"ascending from 0",
              [](const std::array<int64_t, 2>& range) { return 0 <= range[0] && range[0] < range[1]; }};
}
inline auto one_of(std::vector<std::string> words) {
  std::string text = any_of(words);
  return Rule{text, [words](const std::string& value) {
                return std::find(words.begin(), words.end(), value) != words.end();
              }};
}

inline std::array<std::pair<const char*, Scaling>, 5> choices(Scaling) {
  return {{{"robust_minmax", Scaling::robust_minmax},
           {"minmax", Scaling::minmax},
           {"zscore", Scaling::zscore},
           {"quantile", Scaling::quantile},
           {"none", Scaling::none}}};
}
inline std::array<std::pair<const char*, Align>, 3> choices(Align) {
  return {{{"none", Align::none}, {"zero_loss", Align::zero_loss}, {"feature", Align::feature}}};
}
inline std::array<std::pair<const char*, AlignBy>, 2> choices(AlignBy) {
  return {{{"pixel", AlignBy::pixel}, {"row", AlignBy::row}}};
}
inline std::array<std::pair<const char*, ReconstructionLoss>, 3> choices(ReconstructionLoss) {
  using enum ReconstructionLoss;
  return {{{name_of(cross_entropy), cross_entropy}, {name_of(poisson), poisson}, {name_of(mse), mse}}};
}
inline std::array<std::pair<const char*, Score>, 9> choices(Score) {
  return {{{"joint", Score::joint},
           {"learned", Score::learned},
           {"whitened", Score::whitened},
           {"amounts", Score::amounts},
           {"combined", Score::combined},
           {"deviance", Score::deviance},
           {"pearson", Score::pearson},
           {"pearson_background", Score::pearson_background},
           {"latent", Score::latent}}};
}
inline std::array<std::pair<const char*, ThresholdMethod>, 3> choices(ThresholdMethod) {
  return {{{"fdr", ThresholdMethod::fdr},
           {"otsu", ThresholdMethod::otsu},
           {"conformal", ThresholdMethod::conformal}}};
}
inline std::array<std::pair<const char*, LatentOf>, 2> choices(LatentOf) {
  return {{{"tile", LatentOf::tile}, {"cell", LatentOf::cell}}};
}
inline std::array<std::pair<const char*, Blend>, 2> choices(Blend) {
  return {{{"uniform", Blend::uniform}, {"cosine", Blend::cosine}}};
}

// How a choice is written in a configuration.
template <typename Enum>
const char* name_of(Enum value) {
  for (const auto& [name, candidate] : choices(value))
    if (candidate == value) return name;
  return "";
}

// Which devices there are is the business of the backends; here only the form counts, so that a configuration
// made on another machine can be read.
inline auto device_name() {
  return Rule{"auto, cpu, cuda or cuda:N", [](const std::string& value) {
                size_t letters = value.find_first_not_of("abcdefghijklmnopqrstuvwxyz");
                if (letters == std::string::npos) return !value.empty();
                return letters > 0 && value[letters] == ':' && value.size() > letters + 1 &&
                       value.find_first_not_of("0123456789", letters + 1) == std::string::npos;
              }};
}

// Calls visit(Field, member, Rule) for every key, groups together and the top level last. AnyConfig: Config
// or const Config. The upper limits of the sizes keep every product of them inside 64 bits.
template <typename AnyConfig, typename Visitor>
void visit_fields(AnyConfig& config, Visitor&& visit) {
  auto& data = config.data;
  visit(
      Field{"data", "data_path", "", "the spectrum image to read; `--data` on the command line replaces it"},
      data.data_path, anything());
  visit(Field{"data", "energy_range", "eV",
              "part of the energy axis to use, narrowed symmetrically to a multiple of 16 channels; null: "
              "all of it"},
        data.energy_range, ascending());
  visit(Field{"data", "dataset", "",
              "which image of a file, as `eelsvae-info` counts them from 0; -1: its EELS spectrum image, of "
              "several the one that holds energy_range, or else the first that begins above 30 eV"},
        data.dataset, at_least(-1));
  visit(Field{"data", "frame", "",
              "of a series of spectrum images (t, y, x, E): which of them, counted from 0, or sum for all "
              "added up; null: the file holds one image"},
        data.frame,
        Rule{"a number from 0 on, or sum", [](const std::string& frame) {
               return frame == "sum" ||
                      (!frame.empty() && frame.size() < 10 &&
                       std::all_of(frame.begin(), frame.end(), [](char c) { return '0' <= c && c <= '9'; }));
             }});
  visit(
      Field{"data", "axes", "",
            "what the image's axes are, in the order in which `eelsvae-info` lists them; other than yxE for "
            "files that do not say where the energy is (.npy, for one)"},
      data.axes, one_of({"yxE", "xyE", "yEx", "xEy", "Eyx", "Exy"}));
  visit(Field{"data", "swap_axes", "", "exchange y and x"}, data.swap_axes, anything());
  visit(Field{"data", "energy_offset", "eV",
              "energy of the first channel, for files without a calibration or with a wrong one; null: the "
              "file's"},
        data.energy_offset, anything());
  visit(Field{"data", "dispersion", "eV per channel",
              "width of a channel, for files without a calibration or with a wrong one; null: the file's"},
        data.dispersion, above_zero());
  visit(
      Field{
          "data", "exclude_path", "",
          "a .npy mask (y, x) of booleans or integers: pixels that are not 0 are excluded, that is left out "
          "of training and detection, whatever their counts are. `eelsvae-detect` excludes only what its "
          "own `--set` names, whatever the training excluded"},
      data.exclude_path, anything());
  visit(
      Field{"data", "exclude", "pixels",
            "rectangles that are excluded too; y1 and x1 are the first row and column beyond. Both keys mean "
            "the image as it lies in the file, after swap_axes"},
      data.exclude,
      Rule{"each with 0 <= y0 < y1 and 0 <= x0 < x1", [](const std::vector<std::array<int64_t, 4>>& list) {
             return std::all_of(list.begin(), list.end(), [](const std::array<int64_t, 4>& r) {
               return 0 <= r[0] && r[0] < r[2] && 0 <= r[1] && r[1] < r[3];
             });
           }});

  auto& preprocess = config.preprocess;
  visit(Field{"preprocess", "crop_y", "pixels", "rows of the image to use; null: all"}, preprocess.crop_y,
        pixel_range());
  visit(Field{"preprocess", "crop_x", "pixels", "columns of the image to use; null: all"}, preprocess.crop_x,
        pixel_range());
  visit(
      Field{
          "preprocess", "set_aside", "",
          "pixels with less than this share of the counts of the brightest (95th percentile) are vacuum and "
          "set "
          "aside: neither learnt from nor scored, as if excluded. So are pixels whose channels are all equal "
          "(unscanned, dead) and saturated ones; 0: off"},
      preprocess.set_aside, Rule{"from 0 to 1", [](double share) { return 0 <= share && share <= 1; }});
  visit(Field{"preprocess", "despike", "standard deviations",
              "channels that stand out of their spectrum and of the neighbouring pixels by so much are taken "
              "for cosmic rays or X-rays and replaced by interpolation; 8 finds what matters; 0: off"},
        preprocess.despike, Rule{"0 or from 3 to 1000", [](double sigmas) {
                                   return sigmas == 0 || (sigmas >= 3 && sigmas <= 1000);
                                 }});
  visit(Field{"preprocess", "align", "",
              "removes energy drift. zero_loss: the zero-loss peak is brought to 0 eV, or where it is in "
              "another image (`align_path`) to its median position; feature: what `align_window` holds, such "
              "as an edge, is brought to where it is in the mean spectrum"},
        preprocess.align, anything());
  visit(Field{"preprocess", "align_by", "",
              "pixel: each spectrum has a shift of its own; row: one shift for each scan line (y), measured "
              "in its mean spectrum, for weak features"},
        preprocess.align_by, anything());
  visit(Field{"preprocess", "align_window", "eV",
              "where to look for the peak or the feature; null, for zero_loss only: everywhere"},
        preprocess.align_window, ascending());
  visit(Field{"preprocess", "align_path", "",
              "image in which the drift is measured, of the same scan: the low-loss image of a dual-EELS "
              "acquisition; null: the image itself"},
        preprocess.align_path, Rule{"not empty", [](const std::string& path) { return !path.empty(); }});
  visit(
      Field{"preprocess", "align_dataset", "",
            "which image of `align_path`, counted like `data.dataset`; -1: its low-loss image, which begins "
            "below 30 eV, or else as `data.dataset`"},
      preprocess.align_dataset, at_least(-1));
  visit(Field{"preprocess", "bin_xy", "pixels",
              "side of the squares of pixels whose counts are added up; 1: off"},
        preprocess.bin_xy, from_to(1, 65536));
  visit(Field{"preprocess", "bin_energy", "channels",
              "neighbouring channels whose counts are added up; 1: off"},
        preprocess.bin_energy, from_to(1, 65536));
  visit(Field{"preprocess", "sigma", "pixels and channels",
              "standard deviation of the Gaussian filter over (y, x, E); 0: off"},
        preprocess.sigma, from_to(0, 100));
  visit(Field{"preprocess", "scaling_method", "",
              "how counts become targets. robust_minmax: `percentiles` to 0 and 1, clipped; minmax: extremes "
              "to 0 "
              "and 1; zscore: mean 0, deviation 1; quantile: ranks from 0 to 1; none: counts as they are"},
        preprocess.scaling_method, anything());
  visit(Field{"preprocess", "percentiles", "%", "what robust_minmax maps to 0 and 1"}, preprocess.percentiles,
        Rule{"ascending and within 0 and 100", [](const std::array<double, 2>& range) {
               return 0 <= range[0] && range[0] < range[1] && range[1] <= 100;
             }});
  visit(Field{"preprocess", "xy_window", "pixels",
              "side of the square over which spectra are averaged; 1: off"},
        preprocess.xy_window,
        Rule{"odd, from 1 to 99", [](int64_t side) { return side % 2 == 1 && side >= 1 && side <= 99; }});

  auto& tiles = config.tiles;
  visit(Field{"tiles", "image_size", "pixels", "side of the square tiles that the network sees"},
        tiles.image_size, Rule{"a multiple of 4 from 4 to 1024", [](int64_t side) {
                                 return side % 4 == 0 && side >= 4 && side <= 1024;
                               }});
  visit(Field{"tiles", "sliding_window_stride", "pixels", "distance between neighbouring training tiles"},
        tiles.sliding_window_stride, at_least(1));
  visit(Field{"tiles", "anomaly_indices", "",
              "tiles left out of training because they hold anomalies, counted from 0, row by row"},
        tiles.anomaly_indices,
        Rule{"each 0 or more", [](const std::vector<int64_t>& indices) {
               return std::all_of(indices.begin(), indices.end(), [](int64_t index) { return index >= 0; });
             }});

  auto& model = config.model;
  visit(Field{"model", "channels", "", "feature channels after each of the encoder's four convolutions"},
        model.channels, Rule{"each from 1 to 4096", [](const std::array<int64_t, 4>& channels) {
                               return std::all_of(channels.begin(), channels.end(),
                                                  [](int64_t count) { return count >= 1 && count <= 4096; });
                             }});
  visit(
      Field{"model", "hidden", "", "width of the fully connected layer on either side of the latent vector"},
      model.hidden, from_to(1, 65536));
  visit(
      Field{
          "model", "latent", "",
          "what a latent vector describes. tile: a whole tile, as published; cell: 4 x 4 pixels, which takes "
          "far fewer weights; such a network is trained to tell pixels that it is not shown"},
      model.latent, anything());
  visit(Field{"model", "latent_dim", "", "length of the latent vector of a tile or a cell"}, model.latent_dim,
        from_to(1, 65536));
  visit(Field{"model", "blind", "pixels",
              "side of the squares that a network of cells is not shown; larger than what is looked for"},
        model.blind, from_to(2, 64));

  auto& loss = config.loss;
  visit(
      Field{
          "loss", "reconstruction", "",
          "cross_entropy: of the softmax over energy against the spectrum as soft targets, whose total is "
          "taken as it is; poisson: this, and the likelihood of the total, so that a spectrum with too many "
          "or too few counts does not fit either; mse: squared differences; each summed over a tile"},
      loss.reconstruction, anything());
  visit(Field{"loss", "dose", "",
              "factor on the reconstruction term. With targets from 0 to 1 and a dose of 1 the KL term can "
              "win and "
              "the latent units fall silent; a larger dose stands for more detected electrons"},
        loss.dose, above_zero());
  visit(Field{"loss", "kl_weight", "", "beta, the factor on the KL divergence"}, loss.kl_weight, at_least(0));
  visit(Field{"loss", "kl_warmup_epochs", "epochs",
              "beta rises linearly, epoch by epoch, to kl_weight in so many; 0: constant"},
        loss.kl_warmup_epochs, at_least(0));

  auto& training = config.training;
  visit(Field{"training", "epochs", "epochs", "passes over the training tiles"}, training.epochs,
        from_to(1, 1'000'000));
  visit(Field{"training", "batch_size", "tiles", "tiles per optimizer step"}, training.batch_size,
        from_to(1, 4096));
  visit(Field{"training", "learning_rate", "", "of Adam, at the start"}, training.learning_rate,
        above_zero());
  visit(Field{"training", "clip_value", "",
              "largest norm of the whole gradient, longer ones are shortened; 0: off"},
        training.clip_value, at_least(0));
  visit(Field{"training", "lr_patience", "epochs",
              "epochs without progress after which the learning rate is lowered; 0: never lowered"},
        training.lr_patience, at_least(0));
  visit(Field{"training", "lr_factor", "", "what the learning rate is then multiplied by"},
        training.lr_factor, Rule{"between 0 and 1", [](double factor) { return 0 < factor && factor < 1; }});
  visit(Field{"training", "augment", "", "flip and quarter-turn training tiles at random"}, training.augment,
        anything());
  visit(Field{"training", "seed", "", "of every random number; the same seed repeats a run"}, training.seed,
        anything());
  visit(
      Field{"training", "validation_fraction", "",
            "share of the image that is held out of training, in whole tiles; no tile that overlaps them is "
            "trained on. Its spectra tell how well normal ones are predicted; 0: none"},
      training.validation_fraction,
      Rule{"0 or more and below 1", [](double share) { return 0 <= share && share < 1; }});
  visit(Field{"training", "patience", "epochs",
              "training ends before `epochs` when the held-out spectra have not been predicted better for so "
              "many; 0: never"},
        training.patience, at_least(0));

  auto& detection = config.detection;
  visit(
      Field{
          "detection", "score", "",
          "how unlike what is expected a spectrum is. learned: by a network that was trained to tell "
          "residuals "
          "of changed spectra from normal ones, normal variation taken out; whitened: the largest smoothed "
          "residual over energy, in standard deviations, normal variation taken out; amounts: ordinary "
          "spectra "
          "in unusual amounts, where a model foretells these, as on a lattice of atoms; joint: whitened and "
          "amounts as one; combined: whitened, deviance and pearson_background as one; deviance: mean "
          "squared "
          "residual in units of the noise; pearson: 1 - correlation, as published; pearson_background: the "
          "same "
          "without the smooth background; latent: 1 - correlation times how unusual the tile's latent vector "
          "is"},
      detection.score, anything());
  visit(Field{"detection", "window", "eV", "energies that the score looks at; null: all"}, detection.window,
        ascending());
  visit(
      Field{"detection", "context", "pixels",
            "side of the square whose other pixels foretell how much a pixel's spectrum shows of what normal "
            "spectra vary in (learned, whitened, joint, combined); larger than the defects; 0: off"},
      detection.context, Rule{"0 or odd, from 5 to 99", [](int64_t side) {
                                return side == 0 || (side % 2 == 1 && side >= 5 && side <= 99);
                              }});
  visit(
      Field{
          "detection", "pooling", "pixels",
          "standard deviation of the Gaussian over which the evidence of neighbouring pixels is pooled, for "
          "extended defects; 0: off"},
      detection.pooling, Rule{"from 0 to 20", [](double sigma) { return sigma >= 0 && sigma <= 20; }});
  visit(
      Field{"detection", "threshold_method", "",
            "fdr: a false-discovery rate, with the scores of normal spectra as the bulk of the image shows "
            "them; conformal: the same, with the scores of tiles held out of training "
            "(`training.validation_fraction`); otsu: as published, needs anomalies that form a second hump"},
      detection.threshold_method, anything());
  visit(Field{"detection", "fdr", "", "share of false alarms among the spectra that are found"},
        detection.fdr, Rule{"between 0 and 1", [](double share) { return 0 < share && share < 1; }});
  visit(Field{"detection", "threshold", "of the score",
              "pixels that score more are anomalous, in place of what the method finds; null: the method's"},
        detection.threshold, anything());
  visit(Field{"detection", "stride", "pixels", "distance between the tiles that are scored; 0: half a tile"},
        detection.stride, at_least(0));
  visit(Field{"detection", "blend", "",
              "weight of a pixel inside overlapping tiles. uniform: the same; cosine: falling towards the "
              "border"},
        detection.blend, anything());
  visit(
      Field{"detection", "passes", "",
            "over the image, of a network of cells: with 4 each pixel is told once without being shown, with "
            "16 four times, and the mean counts"},
      detection.passes, Rule{"4 or 16", [](int64_t passes) { return passes == 4 || passes == 16; }});
  visit(
      Field{"detection", "batch_size", "tiles",
            "tiles that a model reconstructs at a time: more take more memory and, up to about 8, less time"},
      detection.batch_size, from_to(1, 4096));
  visit(Field{"detection", "elements", "",
              "elements of the specimen: what is found is named after their edges; none: after the major "
              "edges of any "
              "element"},
        detection.elements,
        Rule{"symbols of elements, such as [\"Fe\", \"O\"]", [](const std::vector<std::string>& symbols) {
               return std::ranges::all_of(symbols, is_element);
             }});

  visit(Field{"", "device", "", "where to compute; auto takes the fastest that this machine and build have"},
        config.device, device_name());
  visit(Field{"", "precision", "",
              "fp32; tf32: products on a GPU's tensor cores; bf16: activations in bf16, weights kept in "
              "fp32; fp64: "
              "only the reference backend; auto: the fastest, measured on a CPU (docs/processors.md), bf16 "
              "on a GPU"},
        config.precision, one_of({"auto", "fp32", "tf32", "bf16", "fp64"}));
}

// Conditions between keys; `text` completes "key: ..." in messages and in the reference.
struct Combination {
  const char* key;
  const char* text;
  bool (*holds)(const Config&);
};

inline const std::array<Combination, 6>& combinations() {
  static const std::array<Combination, 6> table = {{
      {"preprocess.align_window", "is needed by preprocess.align=feature",
       [](const Config& c) {
         return c.preprocess.align != Align::feature || c.preprocess.align_window.has_value();
       }},
      {"preprocess.align",
       "is none, so preprocess.align_window and preprocess.align_path must be null; choose zero_loss or "
       "feature",
       [](const Config& c) {
         return c.preprocess.align != Align::none || (!c.preprocess.align_window && !c.preprocess.align_path);
       }},
      {"preprocess.scaling_method",
       "zscore makes negative targets, and loss.reconstruction=cross_entropy or poisson needs targets of 0 "
       "or "
       "more; use robust_minmax, minmax or quantile, or loss.reconstruction=mse",
       [](const Config& c) {
         return c.preprocess.scaling_method != Scaling::zscore ||
                c.loss.reconstruction == ReconstructionLoss::mse;
       }},
      {"detection.stride",
       "must not exceed tiles.image_size, or pixels between the tiles would have no score",
       [](const Config& c) { return c.detection.stride <= c.tiles.image_size; }},
      {"detection.score", "is latent, which needs the latent vector of a tile, and model.latent is cell",
       [](const Config& c) {
         return c.detection.score != Score::latent || c.model.latent == LatentOf::tile;
       }},
      {"model.blind",
       "must not exceed half of tiles.image_size, or tiles could show nothing of their surroundings",
       [](const Config& c) {
         return c.model.latent == LatentOf::tile || 2 * c.model.blind <= c.tiles.image_size;
       }},
  }};
  return table;
}

}  // namespace eelsvae
