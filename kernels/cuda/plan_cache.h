#pragma once

#include <optional>
#include <string>
#include <utility>

#include "kernels/cuda/device_properties.h"

namespace eelsvae::EELSVAE_GPU {

// Which of a library's ways was the fastest, remembered between processes in
// $XDG_CACHE_HOME/eelsvae/plans.json (~/.cache if the variable is not set). What was measured on one device
// with one set of libraries says nothing about another, so each such pair has a section of its own.
//
// It only saves time: a file that is missing, damaged or not writable is the same as an empty one, and a
// process that writes at the same time as another may undo what that one added.
class PlanCache {
 public:
  explicit PlanCache(std::string section) : section_(std::move(section)) {}
  // The section of a device with the libraries of this process.
  explicit PlanCache(const DeviceProperties& device);

  std::optional<std::string> find(const std::string& key) const;
  void remember(const std::string& key, const std::string& name) const;

 private:
  std::string section_;
};

}  // namespace eelsvae::EELSVAE_GPU
