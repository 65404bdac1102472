// Times the steps of preprocessing for compare_preprocess.py, which times SciPy and scikit-image in turn with
// it on the same cube. Reads one step's name per line and answers with its seconds, elapsed and of the
// processors; a copy of the cube is made before the clock starts. "write STEP" also leaves the result in the
// folder as STEP.npy.
//
//   benchmark_preprocess FOLDER
//   benchmark_preprocess --device cuda
//
// FOLDER holds cube.npy (y, x, E) and shifts_ev.npy (y, x); the axis is that of the published image, 420 eV
// and 0.3 eV per channel. With --device the published steps are timed on that device and on the host in turn
// instead, on a cube of random counts of the published size, and their results compared.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/prepare/binning.h"
#include "engine/prepare/preprocess.h"
#include "engine/prepare/resampling.h"
#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "io/terminal/program.h"

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

// As many counts as the published image has after its crop: 75 falling to 22 per channel, and their noise.
SpectrumImage random_cube() {
  SpectrumImage cube;
  cube.y = {"y", "nm", 0, 1, 210};
  cube.x = {"x", "nm", 0, 1, 210};
  cube.energy = {"Energy loss", "eV", 423.3, 0.3, 1312};
  cube.counts.resize(static_cast<size_t>(cube.pixels() * cube.energy.size));
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < cube.pixels(); ++pixel) {
    std::minstd_rand generator(static_cast<uint32_t>(pixel + 1));
    std::normal_distribution<float> noise;
    for (int64_t e = 0; e < cube.energy.size; ++e) {
      const auto counts =
          static_cast<float>(75 * std::pow(cube.energy.value(static_cast<double>(e)) / 430, -2));
      cube.spectrum(pixel)[e] = counts + std::sqrt(2.7f * counts + 81) * noise(generator);
    }
  }
  return cube;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

int compare(const std::string& device, int rounds) {
  const std::unique_ptr<Backend> backend = make_backend(device, "auto");
  const SpectrumImage cube = random_cube();
  std::printf("%s; (%lld, %lld, %lld) float32, medians of %d rounds (fastest, slowest)\n",
              backend->description().c_str(), static_cast<long long>(cube.y.size),
              static_cast<long long>(cube.x.size), static_cast<long long>(cube.energy.size), rounds);
  std::printf("%-14s %26s %26s %8s  %s\n", "scaling", "host (ms)", device.c_str(), "ratio",
              "largest difference, of the range");
  constexpr std::array<std::pair<const char*, Scaling>, 4> methods = {
      {{"robust_minmax", Scaling::robust_minmax},
       {"minmax", Scaling::minmax},
       {"zscore", Scaling::zscore},
       {"quantile", Scaling::quantile}}};
  for (const auto& [name, method] : methods) {
    PreprocessConfig config;
    config.scaling_method = method;
    std::array<SpectrumImage, 2> images;
    std::array<std::vector<double>, 2> times;
    for (int round = -1; round < rounds; ++round)  // the first one warms up
      for (size_t way = 0; way < 2; ++way) {
        images[way] = cube;
        const Seconds seconds = seconds_of(
            [&] { smooth_and_scale(images[way], config, nullptr, way == 0 ? nullptr : backend.get()); });
        if (round >= 0) times[way].push_back(1e3 * seconds.wall);
      }
    double difference = 0;
    for (size_t i = 0; i < cube.counts.size(); ++i)
      difference =
          std::max(difference, static_cast<double>(std::abs(images[0].counts[i] - images[1].counts[i])));
    const auto [low, high] = std::minmax_element(images[0].counts.begin(), images[0].counts.end());
    std::array<std::string, 2> cells;
    for (size_t way = 0; way < 2; ++way) {
      char text[64];
      const auto [fastest, slowest] = std::minmax_element(times[way].begin(), times[way].end());
      std::snprintf(text, sizeof text, "%.1f (%.1f, %.1f)", median(times[way]), *fastest, *slowest);
      cells[way] = text;
    }
    std::printf("%-14s %26s %26s %7.2fx  %.1e\n", name, cells[0].c_str(), cells[1].c_str(),
                median(times[0]) / median(times[1]), difference / static_cast<double>(*high - *low));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder, device;
  int rounds = 9;
  CLI::App app(
      "Times steps of preprocessing, one per line of standard input, or the published ones on a device.");
  auto* folder_option =
      app.add_option("FOLDER", folder, "holds cube.npy and shifts_ev.npy; results are written there");
  auto* device_option = app.add_option("--device", device, "compare this device with the host instead");
  device_option->excludes(folder_option);
  app.add_option("--rounds", rounds, "with --device")->needs(device_option)->check(CLI::PositiveNumber);
  app.require_option(1, 2);
  CLI11_PARSE(app, argc, argv);
  return run_program("benchmark_preprocess",
                     [&] { return device.empty() ? benchmark(folder) : compare(device, rounds); });
}
