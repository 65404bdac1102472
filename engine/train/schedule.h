#pragma once

#include <cstdint>
#include <limits>

#include "engine/config.h"

namespace eelsvae {

// Lowers the learning rate when the loss stops falling, as torch.optim.lr_scheduler.ReduceLROnPlateau does in
// its default mode: progress is a loss below best * (1 - 1e-4); after more than `patience` epochs without,
// the rate is multiplied by `factor` and counting starts again.
struct PlateauSchedule {
  double learning_rate = 0;
  double best = std::numeric_limits<double>::infinity();
  int64_t epochs_without_progress = 0;

  void observe(double loss, int64_t patience, double factor) {
    if (loss < best * (1 - 1e-4)) {
      best = loss;
      epochs_without_progress = 0;
    } else if (++epochs_without_progress > patience && patience > 0) {
      learning_rate *= factor;
      epochs_without_progress = 0;
    }
  }
};

// A resumed run may have another training.epochs (check_same_run, io/run/training_run.cpp), so no schedule
// depends on it.

// The weight of the KL term in an epoch (counted from 0): rises linearly and is full from epoch
// kl_warmup_epochs - 1 on.
inline double kl_weight_at(const LossConfig& loss, int64_t epoch) {
  if (epoch + 1 >= loss.kl_warmup_epochs) return loss.kl_weight;
  return loss.kl_weight * static_cast<double>(epoch + 1) / static_cast<double>(loss.kl_warmup_epochs);
}

// After how many epochs losses can be compared, for the weight stays: a training does not end by itself
// before.
inline int64_t epochs_before_kl_weight_stays(const LossConfig& loss) {
  return loss.kl_warmup_epochs;
}

}  // namespace eelsvae
