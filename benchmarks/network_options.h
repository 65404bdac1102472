#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>

#include "engine/network/model.h"

namespace eelsvae {

// What every comparison of the published network with something else can be told.
struct NetworkOptions {
  std::string precision = "fp32", kernels = "auto";
  int64_t batch = 1, energy = ModelShape().energy;
  int rounds = 9;

  void add_to(CLI::App& app) {
    app.add_option("--precision", precision, "fp32 or bf16")->capture_default_str();
    app.add_option("--kernels", kernels, "auto, or a set of instructions: avx2")->capture_default_str();
    app.add_option("--batch", batch, "tiles")->capture_default_str()->check(CLI::PositiveNumber);
    app.add_option("--energy", energy, "channels, a multiple of 16")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--rounds", rounds, "timed repetitions")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
  }
  ModelShape shape() const {
    ModelShape shape;
    shape.energy = energy;
    return shape;
  }
};

}  // namespace eelsvae
