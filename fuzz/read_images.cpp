// Reads every image of the files whose paths stand in standard input, one a line, and writes each as .hspy to
// the path given: what eelsvae-info and eelsvae-convert do, many times in one process. Images that declare
// more than a quarter of a GB are listed only: HDF5 reads what was never written as zeros, which takes long
// for who asks for it. Says a line of JSON for each file. Usage: read_images SCRATCH.hspy < PATHS

#include <sys/resource.h>

#include <algorithm>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/files/stored_array.h"
#include "io/formats/hspy.h"
#include "io/formats/spectrum_image_file.h"
#include "kernels/error.h"

using namespace eelsvae;

namespace {

constexpr int64_t vast_values = 1 << 26;

// "" or the message of the UserError.
template <class Action>
std::string message_of(const Action& action) {
  try {
    action();
    return "";
  } catch (const UserError& error) {
    return error.what();
  } catch (const std::bad_alloc&) {
    return "not enough memory";
  }
}

rusage used(int whose) {
  rusage usage = {};
  getrusage(whose, &usage);
  return usage;
}

// Of processor time so far, also that of processes that ended.
double seconds() {
  double sum = 0;
  for (const int whose : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    const rusage usage = used(whose);
    for (const timeval& time : {usage.ru_utime, usage.ru_stime})
      sum += static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: read_images SCRATCH.hspy < PATHS\n";
    return 2;
  }
  for (std::string path; std::getline(std::cin, path);) {
    const double began = seconds();
    int64_t most = 0;
    std::vector<std::string> messages = {message_of([&] {
      for (const ImageInfo& image : list_images(path))
        if (!image.shape.empty()) most = std::max(most, element_count(image.shape, sizeof(float)));
    })};
    const double listed = seconds();
    const bool vast = most > vast_values;
    if (messages[0].empty() && !vast)  // or else reading says the same
      messages.push_back(message_of([&] {
        bool finite = true;
        write_hspy(argv[1], read_spectrum_image(path, {}, &finite));
      }));
    std::cout << nlohmann::json{{"path", path},
                                {"messages", messages},
                                {"vast", vast},
                                {"seconds", std::max(listed - began, seconds() - listed)},
                                {"mb", used(RUSAGE_SELF).ru_maxrss / 1024},
                                {"reader_mb", used(RUSAGE_CHILDREN).ru_maxrss / 1024}}
                     .dump()
              << std::endl;
  }
}
