// eelsvae-info: what is in a file, from its headers.

#include <iostream>

#include "apps/command_line.h"
#include "io/run/jobs.h"
#include "kernels/error.h"

using namespace eelsvae;

int main(int argc, char** argv) {
  CommandLine app(
      "Says what is in a file: images, axes, units and type; tensors of a model file. Reads headers only.",
      "eelsvae-info");
  app.footer("Example: eelsvae-info specimen.hspy");
  std::string path;
  bool as_json = false;
  app.add_option("FILE", path, "A spectrum image or a model.safetensors").required();
  app.add_flag("--json", as_json, "Print JSON");
  return app.run(argc, argv, [&] {
    std::cout << contents_of(path, as_json) << std::flush;
    if (!std::cout) throw UserError("cannot write to stdout");
    return 0;
  });
}
