// Times the steps of preprocessing for compare_preprocess.py, which times SciPy and scikit-image in turn with
// it on the same cube. Reads one step's name per line and answers with its seconds, elapsed and of the
// processors; a copy of the cube is made before the clock starts. "write STEP" also leaves the result in the
// folder as STEP.npy.
//
//   benchmark_preprocess FOLDER
//
// FOLDER holds cube.npy (y, x, E) and shifts_ev.npy (y, x); the axis is that of the published image, 420 eV
// and 0.3 eV per channel.

#include <chrono>
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/binning.h"
#include "engine/preprocess.h"
#include "engine/resampling.h"
#include "io/npy.h"
#include "io/program.h"
#include "io/spectrum_image_file.h"

using namespace eelsvae;

namespace {

struct Seconds {
  double wall, processor;  // the latter of all threads together
};

Seconds seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  const std::clock_t processor = std::clock();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
          static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC};
}

void write_image(const std::string& path, const SpectrumImage& image) {
  write_npy(path, {image.y.size, image.x.size, image.energy.size}, image.counts.data());
}

int benchmark(const std::string& folder) {
  SpectrumImage cube = read_spectrum_image(folder + "/cube.npy");
  cube.energy = {"Energy loss", "eV", 420, 0.3, cube.energy.size};
  const NpyArray given = read_npy(folder + "/shifts_ev.npy");
  const std::vector<double> shifts_ev(given.values.begin(), given.values.end());
  PreprocessConfig feature;
  feature.align = Align::feature;
  feature.align_window = {{525, 560}};

  SpectrumImage image;
  PreparedImage prepared;
  std::vector<Spike> spikes;
  EnergyShifts shifts;
  // Published: 1312 channels from 423.3 eV, then the default configuration.
  const std::map<std::string, std::function<void()>> steps = {
      {"chain",
       [&] {
         prepared = prepare(std::move(image), PreprocessConfig{}, std::array<double, 2>{423.3, 816.6});
       }},
      {"bin", [&] { bin(image, 2, 4); }},
      {"despike", [&] { spikes = remove_spikes(image, 8); }},
      {"measure", [&] { shifts = measure_shifts(image, feature); }},
      {"move", [&] { move_spectra(image, shifts_ev); }},
  };
  const std::map<std::string, std::function<void(const std::string&)>> results = {
      {"chain", [&](const std::string& file) { write_image(file, prepared.image); }},
      {"bin", [&](const std::string& file) { write_image(file, image); }},
      {"despike",
       [&](const std::string& file) {
         std::vector<uint8_t> mask(cube.counts.size());
         for (const Spike& s : spikes)
           mask[static_cast<size_t>((s.y * cube.x.size + s.x) * cube.energy.size + s.channel)] = 1;
         write_npy(file, {cube.y.size, cube.x.size, cube.energy.size}, mask.data());
       }},
      {"measure",
       [&](const std::string& file) {
         const std::vector<float> ev(shifts.ev.begin(), shifts.ev.end());
         write_npy(file, {cube.y.size, cube.x.size}, ev.data());
       }},
      {"move", [&](const std::string& file) { write_image(file, image); }},
  };
  for (std::string line; std::getline(std::cin, line);) {
    const bool write = line.starts_with("write ");
    const std::string step = write ? line.substr(6) : line;
    if (!steps.contains(step)) throw UserError("no step " + step);
    image = cube;
    const Seconds seconds = seconds_of(steps.at(step));
    if (write) results.at(step)(folder + "/" + step + ".npy");
    std::cout << seconds.wall << " " << seconds.processor << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  CLI::App app("Times steps of preprocessing, one per line of standard input.");
  app.add_option("FOLDER", folder, "holds cube.npy and shifts_ev.npy; results are written there")->required();
  CLI11_PARSE(app, argc, argv);
  return run_program("benchmark_preprocess", [&] { return benchmark(folder); });
}
