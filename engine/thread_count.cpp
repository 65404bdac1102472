#include "engine/thread_count.h"

#include <string>

#include <omp.h>

#include "kernels/error.h"

namespace eelsvae {

// OpenMP keeps this setting for each of the program's threads.
ThreadCount::ThreadCount(int threads) : before_(omp_get_max_threads()) {
  if (threads < 1) throw UserError(std::to_string(threads) + " threads cannot work; ask for 1 or more");
  omp_set_num_threads(threads);
}

ThreadCount::~ThreadCount() {
  omp_set_num_threads(before_);
}

}  // namespace eelsvae
