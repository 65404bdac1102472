#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/image/energy_axis.h"
#include "engine/image/image_to_read.h"
#include "engine/prepare/alignment.h"
#include "engine/prepare/scaling.h"
#include "engine/prepare/set_aside.h"
#include "engine/prepare/spikes.h"
#include "kernels/backend.h"

namespace eelsvae {

constexpr int64_t channel_multiple = 16;  // the network halves the energy axis four times

// What preprocessing takes from a trained model, so that every image it is shown means the same to it.
struct FittedPreprocess {
  Axis energy;  // of the prepared spectra
  ScalingParameters scaling;
  std::optional<AlignmentReference> alignment;  // if the model's configuration aligns
  // By which pixels are set aside; absent: measured in each image.
  std::optional<SetAsideLevels> set_aside = {};
};

// A spectrum image of counts still, and what was done to it.
struct ReducedImage {
  SpectrumImage image;
  std::vector<Spike> spikes;                     // replaced; pixels and channels of the image as it was given
  std::vector<double> shifts_ev;                 // (y, x) after the crop in pixels, before binning; or empty
  std::optional<AlignmentReference> alignment;   // that the shifts lead to
  std::vector<std::string> notes;                // what the log should say
  std::optional<SetAsideLevels> set_aside = {};  // by which pixels were judged, if they were
};

// The axis of prepared spectra as it was before `bin` channels were added up.
Axis unbinned(Axis axis, int64_t bin);

// The steps that yield counts, in this order; with the default configuration only the crop in energy and the
// pixels set aside.
//
//   1. crop in pixels     first, because nothing outside matters; in energy too, where neither 3 nor 4
//   follows
//                         and needs the whole axis. No more than that is read of an image that is still to be
//   2. pixels set aside   that hold no counts, before anything is measured in them
//   3. spikes replaced    before anything spreads them over channels, and while noise is white
//   4. energy alignment   before the crop in energy, so that measured counts are shifted in from beyond it.
//                         The axis is kept; where nothing was measured a spectrum's end value is repeated.
//                         Shifts are eV: those measured in `drift_image` (the low-loss image of the same
//                         scan, given before the crop in pixels) hold on any dispersion.
//                         A zero-loss peak in the image itself is brought to 0 eV at a channel's centre: the
//                         axis is shifted for the whole image, the spectra by what is left.
//   5. crop in energy     to energy_range (eV, closed; the whole axis if absent). With a model: to the
//                         channels of its axis, before they were binned.
//   6. binning            sums of counts. Without 3 and 4, a part that would have to lie in a scratch file is
//                         read and binned block by block
//
// Excluded pixels may hold anything, NaN as well. They come out as zero spectra, on which nothing depends.
// Channels beyond energy_range in which a pixel holds NaN are cropped before step 2 if they were not in
// step 1. UserError: as the steps and reading say; every pixel is excluded; of the others, counts that are
// not finite; a drift image of another size; a range that misses the axis; a model's axis that the image does
// not hold. Works in the images' own memory: move them in.
ReducedImage reduce(ImageToRead image, const PreprocessConfig& config,
                    const std::optional<std::array<double, 2>>& energy_range,
                    const FittedPreprocess* fitted = nullptr,
                    std::optional<ImageToRead> drift_image = std::nullopt);

// A mask (y, x) of the image as it was given, brought to the size of the reduced image: non-zero where any
// pixel of a bin is.
std::vector<uint8_t> reduce_mask(const std::vector<uint8_t>& mask, int64_t height, int64_t width,
                                 const PreprocessConfig& config);

// The other way round: a mask of the reduced image, brought to the size of the image as it was given; zero
// where nothing was used. Empty if the mask is.
std::vector<uint8_t> full_mask(const std::vector<uint8_t>& mask, int64_t height, int64_t width,
                               const PreprocessConfig& config);

// The published steps but the crop: Gaussian filter, scaling, spatial mean, in the image's own memory.
// `fitted` is applied in place of a scaling fitted here; returns the one that was applied. Excluded pixels
// remain zero: neither the scaling nor, through the filters, their neighbours depend on them. By the backend,
// which must have Backend::image_bytes() of memory, or by the processor if it is null. UserError if counts
// are all equal.
ScalingParameters smooth_and_scale(SpectrumImage& image, const PreprocessConfig& config,
                                   const ScalingParameters* fitted = nullptr, Backend* backend = nullptr);

struct PreparedImage {
  SpectrumImage image;                           // scaled, on the cropped energy axis
  ScalingParameters scaling;                     // that was applied
  std::optional<AlignmentReference> alignment;   // that was applied
  std::vector<std::string> notes;                // what the log should say
  std::optional<SetAsideLevels> set_aside = {};  // that were applied
};

// What the network sees: reduce(), narrowed symmetrically to a multiple of channel_multiple channels, then
// smooth_and_scale().
// `fitted`, if not null, is a trained model's and is applied in place of what is fitted here; energy_range is
// then not looked at.
// Works in the image's own memory: move it in.
// UserError: as these; the range leaves fewer than channel_multiple channels.
PreparedImage prepare(ImageToRead image, const PreprocessConfig& config,
                      const std::optional<std::array<double, 2>>& energy_range,
                      const FittedPreprocess* fitted = nullptr,
                      std::optional<ImageToRead> drift_image = std::nullopt, Backend* backend = nullptr);

// Cross-entropy takes spectra as distributions over energy. UserError, with a way out, if the loss is
// cross_entropy or poisson and the prepared image has negative values.
void check_non_negative(const SpectrumImageView& prepared, ReconstructionLoss loss);

}  // namespace eelsvae
