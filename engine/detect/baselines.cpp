#include "engine/detect/baselines.h"

#include <Eigen/Dense>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "engine/detect/leading_eigenvectors.h"
#include "engine/detect/local_mean.h"
#include "engine/first_failure.h"
#include "engine/image/excluded.h"
#include "engine/image/finite.h"
#include "engine/per_thread.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;
using Kind = BaselineSpec::Kind;
using ConstVector = Eigen::Map<const VectorXd>;
using Directions = Eigen::Map<const MatrixXd>;

constexpr int64_t scree_length = 20, least_rx_components = 5;
constexpr int64_t lag = 4;  // pixels, beyond the reach of preprocessing's filters
// Columns of atoms are unlike what lies four pixels away, and like what lies a cell away.
constexpr int64_t farthest_lag = 12;
constexpr int64_t least_pairs = 64;
// Variance below this share of the mean square of a spectrum is rounding: one float's is 1e-15 of its square.
constexpr double rounding = 1e-13;

std::vector<int64_t> pixels_to_fit(const SpectrumImageView& image, std::span<const uint8_t> left_out) {
  std::vector<int64_t> pixels;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const auto i = static_cast<size_t>(pixel);
    if ((image.excluded.empty() || !image.excluded[i]) && (left_out.empty() || !left_out[i]))
      pixels.push_back(pixel);
  }
  return pixels;
}

std::vector<double> mean_spectrum(const SpectrumImageView& image, const std::vector<int64_t>& pixels) {
  std::vector<double> mean(static_cast<size_t>(image.energy.size));
  constexpr int64_t channels_at_once = 64;
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < image.energy.size; first += channels_at_once) {
    const int64_t last = std::min(first + channels_at_once, image.energy.size);
    for (int64_t pixel : pixels)
      for (int64_t e = first; e < last; ++e)
        mean[static_cast<size_t>(e)] += static_cast<double>(image.spectrum(pixel)[e]);
  }
  for (double& value : mean) value /= static_cast<double>(pixels.size());
  if (!std::all_of(mean.begin(), mean.end(), [](double value) { return std::isfinite(value); }))
    throw UserError("a baseline cannot be fitted: " + not_finite_text(image) + "; exclude them");
  return mean;
}

// s - m of pixels[first ... first + columns of the result).
void load_centred(const SpectrumImageView& image, const ConstVector& mean, const int64_t* pixels,
                  Eigen::Ref<MatrixXd> centred) {
  for (Eigen::Index j = 0; j < centred.cols(); ++j)
    centred.col(j) =
        Eigen::Map<const Eigen::VectorXf>(image.spectrum(pixels[j]), mean.size()).cast<double>() - mean;
}

// Eigen is built without threads of its own (CMakeLists.txt). Threads share out the tiles of the matrix, and
// each tile adds up the pixels in order. The result holds the lower triangle.
MatrixXd covariance(const SpectrumImageView& image, const ConstVector& mean,
                    const std::vector<int64_t>& pixels) {
  const Eigen::Index channels = mean.size();
  constexpr int64_t pixels_at_once = 512, tile = 128, pixels_per_load = 32;
  const auto count = static_cast<int64_t>(pixels.size());
  std::vector<std::pair<Eigen::Index, Eigen::Index>> tiles;
  for (Eigen::Index row = 0; row < channels; row += tile)
    for (Eigen::Index column = 0; column <= row; column += tile) tiles.emplace_back(row, column);
  MatrixXd sum = MatrixXd::Zero(channels, channels);
  MatrixXd centred(channels, std::min(pixels_at_once, count));
  for (int64_t first = 0; first < count; first += pixels_at_once) {
    const int64_t loaded = std::min(pixels_at_once, count - first);
#pragma omp parallel
    {
#pragma omp for schedule(static)
      for (int64_t j = 0; j < loaded; j += pixels_per_load)
        load_centred(image, mean, pixels.data() + first + j,
                     centred.middleCols(j, std::min(pixels_per_load, loaded - j)));
#pragma omp for schedule(dynamic)
      for (size_t i = 0; i < tiles.size(); ++i) {
        const auto [row, column] = tiles[i];
        const Eigen::Index rows = std::min<Eigen::Index>(tile, channels - row);
        const Eigen::Index columns = std::min<Eigen::Index>(tile, channels - column);
        sum.block(row, column, rows, columns).noalias() +=
            centred.block(row, 0, rows, loaded) * centred.block(column, 0, columns, loaded).transpose();
      }
    }
  }
  sum /= static_cast<double>(count - 1);
  return sum;
}

