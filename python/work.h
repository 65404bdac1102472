#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "include/eelsvae/eelsvae.h"

namespace eelsvae {

// What a Python caller wants to hear while it waits: progress(stage, done, total), which stops the work where
// it returns something true, and log(warning, text). None: nobody listens.
struct Listener {
  nanobind::object progress, log;
};

// What the work says, kept until the caller's thread passes it on: the working thread never takes Python's
// lock. Of the progress only the latest counts.
class Told {
 public:
  // The options of a training or a session that tells this, which must outlive it.
  eelsvae_options options(int32_t threads);
  // What a call before this one left unsaid, for it was stopped, is not this one's.
  void forget();
  // To the listener, by a thread with Python's lock; whether the work is to stop. Throws what Python raises.
  bool pass_on(const Listener& listener);

 private:
  struct Progress {
    std::string stage;
    int64_t done = 0, total = 0;
  };
  std::mutex mutex_;
  std::vector<std::pair<int32_t, std::string>> lines_;
  std::optional<Progress> progress_;
};

// Works on a thread of its own, without Python's lock, while the caller's waits and listens, so that Ctrl-C
// is heard at any time, and a process that was forked has threads of OpenMP of its own. What Python raises
// meanwhile, KeyboardInterrupt among it, stops the work, and is raised when that has ended.
template <class Work>
auto work_for(const Listener& listener, Told& told, const std::function<void()>& stop, Work work) {
  told.forget();
  auto result = std::async(std::launch::async, std::move(work));
  std::exception_ptr raised;
  bool stopping = false;
  for (bool over = false; !over;) {
    {
      nanobind::gil_scoped_release released;
      over = result.wait_for(std::chrono::milliseconds(50)) == std::future_status::ready;
    }
    try {
      if (!raised && PyErr_CheckSignals() != 0) throw nanobind::python_error();
      if (!raised && told.pass_on(listener)) stopping = true;
    } catch (...) {
      raised = std::current_exception();
      stopping = true;
    }
    if (stopping) stop();  // again and again: work that has only begun forgets what it was told before
  }
  if (raised) std::rethrow_exception(raised);
  return result.get();
}

}  // namespace eelsvae
