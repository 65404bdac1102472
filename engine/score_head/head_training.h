#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/score_head/score_head.h"
#include "engine/stop_token.h"

namespace eelsvae {

// Spectra of one image that are taken for normal, as the head sees them; positions are those of head_axis().
struct HeadExamples {
  int64_t positions = 0, spectra = 0;
  double background = 1;          // HeadAxis::background
  std::vector<float> z;           // (spectra, positions): residuals, white and of variance 1
  std::vector<float> expected;    // (spectra, positions), in the image's units
  std::vector<float> noise;       // (spectra, positions): standard deviation, in these
  std::vector<float> components;  // (k, positions): the shapes that normal spectra vary in
  std::vector<float> taken_away;  // (spectra, k): the share of an amount along each that is not in z
};

// What a changed spectrum may show: generic changes of the expected spectrum in a Gaussian window anywhere on
// the axis, and others. No edge and no element is named.
enum class HeadChange {
  shift,  // along the energy axis, by half a position to 11
  blur,   // by a Gaussian, or the opposite
  scale,  // of the fine structure
  shift_and_scale,
  balance,  // of two parts of the fine structure, one of which grows where the other falls
  peak,     // that is not there, or the opposite
  edge,     // a step with a tail that is not there, or the opposite
  tilt,     // of the background
  spike,    // of a single position, as of a cosmic ray
  noise     // whose variance is larger by a fifth to one and a half
};
constexpr int head_changes = 10;
std::string name_of(HeadChange change);

struct HeadTraining {
  int64_t steps = 12000, batch = 160;
  int64_t positions = 256;      // of an example, cut out of its spectrum anywhere
  double learning_rate = 2e-3;  // at its highest, after three tenths of the steps
  uint64_t seed = 1;
  std::vector<HeadChange> left_out = {};
};

// A head that tells the examples from the same with changes of 2.5 to 10 standard deviations of the noise, in
// the norm over all positions. A normal residual is one of the examples', half of them mixed with fresh noise
// in any share; half of them are changed, the change going through what z went through. The same arguments
// give the same head on the same device. done: steps and the mean loss (nats) of the last hundred. UserError
// where an image has fewer positions; Interrupted.
ScoreHead train_score_head(Backend& backend, std::span<const HeadExamples> examples,
                           const HeadTraining& training,
                           const std::function<void(int64_t, double)>& done = {}, const StopToken& stop = {});

}  // namespace eelsvae