// As many columns in every product, so that a pixel's bits do not depend on how many others come with it: a
// row of a running scan is the row of the image.
constexpr int64_t pixels_at_once = 32;

// v_j^T (s - m) of every pixel that is not excluded, as (component, pixel); NaN in the others.
MatrixXd scores_on(const SpectrumImageView& image, const ConstVector& mean, const Directions& directions,
                   std::span<const uint8_t> left_out) {
  MatrixXd scores = MatrixXd::Constant(directions.cols(), image.pixels(), std::nan(""));
  const std::vector<int64_t> pixels = pixels_to_fit(image, left_out);
  const auto count = static_cast<int64_t>(pixels.size());
  PerThread<MatrixXd> all_centred(mean.size(), pixels_at_once), blocks(directions.cols(), pixels_at_once);
  FirstFailure failure;
#pragma omp parallel
  {
    MatrixXd &centred = all_centred.own(), &block = blocks.own();
#pragma omp for schedule(static)
    for (int64_t first = 0; first < count; first += pixels_at_once)
      failure.guard([&] {  // products take memory
        const int64_t loaded = std::min(pixels_at_once, count - first);
        load_centred(image, mean, pixels.data() + first, centred.leftCols(loaded));
        centred.rightCols(pixels_at_once - loaded).setZero();
        block.noalias() = directions.transpose() * centred;
        for (int64_t j = 0; j < loaded; ++j)
          scores.col(pixels[static_cast<size_t>(first + j)]) = block.col(j);
      });
  }
  failure.rethrow();
  return scores;
}

// Of a map with mean 0, NaN where nothing is known.
std::optional<double> spatial_correlation(const VectorXd& map, int64_t height, int64_t width) {
  double squares = 0;
  int64_t known = 0;
  for (double value : map) {
    if (std::isnan(value)) continue;
    squares += value * value;
    ++known;
  }
  std::optional<double> largest;
  for (int64_t step = 0; step < 2 * (farthest_lag - lag + 1); ++step) {
    const int64_t distance = lag + step / 2, down = step % 2 == 0 ? distance : 0, right = distance - down;
    double products = 0;
    int64_t pairs = 0;
    for (int64_t y = 0; y + down < height; ++y)
      for (int64_t x = 0; x + right < width; ++x) {
        const double product = map[y * width + x] * map[(y + down) * width + x + right];
        if (std::isnan(product)) continue;
        products += product;
        ++pairs;
      }
    if (pairs < least_pairs) continue;
    const double correlation =
        squares > 0 ? products / static_cast<double>(pairs) / (squares / static_cast<double>(known)) : 0;
    largest = std::max(largest.value_or(-1), correlation);
  }
  return largest;
}

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

}  // namespace

BaselineSpec parse_baseline(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::optional<std::string> number =
      colon == std::string::npos ? std::nullopt : std::optional(text.substr(colon + 1));
  BaselineSpec spec;
  if (text == "mean") return spec;
  spec.kind = kind == "rx" ? Kind::rx : kind == "local" ? Kind::local : Kind::pca;
  bool known = kind == "pca" || kind == "rx" || kind == "local";
  if (number && !(number == "auto" && spec.kind != Kind::local)) {
    constexpr int64_t farthest = 64;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(number->data(), number->data() + number->size(), value);
    known = known && error == std::errc() && end == number->data() + number->size() && value >= 1;
    if (spec.kind == Kind::local) {
      known = known && value > local_guard && value <= farthest;
      spec.reach = value;
    } else {
      spec.components = value;
    }
  }
  if (!known)
    throw UserError(
        "there is no baseline '" + text +
        "'; there are mean, local:R, which looks R pixels around (3 to 64), pca:auto, pca:K, rx:auto "
        "and rx:K with K components, such as pca:5");
  return spec;
}

std::string to_string(const BaselineSpec& spec) {
  if (spec.kind == Kind::mean) return "mean";
  if (spec.kind == Kind::local) return "local:" + std::to_string(spec.reach);
  return (spec.kind == Kind::pca ? "pca:" : "rx:") +
         (spec.components ? std::to_string(*spec.components) : "auto");
}

