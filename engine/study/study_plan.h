#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/study/study.h"

namespace eelsvae {

// What one trained model serves for.
struct StudyUnit {
  Config config;
  std::string preset;
  int64_t seed = 0;
  std::vector<StudyCell> cells;
};

// Everything to be done, in order: for each preset and seed a unit with its normal cell, its defects and, for
// the published preset, the published shifts; then a unit for each variant of the sweep. UserError, naming
// the key, where a study cannot be done: unknown names, specimens that do not show a defect or have no room
// for it, an axis without the published window, images smaller than a tile.
std::vector<StudyUnit> plan_study(const Study& study);

}  // namespace eelsvae
