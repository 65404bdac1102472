#pragma once

#include <cstdint>
#include <string_view>

#include "io/reports/png.h"

namespace eelsvae {

// Labels of pictures: ASCII and µ (as UTF-8) as strokes with round ends, so that no font file is needed.
// Other characters are left blank.

// Width in image pixels of a text whose digits are `height` pixels tall.
double text_width(std::string_view text, double height);

// Draws a text into an RGB image, antialiased. (left, baseline) is where the first digit's lower left corner
// lies, in image pixels.
void draw_text(Image& image, double left, double baseline, double height, std::string_view text,
               Colour colour);

}  // namespace eelsvae
