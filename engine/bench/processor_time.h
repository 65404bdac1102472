#pragma once

#include <functional>

namespace eelsvae {

// The processor time, in seconds, that the busiest thread of OpenMP's team spends while `work` runs. Where
// threads share the work evenly this is the clock's time on a machine that has nothing else to do; on one
// that has, what other programs take does not count, though the memory bandwidth they use does. Threads that
// wait must sleep (OMP_WAIT_POLICY=passive), or their waiting counts.
double processor_seconds_of(const std::function<void()>& work);

}  // namespace eelsvae
