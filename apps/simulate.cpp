#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "engine/image/energy_axis.h"
#include "engine/specimen/simulate.h"
#include "io/files/npy.h"
#include "io/formats/spectrum_image_write.h"
#include "kernels/error.h"

using namespace eelsvae;

namespace {

void check_mask_name(const std::string& option, const std::string& name, const std::string& output) {
  if (!name.empty() && !name.ends_with(".npy")) throw UserError(option + " " + name + " must end in .npy");
  if (!name.empty() && name == output)
    throw UserError(option + " and --output name the same file, " + output);
}

const std::string footer =
    "KIND of --defect, the unit of its STRENGTH, and what changes in an anomalous pixel "
    "(docs/specimens.md):\n" +
    describe_defect_kinds() +
    "SHAPE: pixel; disc of RADIUS pixels; line of 2 RADIUS + 1 pixels; lattice of atomic columns, RADIUS "
    "pixels\n"
    "apart. AMOUNT: below 1 the share of the pixels, else the number of anomalies.\n"
    "\n"
    "Examples\n"
    "  A small image around the Fe L edge, with the answer beside it:\n"
    "    eelsvae-simulate --shape 96 96 256 --offset-ev 660 --seed 1 --output film.hspy --truth truth.npy\n"
    "  A film on its substrate with drift and a wedge; three kinds of defects, a third of 2 % each:\n"
    "    eelsvae-simulate --preset hetero --defect fe-shift:1.5:disc:2 --defect oxygen:0.5 \\\n"
    "      --defect foreign:0.3:lattice:8 --anomalies 0.02 --output h.hspy --truth t.npy --labels kinds.npy\n"
    "  The same specimen recorded again, without defects, at ten times the dose:\n"
    "    eelsvae-simulate --preset hetero --defect none --noise-seed 1 --exposure 10 --output clean.hspy";

}  // namespace

