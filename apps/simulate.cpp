#include "apps/command_line.h"
#include "engine/short_number.h"
#include "io/formats/spectrum_image_write.h"
#include "io/run/jobs.h"

using namespace eelsvae;

namespace {

const std::string footer =
    "KIND of --defect, the unit of its STRENGTH, and what changes in an anomalous pixel "
    "(docs/specimens.md):\n" +
    describe_defect_kinds() +
    "antisite and what follows it are of columns of atoms, on the lattice presets, and have no SHAPE.\n"
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
    "  Atoms, some of them in the wrong place:\n"
    "    eelsvae-simulate --preset lattice --shape 96 96 256 --offset-ev 660 --exposure 2 \\\n"
    "      --defect antisite:0.8@5 --defect vacancy:0.8@5 --output atoms.hspy --truth t.npy\n"
    "  The same specimen recorded again, without defects, at ten times the dose:\n"
    "    eelsvae-simulate --preset hetero --defect none --noise-seed 1 --exposure 10 --output clean.hspy";

}  // namespace

int main(int argc, char** argv) {
  SimulationRequest request;
  SimulationSettings& settings = request.settings;
  CommandLine app{
      "Simulates an EELS spectrum image of a BiFeO3 film with known anomalies: shifted Fe L2,3 lines, unless "
      "--defect asks for others.",
      "eelsvae-simulate"};
  app.footer(footer);
  app.always_capture_default();
  app.add_option("--preset", request.preset, "Specimen").check_member(preset_names());
  app.add_option("--output", request.output, "Image to write, " + written_extensions()).required();
  app.add_option("--truth", request.truth, "Mask (y, x) of the anomalous pixels to write, .npy");
  app.add_option("--labels", request.labels,
                 "Kinds (y, x) to write, .npy: 0 normal, 1 the first --defect, and so on");
  app.add_option("--seed", settings.seed, "Seed; the same seed gives the same image");
  app.add_option("--noise-seed", settings.noise_seed, "Seed of the noise alone; absent: --seed");
  app.add_option("--shape", request.shape, "Pixels along y and x, and channels").expected(2, 3);
  app.add_option("--offset-ev", settings.energy_offset_ev, "Energy loss of the first channel, eV");
  app.add_option("--dispersion-ev", settings.dispersion_ev, "eV per channel");
  app.add_option("--pixel-size-nm", settings.pixel_size_nm, "Distance of neighbouring pixels, nm");
  app.add_option("--exposure", settings.exposure, "Factor on all counts; 1 as in the published image");
  app.add_option("--correlation", settings.correlation, "Of the noise of neighbouring channels, 0 to 0.5");
  app.add_option("--vacuum", settings.vacuum, "Share of the columns, on the right, beside the specimen");
  app.add_option("--unscanned", settings.unscanned, "Share of the rows, at the bottom, that hold zeros");

  app.group("Specimen (defaults: the preset's)");
  app.add_option("--interface-angle-deg", request.interface_angle_deg,
                 "From film to substrate, 0 to the right, 90 down");
  app.add_option("--interface-position", request.interface_position,
                 "Share of the image, in this direction, at which the interface is");
  app.add_option("--interface-width-nm", request.interface_width_nm,
                 "10 to 90 % of the substrate; also across boundaries of grains");
  app.add_option("--grain-nm", request.grain_nm, "Mean width of the grains of polycrystal");
  app.add_option("--manganese", request.manganese, "Share of Fe replaced by Mn at both ends");
  app.add_option("--manganese-direction-deg", request.manganese_direction_deg,
                 "From the first end to the other, 0 to the right (the preset's), 90 down");
  app.add_option("--drift-ev", request.drift_ev, "Largest energy drift of a scan line, eV");
  app.add_option("--thickness", request.thickness, "Mean free paths at both ends");
  app.add_option("--thickness-direction-deg", request.thickness_direction_deg,
                 "From the first end to the other, 0 to the right, 90 down (the preset's)");
  app.add_option("--damage", request.damage, "Share of Fe reduced at the end of the scan");

  app.group("Anomalies");
  app.add_option("--defect", request.defects,
                 "KIND:STRENGTH[:SHAPE[:RADIUS]][@AMOUNT], repeatable, or none; see below")
      .repeatable()
      .default_str("");
  app.add_option(
      "--anomalies", settings.anomalies,
      "Share of pixels that are anomalous if below 1, else the number of anomalies; in equal parts "
      "for the defects without AMOUNT");
  app.add_option("--shift-ev", request.shift_ev,
                 "Without --defect: shift of the Fe L lines, eV, of random sign")
      .default_str(short_number(settings.shift_ev));
  app.add_option("--anomaly-radius", request.anomaly_radius,
                 "Without --defect: pixels; 0 for anomalies of a single pixel")
      .default_str(short_number(settings.anomaly_radius));
  app.group("Options");
  return app.run(argc, argv, [&] { return run_simulation(request); });
}
