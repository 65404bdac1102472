#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Simple models of normal spectra, against which the autoencoder is compared. They are fitted to and applied
// to the images that it sees: prepared ones.
struct BaselineSpec {
  enum class Kind { mean, local, pca, rx };
  Kind kind = Kind::mean;
  std::optional<int64_t> components;  // of pca and rx; absent: chosen from the training spectra
  int64_t reach = 8;                  // of local, pixels
  bool operator==(const BaselineSpec&) const = default;
};

// "mean"; "local" or "local:8"; "pca" or "pca:auto", "pca:5"; "rx" or "rx:auto", "rx:10". UserError, which
// lists these, for anything else.
BaselineSpec parse_baseline(const std::string& text);

// What parse_baseline() reads: "mean", "local:8", "pca:auto", "pca:5" and so on.
std::string to_string(const BaselineSpec& spec);

// One principal component of the training spectra.
struct ScreeEntry {
  double variance = 0;  // eigenvalue of the covariance matrix, in the image's units^2
  double share = 0;     // of the total variance
  // Correlation of the component's score map (y, x) with itself four to twelve pixels further, along y or x,
  // whichever is larger. Absent where the training pixels form too few such pairs.
  std::optional<double> spatial_correlation;
  bool kept = false;
};

// With training spectra s_1 ... s_n of E channels, their mean m and their covariance matrix
// C = sum (s_i - m)(s_i - m)^T / (n - 1), whose unit eigenvectors v_j have the eigenvalues l_1 >= l_2 ...:
//
//   mean  a spectrum s is expected to be m * total(s) / total(m); the autoencoder knows the total, too
//   local the same with the mean of the spectra around s in place of m (local_mean.h): nothing is fitted but
//   m,
//         for pixels that have none around
//   pca   m + sum over the kept j of v_j v_j^T (s - m): principal component analysis, centred, not scaled
//         (K. Pearson, Phil. Mag. 2 (1901) 559)
//   rx    as mean; besides, its own score is the squared Mahalanobis distance in the space of the kept
//         components, sum of (v_j^T (s - m))^2 / l_j, which for normally distributed spectra follows a
//         chi-squared distribution of as many degrees of freedom (I. S. Reed and X. Yu, IEEE Trans. ASSP 38
//         (1990) 1760)
//
// A given number of components keeps the first ones. Otherwise those of the first 20 are kept whose
// spatial_correlation is above 1/2; rx keeps at least five (or as many as there are), the missing ones from
// the first on. Why: a component that is kept brings its signal and its noise into the expected spectrum, so
// keeping pays where more than half of the variance of its scores is signal, which for many pixels is the
// hard threshold of M. Gavish and D. L. Donoho (IEEE Trans. Inf. Theory 60 (2014) 5040, beta -> 0: an
// eigenvalue of twice the noise). They know the noise's eigenvalue because their noise is white. Here it
// differs between channels, and filters have coloured it. But what pixels four to twelve apart have in common
// cannot be noise, since filters reach less far (engine/prepare/preprocess.h; not so for a sigma or xy_window
// above 1 and 3), and what a single pixel or a small region shows alone, such as an anomaly among the
// training spectra or a spike, is not kept either.
class Baseline {
 public:
  // Fits to the pixels of `training` that are neither in training.excluded nor, where it is not empty, in
  // left_out (y, x; nonzero: left out). Sums are in double and in an order that does not depend on the number
  // of threads, so neither do the results.
  //
  // UserError: no pixels; counts that are not finite; more components than the spectra vary in (for pca:k and
  // rx:k; without a number, spectra that are all alike give pca no component, and rx the error); choosing
  // components with fewer than 64 pairs of pixels four apart; mean and rx where the mean spectrum's total is
  // not positive, as after scaling by zscore.
  Baseline(const SpectrumImageView& training, std::span<const uint8_t> left_out, const BaselineSpec& spec);

  // What was fitted, for who keeps it.
  struct Fitted {
    BaselineSpec spec;
    int64_t channels = 0, spectra = 0;  // spectra: that it was fitted to
    std::vector<double> mean;           // (E)
    std::vector<double> directions;     // (component, E): v_j
    std::vector<double> variances;      // (component): l_j
    std::vector<ScreeEntry> scree;
  };
  // UserError where the sizes do not belong together.
  explicit Baseline(Fitted fitted);
  const Fitted& fitted() const { return fitted_; }

  // The expected spectra (y, x, E) of an image with the training image's channels; 0 in its excluded pixels.
  CountArray expected(const SpectrumImageView& image) const;
  // Rows [first, last) of these, with the same bits, into the memory that `spectra` has.
  void expected_rows(const SpectrumImageView& image, int64_t first, int64_t last, CountArray& spectra) const;
  // So many rows above and below a row take part in what is expected of it.
  int64_t reach() const { return spec().kind == BaselineSpec::Kind::local ? spec().reach : 0; }

  // rx: its score of every pixel (y, x), NaN in excluded ones. Others have none.
  std::optional<std::vector<float>> own_scores(const SpectrumImageView& image) const;

  const BaselineSpec& spec() const { return fitted_.spec; }
  int64_t components() const { return std::ssize(fitted_.variances); }  // kept; 0 for mean and local
  // The first 20 components (or as many as there are), largest variance first; for mean and local none.
  const std::vector<ScreeEntry>& scree() const { return fitted_.scree; }
  // "PCA, 3 components chosen (97.1 % of the variance), fitted to 44100 spectra", for logs.
  std::string describe() const;

 private:
  Fitted fitted_;
  double total_ = 0;  // of the mean
};

}  // namespace eelsvae
