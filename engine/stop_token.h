#pragma once

#include <atomic>
#include <exception>

namespace eelsvae {

// Thrown by work that leaves nothing behind where it stops, such as reading, when it is asked to.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

// How long work learns that it should stop: it looks at a flag, which its owner sets from another thread or
// from a signal handler and which outlives the work. A token without a flag asks for nothing.
class StopToken {
 public:
  StopToken() = default;
  explicit StopToken(const std::atomic<bool>& flag) : flag_(&flag) {}
  bool requested() const { return flag_ && flag_->load(std::memory_order_relaxed); }
  void stop_if_requested() const {
    if (requested()) throw Interrupted();
  }

 private:
  const std::atomic<bool>* flag_ = nullptr;
};

}  // namespace eelsvae
