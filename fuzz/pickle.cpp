// What describes a .prz of Panta Rhei.

#include "io/files/pickle.h"
#include "fuzz/input_file.h"

using namespace eelsvae;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  unless_refused([&] { parse_pickle(std::as_bytes(std::span(data, size)), "a").dump(); });
  return 0;
}
