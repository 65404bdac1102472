// Makes engine/score_head/score_head.safetensors, the score head that comes with the program, from simulated
// specimens:
//
//   build/release/train_score_head --output engine/score_head/score_head.safetensors
//
// A specimen is simulated without defects, prepared, and explained by the mean spectrum, by principal
// components, by the means of squares of pixels, as coarse as a model that was not trained for long, and by
// what the simulator knows, as it is and with smooth errors; what is left over is what the head takes for
// normal. Specimens have seeds from 5001 on, which no test and no table uses.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/detect/learned_score.h"
#include "engine/detect/scorer.h"
#include "engine/prepare/preprocess.h"
#include "engine/score_head/head_training.h"
#include "engine/specimen/simulate.h"
#include "io/files/safetensors.h"
#include "kernels/error.h"
#include "kernels/philox.h"

using namespace eelsvae;

namespace {

// What differs between recordings; filtered: as the published data are prepared.
struct Conditions {
  double offset_ev, dispersion_ev;
  int64_t channels;
  double exposure, correlation;
  bool filtered;
};
constexpr Conditions recordings[] = {{440, 0.95, 320, 4, 0, false},
                                     {430, 0.6, 512, 2, 0.3, false},
                                     {640, 0.25, 640, 8, 0.5, false},
                                     {480, 0.3, 896, 1, 0, true}};
constexpr Preset presets[] = {Preset::bfo,   Preset::interface, Preset::gradient, Preset::drift,
                              Preset::wedge, Preset::damage,    Preset::hetero,   Preset::polycrystal};

SimulationSettings settings_of(Preset preset, const Conditions& recording, uint64_t seed) {
  SimulationSettings settings;
  settings.preset = preset;
  settings.height = settings.width = 40;
  settings.channels = recording.channels;
  settings.energy_offset_ev = recording.offset_ev;
  settings.dispersion_ev = recording.dispersion_ev;
  settings.exposure = recording.exposure;
  settings.correlation = recording.correlation;
  settings.seed = seed;
  return without_defects(settings);
}

// Of each square of `side` pixels the mean spectrum, as bright as the pixel.
Expectation mean_of_squares(const SpectrumImage& image, int64_t side) {
  const int64_t channels = image.energy.size, columns = (image.x.size + side - 1) / side;
  const auto square_of = [&](int64_t pixel) {
    return pixel / image.x.size / side * columns + pixel % image.x.size / side;
  };
  const auto total = [&](const auto* spectrum) {
    double sum = 0;
    for (int64_t e = 0; e < channels; ++e) sum += static_cast<double>(spectrum[e]);
    return sum;
  };
  std::vector<double> sums(static_cast<size_t>((square_of(image.pixels() - 1) + 1) * channels));
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel)
    for (int64_t e = 0; e < channels; ++e)
      sums[static_cast<size_t>(square_of(pixel) * channels + e)] +=
          static_cast<double>(image.spectrum(pixel)[e]);
  Expectation expectation;
  expectation.spectra = image.counts;
  for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
    const double* sum = sums.data() + square_of(pixel) * channels;
    const double factor = total(image.spectrum(pixel)) / total(sum);
    for (int64_t e = 0; e < channels; ++e)
      expectation.spectra[static_cast<size_t>(pixel * channels + e)] = static_cast<float>(factor * sum[e]);
  }
  return expectation;
}

// Times 1 + a few smooth curves over energy, in amounts that change smoothly over the image: up to the noise
// of the brightest channels.
Expectation with_errors(const SpectrumImage& image, const CountArray& known, uint64_t seed) {
  constexpr int64_t curves = 3;
  const int64_t channels = image.energy.size;
  const auto draw = [&](int64_t curve, int64_t what) {
    return uniform(philox(seed, static_cast<uint64_t>(curve), static_cast<uint64_t>(what)).v[0]);
  };
  Expectation expectation;
  expectation.spectra = known;
  for (int64_t curve = 0; curve < curves; ++curve) {
    const double centre = draw(curve, 0) * static_cast<double>(channels),
                 width = 3 * std::pow(20, draw(curve, 1)), size = 0.03 * draw(curve, 2),
                 angle = 6.28 * draw(curve, 3), period = 20 + 40 * draw(curve, 4);
    for (int64_t pixel = 0; pixel < image.pixels(); ++pixel) {
      const auto y = static_cast<double>(pixel / image.x.size), x = static_cast<double>(pixel % image.x.size);
      const double amount =
          size * std::sin(6.28 * (y * std::sin(angle) + x * std::cos(angle)) / period + angle);
      for (int64_t e = 0; e < channels; ++e) {
        const double u = (static_cast<double>(e) - centre) / width;
        expectation.spectra[static_cast<size_t>(pixel * channels + e)] *=
            static_cast<float>(1 + amount * (1 - u * u) * std::exp(-u * u / 2));
      }
    }
  }
  return expectation;
}