Baseline::Baseline(const SpectrumImageView& training, std::span<const uint8_t> left_out,
                   const BaselineSpec& spec)
    : fitted_{spec, training.energy.size, 0, {}, {}, {}, {}} {
  expect(left_out.empty() || static_cast<int64_t>(left_out.size()) == training.pixels(),
         "mask of another size than the image");
  const std::string name = to_string(spec);
  const std::vector<int64_t> pixels = pixels_to_fit(training, left_out);
  fitted_.spectra = static_cast<int64_t>(pixels.size());
  const int64_t possible = std::min(fitted_.channels, fitted_.spectra - 1),
                asked = spec.components.value_or(0);
  if (fitted_.spectra == 0) throw UserError(name + " cannot be fitted: every pixel of the image is excluded");
  fitted_.mean = mean_spectrum(training, pixels);
  const ConstVector mean(fitted_.mean.data(), fitted_.channels);
  total_ = std::accumulate(fitted_.mean.begin(), fitted_.mean.end(), 0.0);
  if (spec.kind != Kind::pca && !(total_ > 1e-9 * mean.cwiseAbs().sum()))
    throw UserError(name + " cannot be fitted: the mean spectrum's total is " + format("%g", total_) +
                    ", but spectra are scaled to their totals; preprocess.scaling_method robust_minmax, "
                    "minmax or none keeps them positive");
  if (spec.kind == Kind::mean || spec.kind == Kind::local) return;
  if (possible < std::max<int64_t>(asked, 1))
    throw UserError(name + " cannot be fitted to " + std::to_string(fitted_.spectra) + " spectra of " +
                    std::to_string(fitted_.channels) + " channels; at most " +
                    std::to_string(std::max<int64_t>(possible, 0)) + " components are possible");

  const MatrixXd matrix = covariance(training, mean, pixels);
  const double total_variance = matrix.trace();
  const EigenPairs leading = leading_eigenvectors(matrix, std::min(std::max(asked, scree_length), possible));
  const double smallest = rounding * (mean.squaredNorm() + total_variance);
  const int64_t found =
      std::count_if(leading.values.begin(), leading.values.end(), [&](double v) { return v > smallest; });
  if (found < asked)
    throw UserError(name + " cannot be fitted: the spectra vary in " + std::to_string(found) +
                    " directions only, so at most " + std::to_string(found) + " components are possible");
  if (found == 0 && spec.kind == Kind::rx)
    throw UserError(name + " cannot be fitted: the spectra are all alike");

  const int64_t listed = std::min(found, scree_length);
  const MatrixXd scores =
      scores_on(training, mean, Directions(leading.vectors.data(), fitted_.channels, listed), left_out);
  for (int64_t j = 0; j < listed; ++j) {
    const double variance = leading.values[j];
    const auto correlation = spatial_correlation(scores.row(j), training.y.size, training.x.size);
    if (!spec.components && !correlation)
      throw UserError("the number of components cannot be chosen: fewer than " + std::to_string(least_pairs) +
                      " pairs of pixels are " + std::to_string(lag) + " apart; give it, such as " +
                      (spec.kind == Kind::pca ? "pca:3" : "rx:5"));
    fitted_.scree.push_back({variance, variance / total_variance, correlation, correlation > 0.5});
  }

  std::vector<int64_t> kept;
  if (spec.components) {
    for (int64_t j = 0; j < asked; ++j) kept.push_back(j);
  } else {
    for (int64_t j = 0; j < listed; ++j)
      if (fitted_.scree[static_cast<size_t>(j)].kept) kept.push_back(j);
    const auto least =
        spec.kind == Kind::rx ? std::min<size_t>(least_rx_components, fitted_.scree.size()) : 0;
    for (int64_t j = 0; kept.size() < least; ++j)
      if (!fitted_.scree[static_cast<size_t>(j)].kept) kept.push_back(j);
    std::sort(kept.begin(), kept.end());
  }
  for (ScreeEntry& entry : fitted_.scree) entry.kept = false;
  for (int64_t j : kept) {
    if (j < listed) fitted_.scree[static_cast<size_t>(j)].kept = true;
    fitted_.variances.push_back(leading.values[j]);
    fitted_.directions.insert(fitted_.directions.end(), leading.vectors.col(j).begin(),
                              leading.vectors.col(j).end());
  }
}

Baseline::Baseline(Fitted fitted) : fitted_(std::move(fitted)) {
  const int64_t channels = fitted_.channels, count = components();
  const auto finite = [](const std::vector<double>& values) {
    return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
  };
  const bool sound =
      channels >= 1 && std::ssize(fitted_.mean) == channels && finite(fitted_.mean) &&
      std::ssize(fitted_.directions) == count * channels && finite(fitted_.directions) &&
      std::all_of(fitted_.variances.begin(), fitted_.variances.end(), [](double v) { return v > 0; }) &&
      finite(fitted_.variances) &&
      ((fitted_.spec.kind != Kind::mean && fitted_.spec.kind != Kind::local) || count == 0);
  total_ = std::accumulate(fitted_.mean.begin(), fitted_.mean.end(), 0.0);
  if (!sound || (fitted_.spec.kind != Kind::pca && !(total_ > 0)))
    throw UserError("the parts of the baseline " + to_string(fitted_.spec) + " do not belong together");
}

