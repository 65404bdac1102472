#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/detect/detection.h"

namespace eelsvae {

// Parts of a detection's page that explain what was found; null where a detection does not have them.

// What explains the pixels of the highest scores, as many as fit in about a megabyte of text.
nlohmann::json deviations_data(const Detection& found, const std::vector<int64_t>& by_score);

// "Fe L3 708": the edges that a deviation may belong to, of these elements or of any; "" if there is none, or
// the axis is not in eV.
std::string edges_text(const Deviation& deviation, const Axis& energy,
                       const std::vector<std::string>& elements);

// The first 200 regions: a table, their mean deviation over the channels, and a map (y, x) of the regions'
// ranks, counted from 1.
nlohmann::json regions_data(const Detection& found, const Axis& energy,
                            const std::vector<std::string>& elements);

// All regions for other programs, a line each, the highest score first, with a line of names before them (RFC
// 4180): size, centre and strongest pixel, where, how much and near which edges that departs most from
// what is expected, and what explains it.
std::string regions_csv(const Detection& found, const SpectrumImageView& prepared,
                        const std::vector<std::string>& elements);

// Tiles in the plane of the two latent units that vary the most over them, each with its highest score and
// the pixel that has it. Of thousands of tiles those with the highest scores, and every n-th of the others.
nlohmann::json latent_data(const Detection& found, const Expectation& expectation, int64_t image_width);

// Energies at the centres of the deviations' ranges, (y, x); NaN in pixels that are not anomalous.
std::vector<float> deviation_energies(const Detection& found, const Axis& energy);

}  // namespace eelsvae
