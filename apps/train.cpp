#include "apps/command_line.h"
#include "io/run/jobs.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  TrainingRequest request;
  CommandLine app("Trains a model of the normal spectra of an EELS spectrum image.", "eelsvae-train");
  app.footer(
      "Examples:\n"
      "  eelsvae-train --init scan.dm4 > mine.json\n"
      "  eelsvae-train --config mine.json --output run\n"
      "  eelsvae-train configs/cuzn.json --data CuZn_EELS_mapping.hspy --output run\n"
      "Ctrl-C finishes the step, saves and exits with status 130; --resume continues with the same bits as "
      "if\n"
      "it had never stopped. docs/config.md lists every key of the configuration.");
  app.add_option("CONFIG,--config", request.config, "configuration, JSON");
  app.add_option(
         "--init", request.init,
         "write a complete configuration that fits this spectrum image to stdout and stop; why it is so "
         "goes to stderr, a line for each choice")
      .type_name("SCAN");
  app.add_option("--data", request.data, "spectrum image (instead of data.data_path)");
  app.add_option("--output", request.output, "run folder").capture_default_str();
  app.add_option("--set", request.settings, "override a key: --set training.epochs=5 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  app.add_option("--minutes", request.minutes, "end after so many, at the end of an epoch");
  app.add_flag("--resume", request.resume, "continue the run in the output folder");
  app.add_option("--weights", request.weights,
                 "start from the weights of this checkpoint instead of random ones");
  app.add_flag("--plan{summary}", request.plan,
               "say how much memory the training needs and stop; --plan=full lists every buffer")
      .check_member({"summary", "full"});
  return app.run(argc, argv, [&] { return run_training(request); });
}
