#include "io/terminal/stage_times.h"

#include <fmt/format.h>

namespace eelsvae {
namespace {

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void StageTimes::end(std::string name) {
  const Clock::time_point now = Clock::now();
  if (seconds_.empty() || seconds_.back().first != name) seconds_.emplace_back(std::move(name), 0);
  seconds_.back().second += seconds_between(last_, now);
  last_ = now;
}

std::string StageTimes::text() const {
  std::string text = fmt::format("{:.1f} s", seconds_between(begin_, last_));
  for (size_t i = 0; i < seconds_.size(); ++i)
    text += fmt::format("{} {} {:.1f}", i == 0 ? ":" : ",", seconds_[i].first, seconds_[i].second);
  return text;
}

}  // namespace eelsvae
