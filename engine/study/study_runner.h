#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/stop_token.h"
#include "engine/study/study_plan.h"
#include "kernels/backend.h"

namespace eelsvae {

// What a study tells and asks while it runs.
class StudyObserver {
 public:
  virtual ~StudyObserver() = default;
  // A model's training took another epoch.
  virtual void on_epoch(const StudyUnit& unit, int64_t epoch, double loss) = 0;
  virtual void on_result(const StudyResult& result) = 0;
  virtual void on_note(const std::string& note) = 0;
  // What ends the study with what was told so far.
  virtual StopToken stop() = 0;
};

// Trains the unit's model on the specimen's recording without defects and scores the cells, which may be
// fewer than planned. The same unit gives the same results, whichever cells are asked for. False if the
// observer stopped it. Models are computed by what is fastest of the offer (kernel_choice.h). UserError as
// simulate(), prepare(), Trainer and Scorer have them.
bool run_unit(const StudyUnit& unit, const Study& study, const BackendOffer& offer, StudyObserver& observer);

}  // namespace eelsvae
