#include "apps/command_line.h"
#include "io/run/jobs.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  StudyRequest request;
  CommandLine app("Measures how well anomalies are found: as published, and on specimens with known truth.",
                  "eelsvae-evaluate");
  app.footer(
      "Example:\n"
      "  eelsvae-evaluate configs/evaluate-quick.json --output study\n"
      "simulates, trains and scores; writes results.json, tables.md and report.html to the folder study.\n"
      "Ctrl-C stops with status 130; --resume goes on with the image that was not finished (its model is "
      "trained\n"
      "again). docs/evaluation.md says what is measured and lists the keys of the configuration.");
  app.add_option("CONFIG", request.config, "configuration, JSON");
  app.add_option(
      "--scenes", request.scenes,
      "instead: a folder of recorded scenes, .npz with data (y, x, E) and truth (y, x); a table of "
      "model, mean spectrum, PCA, RX and what eelsvae-detect chooses of them");
  app.add_option("--minutes", request.minutes, "time for the model of a scene");
  app.add_option("--output", request.output, "folder for the results").required();
  app.add_option("--set", request.settings, "override a key: --set evaluation.seeds=1,2 (repeatable)")
      .type_name("KEY=VALUE")
      .one_value_each_time();
  app.add_flag("--resume", request.resume, "continue the study in the output folder");
  app.add_flag("--plan", request.plan, "check the configuration, say how much there is to do, and stop");
  return app.run(argc, argv, [&] { return run_study(request); });
}
