#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/detect/detection_state.h"
#include "engine/live/row_session.h"
#include "include/eelsvae/eelsvae.h"
#include "interface/caller.h"
#include "interface/session.h"

namespace eelsvae {

// UserError as read_detection_state() has it.
std::shared_ptr<const StateInMemory> open_state(const std::string& path);
std::shared_ptr<const StateInMemory> state_from(const void* content, size_t size);
// UserError as learn_state() has it.
std::shared_ptr<const StateInMemory> learn_state_of(const eelsvae_image* image, const std::string& baseline,
                                                    const Config& config);

// UserError for fields that make no scan.
ScanPlan plan_of_caller(const eelsvae_plan* plan, int64_t& patience);
eelsvae_plan no_plan();

// A running scan for a caller, who gives and takes arrays.
class ScanForCaller {
 public:
  ScanForCaller(std::shared_ptr<const StateInMemory> state, const eelsvae_plan* plan,
                const eelsvae_options* options);
  // By a model and the state of a detection with it. settings: "key=value", of the keys device, precision and
  // detection.batch_size.
  ScanForCaller(const ModelInMemory& model, std::shared_ptr<const StateInMemory> state,
                const std::vector<std::string>& settings, const eelsvae_plan* plan,
                const eelsvae_options* options);
  ScanForCaller(const std::string& baseline, int64_t rows, const Config& config, const eelsvae_plan* plan,
                const eelsvae_options* options);

  // spectra: (count, channels) of `type`, or with so many bytes between spectra and channels (both 0: C
  // order).
  Rows push(int64_t first, int64_t count, const void* spectra, int32_t type, int64_t stride = 0,
            int64_t channel_stride = 0);
  Rows score_provisionally();
  Rows finish();
  const RowSession& session() const { return session_; }
  std::shared_ptr<const FoundForCaller> found() const;
  std::shared_ptr<const StateInMemory> state() const;

 private:
  void tell(bool was_learning);

  Caller caller_;
  Axis energy_;  // of the plan
  RowSession session_;
  mutable std::shared_ptr<const StateInMemory> state_;
};

}  // namespace eelsvae
