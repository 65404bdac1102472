#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/specimen/simulate.h"
#include "include/eelsvae/eelsvae.hpp"

namespace eelsvae {

// A simulated film with anomalies, 24 x 24 pixels and 64 channels.
inline SpectrumImage film(uint64_t seed = 3) {
  SimulationSettings settings;
  settings.height = 24;
  settings.width = 24;
  settings.channels = 64;
  settings.energy_offset_ev = 700;
  settings.seed = seed;
  return simulate(settings).image;
}

inline eelsvae_image image_of(const SpectrumImage& from) {
  return api::image_of(from.counts.data(), from.y.size, from.x.size, from.energy.size, from.energy.offset,
                       from.energy.scale);
}

// A small network, trained for a moment, and judged by a tile that it was not shown.
inline const char* const small_network =
    R"({"tiles": {"image_size": 8, "sliding_window_stride": 8},
        "model": {"channels": [4, 8, 8, 16], "hidden": 32, "latent_dim": 4},
        "preprocess": {"sigma": 0, "xy_window": 1},
        "training": {"epochs": 2, "batch_size": 2, "validation_fraction": 0.2}, "precision": "fp32", "device": "cpu"})";

// What a call had to say: "" if it did its work, otherwise a line, of a mistake.
inline std::string mistake(eelsvae_status status) {
  const std::string text = eelsvae_last_message();
  if (status == EELSVAE_OK) {
    EXPECT_EQ(text, "");
    return "";
  }
  EXPECT_EQ(status, EELSVAE_MISTAKE) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  EXPECT_NE(text, "");
  return text;
}

inline void expect_mistake(eelsvae_status status, const std::string& part) {
  const std::string text = mistake(status);
  EXPECT_NE(text.find(part), std::string::npos) << "'" << text << "' does not say '" << part << "'";
}

// A model is trained once for all of a program's tests. There is one way to compute: of two that are about as
// fast, the library and the engine beside it, or one thread and two, may take another, which rounds
// differently.
class InterfaceTest : public testing::Test {
 protected:
  InterfaceTest() : counts_(film()), image_(image_of(counts_)) { folder(); }

  // Of this process; it is removed at its end.
  static const std::filesystem::path& folder() {
    struct Folder {
      Folder() {
        std::string name = testing::TempDir() + "eelsvae-interface-XXXXXX";
        if (!mkdtemp(name.data())) throw std::runtime_error("cannot make a temporary folder");
        path = name;
        setenv("XDG_CACHE_HOME", name.c_str(), 1);
        setenv("EELSVAE_MAX_ISA", "avx2", 1);
      }
      ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
      }
      std::filesystem::path path;
    };
    static const Folder made;
    return made.path;
  }

  // On the film.
  static const api::Model& model() {
    static const SpectrumImage counts = film();
    static const api::Model trained = [] {
      api::Options options;
      options.threads = 1;
      return api::Model::train(image_of(counts), api::Config(small_network), options);
    }();
    return trained;
  }

  SpectrumImage counts_;
  eelsvae_image image_;
};

}  // namespace eelsvae
