#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>

#include "io/program.h"

namespace eelsvae {

// The whole of a program's main(): adds --version, reads the command line into the app's options and runs the
// body as run_program does. A command line that cannot be understood is one line on stderr and exit status 2,
// like every other mistake of the user.
inline int run_command(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  app.set_version_flag("--version", app.get_name() + " " + EELSVAE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    std::string message = error.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    std::fprintf(stderr, "%s: %s; %s --help lists the options\n", app.get_name().c_str(), message.c_str(),
                 app.get_name().c_str());
    return 2;
  }
  return run_program(app.get_name().c_str(), body);
}

}  // namespace eelsvae
