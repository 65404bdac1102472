#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace eelsvae {

// How long the stages of a job took, one after another.
class StageTimes {
 public:
  // The time since the last stage ended, or since this object was made, is that of the stage `name`, or more
  // of it.
  void end(std::string name);
  // "12.3 s: reading 0.4, preparing 1.2, ..."
  std::string text() const;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now(), last_ = begin_;
  std::vector<std::pair<std::string, double>> seconds_;
};

}  // namespace eelsvae
