#pragma once

#include <string>

#include "io/config/detection_json.h"

namespace eelsvae {

// One HTML file that needs nothing else, not even a network: a map to click on, the spectra behind it, the
// histogram of the scores, the most anomalous spectra and regions, and what the detection was made of. It
// stays below about 9 MB up to half a million spectra: where not all spectra fit, those of the highest scores
// are kept in full, the others averaged over neighbouring channels and, if need be, on a grid of every n-th
// pixel; the page says which. Throws std::logic_error where sizes disagree.
std::string render_report(const DetectionReport& report);

}  // namespace eelsvae
