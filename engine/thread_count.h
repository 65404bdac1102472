#pragma once

namespace eelsvae {

// How many threads the work takes that the present thread asks for while this object lives, be it of engine/,
// of io/ or of a backend on the CPU; the convolutions of a model keep to what held when it was made. Without
// such an object it is OpenMP's own setting, as by OMP_NUM_THREADS, which is back in force afterwards and
// holds for the program's other threads all the time. With the same kernels, results have the same bits for
// any number.
class ThreadCount {
 public:
  explicit ThreadCount(int threads);  // UserError if fewer than 1
  ~ThreadCount();
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

}  // namespace eelsvae
