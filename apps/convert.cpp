// eelsvae-convert: any spectrum image in, one of those that can be written out, with the preprocessing that
// is asked for.

#include "apps/command_line.h"
#include "io/formats/spectrum_image_write.h"
#include "io/run/jobs.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  ConversionRequest request;
  CommandLine app("Converts a spectrum image to " + written_extensions() +
                      ". Nothing is changed unless a --set asks for it: "
                      "crop, despike, align, bin, smooth or scale, in the order of docs/config.md.",
                  "eelsvae-convert");
  app.footer(
      "Examples:\n"
      "  eelsvae-convert scan.dm4 scan.hspy\n"
      "  eelsvae-convert scan.dm4 small.hspy --set data.energy_range=500,800 --set preprocess.bin_xy=2 \\\n"
      "    --set preprocess.despike=8 --report replaced.json\n"
      "  eelsvae-convert core.dm4 aligned.hspy --set preprocess.align=zero_loss --set "
      "preprocess.align_path=low.dm4");
  app.add_option("FILE", request.input, "Spectrum image; eelsvae-info tells what is in it").required();
  app.add_option("OUT", request.output, "File to write, " + written_extensions() + " (float32)").required();
  app.add_option("--dataset", request.dataset,
                 "Which image of the file, as eelsvae-info counts them; -1: its EELS spectrum image")
      .capture_default_str();
  app.add_option("--report", request.report,
                 "Write what was done as JSON: notes, every spike that was replaced, energy shifts");
  app.add_option("--set", request.settings, "Ask for a step: --set preprocess.despike=8 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  return app.run(argc, argv, [&] { return run_conversion(request); });
}
