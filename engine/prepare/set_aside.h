#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "engine/image/energy_axis.h"
#include "engine/image/spectrum_image.h"

namespace eelsvae {

// Pixels of a scan that hold nothing to learn from or to judge by. Left among the others they would pass for
// what is normal: vacuum as half of all noise, zeros of a scan that was aborted as spectra that are met
// exactly.
struct SetAside {
  int64_t constant = 0;   // every channel holds the same number: unscanned or dead
  int64_t dark = 0;       // next to no counts: vacuum, a hole
  int64_t saturated = 0;  // four or more channels in a row hold the highest count of the image
  int64_t all() const { return constant + dark + saturated; }
};

// By what pixels are set aside, measured in an image: counts of another recording are judged by the same.
struct SetAsideLevels {
  // Below it a spectrum's total over the window is dark; minus infinity where totals tell nothing.
  double dark_below = -std::numeric_limits<double>::infinity();
  float highest = std::numeric_limits<float>::infinity();  // count of the image
  bool operator==(const SetAsideLevels&) const = default;
};

// What a spectrum shows of itself over the channels that count; of a pixel that is excluded already, nothing.
struct SpectrumTraits {
  double total = 0, variance = 0;  // variance: of the total's noise
  float lowest = 0, highest = 0;
  bool run_of_highest = false;  // as a saturated one has it
  // Of the channels so far, for those that follow.
  int64_t channels = 0, run = 0;
  float last = 0;

  // Takes the spectrum's next channel.
  void add(float counts);
};

// Adds the next channels of a block of pixels, whose first one is `first` among all those of an image that is
// so many columns wide.
void add_traits(std::vector<SpectrumTraits>& traits, const SpectrumImageView& block, int64_t first,
                int64_t columns, ChannelWindow window);

// Finds them and marks them in image.excluded (Exclusion in excluded.h). A pixel is dark whose total over the
// window is below `least` of that of the brightest, the 95th percentile of those that are not excluded nor
// constant; none is where a pixel's noise, as differences of neighbouring channels show it, could make so
// little of a bright spectrum, or where totals are not positive because a background was subtracted. Of
// images in which nothing would be left, nothing is set aside. least: 0 to 1. window: channels that count.
// levels: those of another image, by which pixels are then judged one by one, whatever is left; the image's
// own are written to *measured.
SetAside set_aside_pixels(SpectrumImage& image, ChannelWindow window, double least,
                          const SetAsideLevels* levels = nullptr, SetAsideLevels* measured = nullptr);
// The same from the traits of all pixels; excluded: the image's mask.
SetAside set_aside_pixels(std::vector<uint8_t>& excluded, const std::vector<SpectrumTraits>& traits,
                          double least, const SetAsideLevels* levels = nullptr,
                          SetAsideLevels* measured = nullptr);

// "24 pixels set aside, ...", for the log; empty if none are.
std::string set_aside_note(const SetAside& found, double least);

}  // namespace eelsvae
