#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "engine/energy_axis.h"
#include "engine/simulate.h"
#include "io/npy.h"
#include "io/spectrum_image_write.h"
#include "kernels/error.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  SimulationSettings settings;
  std::string preset = "bfo", output, truth;
  std::vector<int64_t> shape = {settings.height, settings.width, settings.channels};

  CLI::App app{
      "Simulates an EELS spectrum image of a BiFeO3 film in which the Fe L2,3 lines of known pixels are "
      "shifted.",
      "eelsvae-simulate"};
  app.footer(
      "Example: a small image around the Fe L edge, with the answer beside it\n"
      "  eelsvae-simulate --shape 96 96 256 --offset-ev 660 --seed 1 --output film.hspy --truth truth.npy");
  app.option_defaults()->always_capture_default();
  app.add_option("--preset", preset, "Specimen")->check(CLI::IsMember({"bfo"}));
  app.add_option("--output", output, "Image to write, .hspy, .dm4 or .npy")->required();
  app.add_option("--truth", truth, "Mask (y, x) of the anomalous pixels to write, .npy");
  app.add_option("--seed", settings.seed, "Seed; the same seed gives the same image");
  app.add_option("--shape", shape, "Pixels along y and x, and channels")->expected(2, 3);
  app.add_option("--offset-ev", settings.energy_offset_ev, "Energy loss of the first channel, eV");
  app.add_option("--dispersion-ev", settings.dispersion_ev, "eV per channel");
  app.add_option("--pixel-size-nm", settings.pixel_size_nm, "Distance of neighbouring pixels, nm");
  app.add_option("--exposure", settings.exposure, "Factor on all counts; 1 as in the published image");
  app.add_option("--shift-ev", settings.shift_ev, "Shift of the Fe L lines in anomalies, eV, of random sign");
  app.add_option("--anomalies", settings.anomalies,
                 "Share of pixels that are anomalous if below 1, else the number of anomalies");
  app.add_option("--anomaly-radius", settings.anomaly_radius, "Pixels; 0 for anomalies of a single pixel");
  return run_command(app, argc, argv, [&] {
    check_image_name("--output", output);
    if (!truth.empty() && !truth.ends_with(".npy")) throw UserError("--truth " + truth + " must end in .npy");
    if (truth == output) throw UserError("--truth and --output name the same file, " + output);
    settings.height = shape[0];
    settings.width = shape[1];
    if (shape.size() == 3) settings.channels = shape[2];

    const SimulatedImage simulated = simulate(settings);
    const SpectrumImage& image = simulated.image;
    write_spectrum_image(output, image);
    if (!truth.empty()) write_npy(truth, {image.y.size, image.x.size}, simulated.truth.data());
    std::printf("%s: %lld x %lld pixels, %s, %d anomalous pixels\n", output.c_str(),
                static_cast<long long>(image.y.size), static_cast<long long>(image.x.size),
                describe(image.energy).c_str(),
                std::accumulate(simulated.truth.begin(), simulated.truth.end(), 0));
    return 0;
  });
}
