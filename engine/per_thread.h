#pragma once

#include <omp.h>

#include <vector>

namespace eelsvae {

// One of its kind for each thread of the next parallel region, made before it: where memory fails inside of
// one, the process ends; here the caller is told.
template <class T>
class PerThread {
 public:
  template <class... Arguments>
  explicit PerThread(const Arguments&... arguments) {
    const int threads = omp_get_max_threads();
    all_.reserve(static_cast<size_t>(threads));
    for (int thread = 0; thread < threads; ++thread) all_.emplace_back(arguments...);
  }
  // Of the thread that asks.
  T& own() { return all_[static_cast<size_t>(omp_get_thread_num())]; }

 private:
  std::vector<T> all_;
};

}  // namespace eelsvae
