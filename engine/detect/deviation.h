#pragma once

#include <cstdint>

namespace eelsvae {

// Where and how a spectrum departs most from what is expected: the explanation of a pixel's score.
struct Deviation {
  int32_t first = 0, last = 0;  // channels [first, last); empty where there is nothing to tell
  float significance = 0;       // signed, in standard deviations of what normal spectra show there
  float share = 0;  // signed: what is more (+) or less (-) than expected in the range, as a share of the
                    // expected intensity there
};

}  // namespace eelsvae