int main(int argc, char** argv) {
  SimulationSettings settings;
  SpecimenParameters specimen;
  std::string preset = "bfo", output, truth, labels;
  uint64_t noise_seed = 0;
  std::vector<std::string> defects;
  std::vector<int64_t> shape = {settings.height, settings.width, settings.channels};

  CommandLine app{
      "Simulates an EELS spectrum image of a BiFeO3 film with known anomalies: shifted Fe L2,3 lines, unless "
      "--defect asks for others.",
      "eelsvae-simulate"};
  app.footer(footer);
  app.always_capture_default();
  app.add_option("--preset", preset, "Specimen").check_member(preset_names());
  app.add_option("--output", output, "Image to write, .hspy, .dm4 or .npy").required();
  app.add_option("--truth", truth, "Mask (y, x) of the anomalous pixels to write, .npy");
  app.add_option("--labels", labels,
                 "Kinds (y, x) to write, .npy: 0 normal, 1 the first --defect, and so on");
  app.add_option("--seed", settings.seed, "Seed; the same seed gives the same image");
  CommandOption noise_option =
      app.add_option("--noise-seed", noise_seed, "Seed of the noise alone; absent: --seed").default_str("");
  app.add_option("--shape", shape, "Pixels along y and x, and channels").expected(2, 3);
  app.add_option("--offset-ev", settings.energy_offset_ev, "Energy loss of the first channel, eV");
  app.add_option("--dispersion-ev", settings.dispersion_ev, "eV per channel");
  app.add_option("--pixel-size-nm", settings.pixel_size_nm, "Distance of neighbouring pixels, nm");
  app.add_option("--exposure", settings.exposure, "Factor on all counts; 1 as in the published image");
  app.add_option("--correlation", settings.correlation, "Of the noise of neighbouring channels, 0 to 0.5");
  app.add_option("--vacuum", settings.vacuum, "Share of the columns, on the right, beside the specimen");
  app.add_option("--unscanned", settings.unscanned, "Share of the rows, at the bottom, that hold zeros");

  app.group("Specimen (defaults: the preset's)");
  CommandOption angle = app.add_option("--interface-angle-deg", specimen.interface_angle_deg,
                                       "From film to substrate, 0 to the right, 90 down");
  CommandOption position = app.add_option("--interface-position", specimen.interface_position,
                                          "Share of the image, in this direction, at which the interface is");
  CommandOption width =
      app.add_option("--interface-width-nm", specimen.interface_width_nm, "10 to 90 % of the substrate");
  CommandOption manganese =
      app.add_option("--manganese", specimen.manganese, "Share of Fe replaced by Mn at both ends");
  CommandOption manganese_direction =
      app.add_option("--manganese-direction-deg", specimen.manganese_direction_deg,
                     "From the first end to the other, 0 to the right (the preset's), 90 down");
  CommandOption drift =
      app.add_option("--drift-ev", specimen.drift_ev, "Largest energy drift of a scan line, eV");
  CommandOption wedge = app.add_option("--thickness", specimen.thickness, "Mean free paths at both ends");
  CommandOption wedge_direction =
      app.add_option("--thickness-direction-deg", specimen.thickness_direction_deg,
                     "From the first end to the other, 0 to the right, 90 down (the preset's)");
  CommandOption damage =
      app.add_option("--damage", specimen.damage, "Share of Fe reduced at the end of the scan");
  for (CommandOption option :
       {angle, position, width, manganese, manganese_direction, drift, wedge, wedge_direction, damage})
    option.default_str("");

  app.group("Anomalies");
  app.add_option("--defect", defects,
                 "KIND:STRENGTH[:SHAPE[:RADIUS]][@AMOUNT], repeatable, or none; see below")
      .repeatable()
      .default_str("");
  app.add_option(
      "--anomalies", settings.anomalies,
      "Share of pixels that are anomalous if below 1, else the number of anomalies; in equal parts "
      "for the defects without AMOUNT");
  CommandOption shift = app.add_option("--shift-ev", settings.shift_ev,
                                       "Without --defect: shift of the Fe L lines, eV, of random sign");
  CommandOption radius = app.add_option("--anomaly-radius", settings.anomaly_radius,
                                        "Without --defect: pixels; 0 for anomalies of a single pixel");
  app.group("Options");
  return app.run(argc, argv, [&] {
    check_image_name("--output", output);
    check_mask_name("--truth", truth, output);
    check_mask_name("--labels", labels, output);
    if (!labels.empty() && labels == truth)
      throw UserError("--labels and --truth name the same file, " + truth);
    settings.height = shape[0];
    settings.width = shape[1];
    if (shape.size() == 3) settings.channels = shape[2];
    if (noise_option.count()) settings.noise_seed = noise_seed;

    settings.preset = preset_named(preset);
    SpecimenParameters chosen = preset_parameters(settings.preset);
    if (!chosen.interface && (angle.count() || position.count() || width.count()))
      throw UserError("preset " + preset + " has no interface; interface and hetero have one");
    if (angle.count()) chosen.interface_angle_deg = specimen.interface_angle_deg;
    if (position.count()) chosen.interface_position = specimen.interface_position;
    if (width.count()) chosen.interface_width_nm = specimen.interface_width_nm;
    if (manganese.count()) chosen.manganese = specimen.manganese;
    if (drift.count()) chosen.drift_ev = specimen.drift_ev;
    if (wedge.count()) chosen.thickness = specimen.thickness;
    if (damage.count()) chosen.damage = specimen.damage;
    if (manganese_direction.count() && chosen.manganese[0] == chosen.manganese[1])
      throw UserError(
          "--manganese-direction-deg: the share of Mn is the same everywhere; --manganese sets it at both "
          "ends");
    if (wedge_direction.count() && chosen.thickness[0] == chosen.thickness[1])
      throw UserError(
          "--thickness-direction-deg: the thickness is the same everywhere; --thickness sets it at both "
          "ends");
    if (manganese_direction.count()) chosen.manganese_direction_deg = specimen.manganese_direction_deg;
    if (wedge_direction.count()) chosen.thickness_direction_deg = specimen.thickness_direction_deg;
    settings.specimen = chosen;

    if (!defects.empty() && (shift.count() || radius.count()))
      throw UserError(
          "--shift-ev and --anomaly-radius are short for --defect fe-shift:EV:disc:RADIUS; give either");
    if (defects == std::vector<std::string>{"none"})
      settings = without_defects(settings);
    else
      for (const std::string& defect : defects) {
        if (defect == "none") throw UserError("--defect none stands alone");
        settings.defects.push_back(parse_defect(defect));
      }
    // Whoever wants the answer, or says how far the lines are moved, wants to see them.
    const bool wanted = shift.count() || !truth.empty() || !labels.empty();
    if (settings.defects.empty() && settings.anomalies > 0 && settings.shift_ev > 0 && wanted)
      settings.defects = {
          {DefectKind::fe_shift, settings.shift_ev, DefectShape::disc, settings.anomaly_radius, {}}};

    const SimulatedImage simulated = simulate(settings);
    const SpectrumImage& image = simulated.image;
    write_spectrum_image(output, image);
    const std::vector<int64_t> map = {image.y.size, image.x.size};
    if (!truth.empty()) write_npy(truth, map, simulated.truth.data());
    if (!labels.empty()) write_npy_labels(labels, map, simulated.labels.data());
    std::printf("%s: %lld x %lld pixels, %s, %d anomalous pixels\n", output.c_str(),
                static_cast<long long>(image.y.size), static_cast<long long>(image.x.size),
                describe(image.energy).c_str(),
                std::accumulate(simulated.truth.begin(), simulated.truth.end(), 0));
    for (size_t k = 0; k < settings.defects.size(); ++k)
      std::printf(
          "  label %zu: %s, %lld pixels\n", k + 1, simulated.defect_names[k].c_str(),
          static_cast<long long>(std::count(simulated.labels.begin(), simulated.labels.end(), k + 1)));
    return 0;
  });
}