void add_examples(const Conditions& recording, SimulationSettings settings, int64_t most,
                  std::vector<HeadExamples>& all) {
  PreprocessConfig preprocess;
  if (!recording.filtered) {
    preprocess.sigma = 0;
    preprocess.xy_window = 1;
  }
  preprocess.percentiles = {0.01, 99.99};
  SimulatedImage simulated = simulate(settings);
  std::vector<uint8_t> hot(simulated.truth.size());
  hot[static_cast<size_t>(simulated.hot_pixel)] = 1;
  const PreparedImage prepared = prepare(std::move(simulated.image), preprocess, std::nullopt);
  const auto add = [&](const Expectation& expectation) {
    Scorer scorer(prepared.image, expectation, preprocess, {});
    all.push_back(
        head_examples(prepared.image, expectation.spectra, scorer.variation(), scorer.window(), most, hot));
  };
  for (const char* baseline : {"mean", "pca:auto"})
    add(expect_from(Baseline(prepared.image, hot, parse_baseline(baseline)), prepared.image));
  add(mean_of_squares(prepared.image, 8));
  settings.noise = false;
  const FittedPreprocess fitted{prepared.image.energy, prepared.scaling, {}};
  PreparedImage truth = prepare(simulate(settings).image, preprocess, std::nullopt, &fitted);
  Expectation known;
  known.spectra = std::move(truth.image.counts);
  add(known);
  add(with_errors(prepared.image, known.spectra, settings.seed));
}

void write(const std::string& path, const ScoreHead& head, const std::string& command) {
  std::vector<SafetensorsEntry> entries;
  size_t at = 0;
  for (const LayerSpec& layer : score_head_layers(1))
    for (const Parameter& parameter : layer.parameters()) {
      const float* values = head.data() + at;
      const auto bytes = static_cast<size_t>(parameter.count()) * sizeof(float);
      entries.push_back(
          {parameter.name, "F32", parameter.shape, [=](const ByteSink& sink) { sink(values, bytes); }});
      at += static_cast<size_t>(parameter.count());
    }
  write_safetensors(path, entries, {{"made_by", command}});
}

HeadChange change_named(const std::string& name) {
  std::string known;
  for (int i = 0; i < head_changes; ++i) {
    const auto change = static_cast<HeadChange>(i);
    if (name_of(change) == name) return change;
    known += (i ? ", " : "") + name_of(change);
  }
  throw UserError("there is no change " + name + "; there are " + known);
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app{"Trains the score head that comes with the program (engine/score_head)", "train_score_head"};
  HeadTraining training;
  std::string output;
  std::vector<std::string> without_changes, without_presets;
  int64_t most = 1000;
  app.add_option("--output", output, "File to write, .safetensors")->required();
  app.add_option("--steps", training.steps, "Training steps")->capture_default_str();
  app.add_option("--seed", training.seed, "Of weights and examples")->capture_default_str();
  app.add_option("--spectra", most, "Of each image and expectation")->capture_default_str();
  app.add_option("--without-change", without_changes, "Kind of change that is not learnt, repeatable");
  app.add_option("--without-preset", without_presets, "Specimen that is not learnt from, repeatable");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& name : without_changes) training.left_out.push_back(change_named(name));

  std::vector<HeadExamples> examples;
  uint64_t seed = 5001;
  for (const Preset preset : presets)
    for (const Conditions& recording : recordings) {
      ++seed;
      if (std::ranges::count(without_presets, preset_name(preset))) continue;
      add_examples(recording, settings_of(preset, recording, seed), most, examples);
    }
  std::printf("%zu sets of examples\n", examples.size());
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  const ScoreHead head = train_score_head(*backend, examples, training, [](int64_t step, double loss) {
    std::printf("step %lld: loss %.4f\n", static_cast<long long>(step), loss);
    std::fflush(stdout);
  });
  std::string command = "train_score_head";
  for (int i = 1; i < argc; ++i)
    if (argv[i] != std::string("--output") && argv[i - 1] != std::string("--output"))
      command += std::string(" ") + argv[i];
  write(output, head, command);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "train_score_head: %s\n", error.what());
  return 1;
}
