#pragma once

#include "engine/score_head/score_head.h"

namespace eelsvae {

// The head that comes with the program: score_head.safetensors of this folder, made by
// tools/train_score_head.cpp from simulated specimens, and part of the library.
const ScoreHead& shipped_score_head();

}  // namespace eelsvae
