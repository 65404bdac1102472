#include "apps/command_line.h"
#include "io/run/jobs.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  DetectionRequest request;
  CommandLine app("Finds the spectra of an EELS spectrum image that do not fit a trained model.",
                  "eelsvae-detect");
  app.footer(
      "Example:\n"
      "  eelsvae-detect --model run --data CuZn_EELS_mapping.hspy --output found\n"
      "writes scores.hspy, scores.npy, mask.npy, scores.png, histogram.png, summary.json and report.html to "
      "the folder "
      "found. Without a model, by the mean spectrum:\n"
      "  eelsvae-detect --baseline mean --data scan.hspy --set data.energy_range=500,800 --output found");
  app.add_option("--model", request.model, "run folder of eelsvae-train, or a checkpoint");
  app.add_option("--baseline", request.baseline,
                 "instead of a model: mean, pca[:K], rx[:K]; K components, chosen from the data if absent");
  app.add_option("--fit", request.fit, "image that the baseline is fitted to (otherwise --data itself)");
  app.add_option("--config", request.config, "configuration that a baseline takes its preprocessing from");
  app.add_option("--data", request.data, "spectrum image (otherwise the one the model was trained on)");
  app.add_option("--output", request.output, "folder for the results").capture_default_str();
  app.add_option("--truth", request.truth, "mask (y, x) of known anomalies, .npy; adds F1 and the like");
  app.add_flag("--save-reconstruction", request.save_reconstruction,
               "also write reconstruction.npy (y, x, E)");
  app.add_option("--set", request.settings, "override a key: --set detection.threshold=0.3 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  return app.run(argc, argv, [&] { return run_detection(request); });
}
