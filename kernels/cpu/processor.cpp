#include "kernels/processor.h"

#ifdef __x86_64__

#include <unistd.h>

extern "C" [[gnu::weak]] void eelsvae_asks_for_processor();  // a library's

namespace eelsvae {
namespace {

// Before anything else of the program runs, which is compiled for x86-64-v3. This file is not.
[[gnu::constructor(101)]] void check_processor() {
  const char* missing = missing_of_processor();
  if (!missing || eelsvae_asks_for_processor) return;
  if (write(STDERR_FILENO, missing, __builtin_strlen(missing)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
    _exit(2);
  _exit(2);
}

}  // namespace

const char* missing_of_processor() noexcept {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return nullptr;
  return "eelsvae: this processor lacks AVX2 and FMA (x86-64-v3), which all of it needs";
}

}  // namespace eelsvae

#else

const char* eelsvae::missing_of_processor() noexcept {
  return nullptr;
}

#endif
