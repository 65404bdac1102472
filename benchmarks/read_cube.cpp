// Times the reading of a spectrum image against memcpy of as many bytes as the result has, in alternation,
// and tells the peak memory of a process that has done nothing but read it once.
//
//   benchmark_read_cube FILE [--rounds N]
//
// Programs read an image into fresh memory, whose pages the system clears when they are first touched; that
// is compared with memcpy into fresh memory of the same kind. Reading into memory that was touched before is
// compared with memcpy into such memory. Both by one thread and by all; every time includes giving the memory
// back where it was fresh.

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include <omp.h>
#include <CLI/CLI.hpp>

#include "benchmarks/timing.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "io/terminal/program.h"

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
    std::vector<double> read, again, single, all, fresh_single, fresh_all;
    for (int64_t round = 0; round < rounds; ++round) {
      read.push_back(seconds_of([&] { read_spectrum_image(path); }));
      const auto copy_fresh = [&](int threads) {
        CountArray fresh(from.size());
        copy(from, fresh, threads);
      };
      fresh_single.push_back(seconds_of([&] { copy_fresh(1); }));
      fresh_all.push_back(seconds_of([&] { copy_fresh(omp_get_max_threads()); }));
      single.push_back(seconds_of([&] { copy(from, to, 1); }));
      all.push_back(seconds_of([&] { copy(from, to, omp_get_max_threads()); }));
      const std::vector<StoredImage> images = open_images(path);
      const auto& image = *std::find_if(images.begin(), images.end(),
                                        [](const StoredImage& i) { return i.info.kind == "spectrum image"; });
      again.push_back(seconds_of([&] {
        image.values->read(whole_of(image.info.shape), dense_strides(image.info.shape), to.data());
      }));
    }
    // Median over the rounds of how the rates compare.
    const auto share = [&](const std::vector<double>& seconds, const std::vector<double>& of) {
      std::vector<double> ratios;
      for (size_t i = 0; i < seconds.size(); ++i) ratios.push_back(of[i] / seconds[i]);
      return median(ratios);
    };
    const auto print = [&](const char* what, const std::vector<double>& seconds,
                           const std::vector<double>& one, const std::vector<double>& every) {
      std::printf("%-30s %7.3f s %6.2f GB/s   %5.2f of memcpy by one thread, %5.2f by all\n", what,
                  median(seconds), bytes / median(seconds) * 1e-9, share(seconds, one),
                  share(seconds, every));
    };
    print("read into fresh memory", read, fresh_single, fresh_all);
    print("memcpy, one thread", fresh_single, fresh_single, fresh_all);
    print("memcpy, all threads", fresh_all, fresh_single, fresh_all);
    print("read into touched memory", again, single, all);
    print("memcpy, one thread", single, single, all);
    print("memcpy, all threads", all, single, all);
    return 0;
  });
}
