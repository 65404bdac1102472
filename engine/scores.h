#pragma once

#include <span>
#include <vector>

#include "engine/energy_axis.h"
#include "engine/spectrum_image.h"

namespace eelsvae {

// 1 - r for every pixel (y, x), r being Pearson's correlation between the observed spectrum and its
// reconstruction (y, x, E) over the channels of the window, as published. Between 0 (alike) and 2, always
// finite: r counts as 0 where one of the two is constant or not finite in the window.
std::vector<float> pearson_scores(const SpectrumImage& observed, std::span<const float> reconstruction,
                                  ChannelWindow window);

}  // namespace eelsvae
