#include "apps/command_line.h"
#include "io/batch/batch_job.h"
#include "kernels/error.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  BatchRequest batch;
  DetectionRequest& request = batch.each;
  CommandLine app(
      "Finds the spectra of an EELS spectrum image that do not fit the others, or a trained model.",
      "eelsvae-detect");
  app.footer(
      "Examples:\n"
      "  eelsvae-detect scan.dm4\n"
      "chooses how to prepare the scan, trains a model of its spectra within five minutes, sets it beside "
      "the "
      "mean spectrum and PCA, and looks with the best of them for spectra that do not fit. The folder found "
      "then holds report.html, summary.json, scores.hspy, scores.npy, mask.npy, scores.png, histogram.png, "
      "regions.csv, "
      "config.json, log.txt and the model.\n"
      "  eelsvae-detect scan.dm4 --model run\n"
      "  eelsvae-detect scan.dm4 --model run --beside mean --beside pca:auto\n"
      "  eelsvae-detect scan.dm4 --baseline mean --set data.energy_range=500,800\n"
      "  eelsvae-detect next.dm4 --state found --output found_next\n"
      "  eelsvae-detect scan.hspy --expectation denoised.npy\n"
      "  eelsvae-detect --manifest cubes.csv --model run --output results\n"
      "does the same in all images of a list, as often as it is started at once, on any machine that sees "
      "the folder: each takes what nobody has begun. The list names its columns in the first line: path, if "
      "wanted "
      "name, truth and keys of the configuration. results then holds a folder for each, cubes.csv and "
      "index.html.");
  app.add_option("DATA,--data", request.data, "spectrum image (otherwise the one the model was trained on)");
  app.add_option("--model", request.model, "run folder of eelsvae-train, or a checkpoint");
  app.add_option("--baseline", request.baseline,
                 "instead of a model: mean; local or local:R, the mean of the spectra up to R pixels (8) "
                 "around each; pca:K "
                 "or rx:K with K components, pca:auto or rx:auto (pca and rx are "
                 "the same), which keeps the components in which neighbouring pixels are alike");
  app.add_option(
      "--expectation", request.expectation,
      "instead of a model: what another program makes of DATA (a denoiser, a PCA, a diffusion model), as an "
      "image of the same size in the same units, in any format that is read; it is prepared as DATA is");
  app.add_option(
      "--state", request.state,
      "folder of a detection in another scan of the specimen (or its state.safetensors): DATA is scored as "
      "that was, by the same baseline, noise and threshold; with --model where that was found by a model");
  app.add_option("--fit", request.fit, "image that the baseline is fitted to (otherwise DATA itself)");
  app.add_option("--beside", request.beside,
                 "also look with this baseline, by the same score, and show its map and what it finds beside "
                 "the rest (repeatable)")
      .type_name("NAME")
      .one_value_each_time();
  app.add_option("--config", request.config,
                 "configuration that a baseline or an expectation takes its preprocessing from");
  app.add_option("--minutes", request.minutes,
                 "time for everything, where nothing else says what is expected")
      .default_str("5");
  app.add_option("--output", request.output, "folder for the results").capture_default_str();
  app.add_option("--truth", request.truth, "mask (y, x) of known anomalies, .npy; adds F1 and the like");
  app.add_option("--manifest", batch.list, "list of spectrum images, .csv, instead of DATA");
  app.add_flag("--retry-failed", batch.retry_failed, "of that list, also try again what has failed");
  app.add_flag("--save-reconstruction", request.save_reconstruction,
               "also write reconstruction.npy (y, x, E)");
  app.add_option("--set", request.settings, "override a key: --set detection.threshold=0.3 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  return app.run(argc, argv, [&] {
    if (batch.list.empty() && batch.retry_failed)
      throw UserError("--retry-failed belongs to --manifest LIST");
    return batch.list.empty() ? run_detection(request) : run_batch(batch);
  });
}
