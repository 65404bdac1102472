#pragma once

#include <atomic>
#include <exception>
#include <mutex>

namespace eelsvae {

// Carries the first exception out of a parallel region; what comes after it is not done any more.
class FirstFailure {
 public:
  template <class Action>
  void guard(const Action& action) {
    if (failed_) return;
    try {
      action();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failed_) exception_ = std::current_exception();
      failed_ = true;
    }
  }

  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> failed_ = false;
  std::exception_ptr exception_;
};

}  // namespace eelsvae
