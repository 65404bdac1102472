#include "python/work.h"

#include <nanobind/stl/string.h>

namespace eelsvae {

eelsvae_options Told::options(int32_t threads) {
  eelsvae_options options{};
  options.struct_size = sizeof options;
  options.threads = threads;
  options.log_user = options.progress_user = this;
  options.log = [](void* user, int32_t level, const char* text) {
    auto* told = static_cast<Told*>(user);
    const std::lock_guard lock(told->mutex_);
    told->lines_.emplace_back(level, text);
  };
  options.progress = [](void* user, const char* stage, int64_t done, int64_t total) {
    auto* told = static_cast<Told*>(user);
    const std::lock_guard lock(told->mutex_);
    told->progress_ = Progress{stage, done, total};
    return int32_t{0};
  };
  return options;
}

void Told::forget() {
  const std::lock_guard lock(mutex_);
  lines_.clear();
  progress_.reset();
}

bool Told::pass_on(const Listener& listener) {
  std::vector<std::pair<int32_t, std::string>> lines;
  std::optional<Progress> progress;
  {
    const std::lock_guard lock(mutex_);
    lines.swap(lines_);
    progress.swap(progress_);
  }
  if (!listener.log.is_none())
    for (const auto& [level, text] : lines) listener.log(level >= EELSVAE_LOG_WARNING, text);
  if (!progress || listener.progress.is_none()) return false;
  const nanobind::object answer = listener.progress(progress->stage, progress->done, progress->total);
  const int truth = PyObject_IsTrue(answer.ptr());
  if (truth < 0) throw nanobind::python_error();
  return truth == 1;
}

}  // namespace eelsvae
