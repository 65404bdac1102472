#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/detect/detection_state.h"
#include "engine/live/row_session.h"
#include "include/eelsvae/eelsvae.h"
#include "interface/caller.h"
#include "interface/session.h"
#include "kernels/device_scope.h"

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

// A lock that goes round: who has had it gets it again after those who have waited for it meanwhile.
class FairLock {
 public:
  void lock() {
    const std::lock_guard next(next_);
    held_.lock();
  }
  void unlock() { held_.unlock(); }

 private:
  std::mutex next_, held_;
};

// A running scan for a caller, who gives and takes arrays. One thread at a time pushes and finishes;
// meanwhile others may look at it, and wait until what is at work has ended.
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

  ~ScanForCaller() { leaving_.emplace(); }

  // spectra: (count, channels) of `type`, or with so many bytes between spectra and channels (both 0: C
  // order).
  Rows push(int64_t first, int64_t count, const void* spectra, int32_t type, int64_t stride = 0,
            int64_t channel_stride = 0);
  Rows score_provisionally();
  Rows finish();
  // What `look` makes of the session, which is between two changes.
  template <class Look>
  auto look_at(const Look& look) const {
    const std::lock_guard lock(lock_);
    return look(session_);
  }
  std::shared_ptr<const FoundForCaller> found() const;
  std::shared_ptr<const StateInMemory> state() const;

 private:
  std::optional<DeviceScope> leaving_;  // while all that follows is given back

  void tell(bool was_learning);

  // `work` changes the session. The caller is told of it when others can look again, and so can the caller.
  template <class Work>
  Rows change(const Work& work) {
    const DeviceScope device;
    std::optional<ThreadCount> threads;
    caller_.take_threads(threads);
    bool was_learning = false;
    Rows changed;
    {
      const std::lock_guard lock(lock_);
      was_learning = !session_.state();
      changed = work();
    }
    tell(was_learning);
    return changed;
  }

  Caller caller_;
  Axis energy_;  // of the plan
  RowSession session_;
  mutable std::shared_ptr<const StateInMemory> state_;
  mutable FairLock lock_;  // of the two above
};

}  // namespace eelsvae