CountArray Baseline::expected(const SpectrumImageView& image) const {
  CountArray spectra;
  expected_rows(image, 0, image.y.size, spectra);
  return spectra;
}

void Baseline::expected_rows(const SpectrumImageView& whole, int64_t first_row, int64_t last_row,
                             CountArray& spectra_of_rows) const {
  expect(whole.energy.size == fitted_.channels, "image with other channels than the baseline's");
  if (fitted_.spec.kind == Kind::local)
    return local_means(whole, fitted_.spec.reach, first_row, last_row, fitted_.mean, spectra_of_rows);
  const SpectrumImageView image = whole.rows(first_row, last_row);
  spectra_of_rows.resize(static_cast<size_t>(image.pixels() * fitted_.channels));
  const ConstVector mean(fitted_.mean.data(), fitted_.channels);
  const Directions directions(fitted_.directions.data(), fitted_.channels, components());
  const std::vector<int64_t> pixels = pixels_to_fit(image, {});
  const auto count = static_cast<int64_t>(pixels.size());
  PerThread<MatrixXd> blocks(fitted_.channels, pixels_at_once), all_scores(components(), pixels_at_once);
  FirstFailure failure;
#pragma omp parallel
  {
    MatrixXd &spectra = blocks.own(), &scores = all_scores.own();
#pragma omp for schedule(static)
    for (int64_t first = 0; first < count; first += pixels_at_once)
      failure.guard([&] {  // products take memory
        const int64_t loaded = std::min(pixels_at_once, count - first);
        if (fitted_.spec.kind == Kind::pca) {
          load_centred(image, mean, pixels.data() + first, spectra.leftCols(loaded));
          spectra.rightCols(pixels_at_once - loaded).setZero();
          scores.noalias() = directions.transpose() * spectra;
          spectra.noalias() = directions * scores;
          spectra.colwise() += mean;
        }
        for (int64_t j = 0; j < loaded; ++j) {
          const int64_t pixel = pixels[static_cast<size_t>(first + j)];
          if (fitted_.spec.kind != Kind::pca) {
            const Eigen::Map<const Eigen::VectorXf> observed(image.spectrum(pixel), fitted_.channels);
            spectra.col(j) = mean * (observed.cast<double>().sum() / total_);
          }
          Eigen::Map<Eigen::VectorXf>(spectra_of_rows.data() + pixel * fitted_.channels, fitted_.channels) =
              spectra.col(j).cast<float>();
        }
      });
  }
  failure.rethrow();
  fill_excluded(image.excluded, spectra_of_rows, 0);
}

std::optional<std::vector<float>> Baseline::own_scores(const SpectrumImageView& image) const {
  expect(image.energy.size == fitted_.channels, "image with other channels than the baseline's");
  if (fitted_.spec.kind != Kind::rx) return std::nullopt;
  const MatrixXd scores =
      scores_on(image, ConstVector(fitted_.mean.data(), fitted_.channels),
                Directions(fitted_.directions.data(), fitted_.channels, components()), {});
  const ConstVector variances(fitted_.variances.data(), components());
  std::vector<float> distances(static_cast<size_t>(image.pixels()));
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    distances[static_cast<size_t>(pixel)] =
        static_cast<float>((scores.col(pixel).array().square() / variances.array()).sum());
  return distances;
}

std::string Baseline::describe() const {
  const std::string fitted = "fitted to " + std::to_string(fitted_.spectra) + " spectra";
  if (fitted_.spec.kind == Kind::mean) return "mean spectrum, " + fitted;
  if (fitted_.spec.kind == Kind::local)
    return "mean of the spectra around each, up to " + std::to_string(fitted_.spec.reach) + " pixels away";
  const double total = fitted_.scree.empty() ? 0 : fitted_.scree[0].variance / fitted_.scree[0].share;
  double share = 0;
  for (double variance : fitted_.variances) share += variance / total;
  return std::string(fitted_.spec.kind == Kind::pca ? "PCA, " : "RX, ") + std::to_string(components()) +
         (components() == 1 ? " component" : " components") + (fitted_.spec.components ? "" : " chosen") +
         format(" (%.3g %% of the variance), ", 100 * share) + fitted;
}

}  // namespace eelsvae
