#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/stop_token.h"
#include "engine/thread_count.h"
#include "include/eelsvae/eelsvae.h"

namespace eelsvae {

// Whom a training or a session works for: who is told, and who may stop it.
class Caller {
 public:
  // options: NULL: the defaults. UserError as the fields ask for it.
  explicit Caller(const eelsvae_options* options);

  const eelsvae_options& options() const { return options_; }
  // Holds for the work while it lives; absent: OpenMP's own setting.
  void take_threads(std::optional<ThreadCount>& threads) const;

  void info(const std::string& text) const { log(EELSVAE_LOG_INFO, text); }
  void warn(const std::string& text) const { log(EELSVAE_LOG_WARNING, text); }
  // Tells how far the work is, and asks whether it should go on.
  void progress(const char* stage, int64_t done, int64_t total);
  // The same at the beginning of a stage, where it can still be given up. Interrupted if it should.
  void begin(const char* stage);

  // From any thread.
  void stop() { stop_.store(true, std::memory_order_relaxed); }
  void go() { stop_.store(false, std::memory_order_relaxed); }
  StopToken token() const { return StopToken(stop_); }

 private:
  void log(int32_t level, const std::string& text) const;

  eelsvae_options options_;
  std::atomic<bool> stop_ = false;
};

}  // namespace eelsvae
