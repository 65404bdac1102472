#pragma once

#include <chrono>
#include <optional>

namespace eelsvae {

// Ends a training in time: an epoch that would not be complete is not begun, and only the first is given up
// halfway.
class TimeLimit {
 public:
  // From now on; absent: none.
  explicit TimeLimit(std::optional<double> minutes) {
    if (minutes)
      end_ = Clock::now() +
             std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(60 * *minutes));
  }

  void on_epoch(double seconds) {
    between_epochs_ = true;
    epoch_ = std::chrono::duration<double>(seconds);
  }
  // Asked after every step.
  bool ask() {
    const bool may_end = between_epochs_ || epoch_.count() == 0;
    const auto next = between_epochs_ ? epoch_ : std::chrono::duration<double>(0);
    is_up_ = end_ && may_end && Clock::now() + next > *end_;
    between_epochs_ = false;
    return is_up_;
  }
  // What was answered last.
  bool is_up() const { return is_up_; }

 private:
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> end_;
  bool between_epochs_ = false, is_up_ = false;
  std::chrono::duration<double> epoch_{0};  // the last took so long
};

}  // namespace eelsvae
