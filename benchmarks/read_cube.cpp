// Times the reading of a spectrum image against memcpy of as many bytes as the result has, in alternation,
// and tells the peak memory of a process that has done nothing but read it once.
//
//   benchmark_read_cube FILE [--rounds N]
//
// memcpy is measured between arrays that have been touched before, by one thread and by all; the memory that
// an image is read into is fresh, as in every program.

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include <omp.h>
#include <CLI/CLI.hpp>

#include "benchmarks/timing.h"
#include "io/npy.h"
#include "io/program.h"
#include "io/spectrum_image_file.h"

using namespace eelsvae;

namespace {

// Peak resident memory of this process in bytes, the pages of mapped files included.
double peak_memory() {
  std::ifstream status("/proc/self/status");
  std::string word;
  double kilobytes = 0;
  while (status >> word) {
    if (word == "VmHWM:") status >> kilobytes;
  }
  return kilobytes * 1024;
}

void copy(const CountArray& from, CountArray& to, int threads) {
  const int64_t size = static_cast<int64_t>(from.size()), share = (size + threads - 1) / threads;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t begin = 0; begin < size; begin += share)
    std::memcpy(&to[static_cast<size_t>(begin)], &from[static_cast<size_t>(begin)],
                static_cast<size_t>(std::min(share, size - begin)) * sizeof(float));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times the reading of a spectrum image against memcpy.", "benchmark_read_cube");
  std::string path;
  int64_t rounds = 7;
  app.add_option("FILE", path, "Spectrum image")->required();
  app.add_option("--rounds", rounds, "Rounds")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return run_program("benchmark_read_cube", [&] {
    const double before = peak_memory();
    CountArray from, to;
    {
      SpectrumImage image = read_spectrum_image(path);
      const double bytes = static_cast<double>(image.counts.size() * sizeof(float));
      std::printf("%s: %s %s, %.3f GB as float32, %d threads\n", path.c_str(),
                  image_format_name(path).c_str(),
                  shape_text({image.y.size, image.x.size, image.energy.size}).c_str(), bytes * 1e-9,
                  omp_get_max_threads());
      std::printf("peak memory of reading / cube: %.3f\n", (peak_memory() - before) / bytes);
      from = std::move(image.counts);
    }
    to = from;
    const double bytes = static_cast<double>(from.size() * sizeof(float));
    std::vector<double> read, again, single, all;
    for (int64_t round = 0; round < rounds; ++round) {
      read.push_back(seconds_of([&] { read_spectrum_image(path); }));
      single.push_back(seconds_of([&] { copy(from, to, 1); }));
      all.push_back(seconds_of([&] { copy(from, to, omp_get_max_threads()); }));
      const std::vector<StoredImage> images = open_images(path);
      const auto& image = *std::find_if(images.begin(), images.end(),
                                        [](const StoredImage& i) { return i.info.kind == "spectrum image"; });
      again.push_back(seconds_of([&] { image.values->read(dense_strides(image.info.shape), to.data()); }));
    }
    const auto print = [&](const char* what, const std::vector<double>& seconds) {
      std::vector<double> share;
      for (size_t i = 0; i < seconds.size(); ++i) share.push_back(single[i] / seconds[i]);
      std::printf("%-36s %7.3f s %7.2f GB/s   %5.2f of memcpy by one thread, %5.2f by all\n", what,
                  median(seconds), bytes / median(seconds) * 1e-9, median(share),
                  median(share) * median(all) / median(single));
    };
    print("read_spectrum_image", read);
    print("the same into memory touched before", again);
    print("memcpy, one thread", single);
    print("memcpy, all threads", all);
    return 0;
  });
}
