#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "io/simplon/scan_of_series.h"

namespace eelsvae {

// Keeps what a sink is given.
class ScansSeen final : public ScanSink {
 public:
  struct Scan {
    DetectorScan scan;
    std::vector<std::vector<float>> spectra;  // of each pixel; empty: none came
    ScanFrames frames;
    bool over = false, ended = false;
  };

  void scan_started(const DetectorScan& scan) override {
    EXPECT_TRUE(scans.empty() || scans.back().over);
    scans.push_back(
        {scan, std::vector<std::vector<float>>(static_cast<size_t>(scan.height * scan.width)), {}});
  }
  void spectra(int64_t first, int64_t count, std::span<const float> spectra) override {
    blocks.push_back({first, count});
    Scan& scan = scans.back();
    const auto channels = static_cast<size_t>(scan.scan.energy.size);
    ASSERT_EQ(spectra.size(), static_cast<size_t>(count) * channels);
    for (int64_t i = 0; i < count; ++i) {
      const auto spectrum = spectra.subspan(static_cast<size_t>(i) * channels, channels);
      EXPECT_TRUE(scan.spectra.at(static_cast<size_t>(first + i)).empty());
      scan.spectra[static_cast<size_t>(first + i)] = {spectrum.begin(), spectrum.end()};
    }
    if (on_spectra) on_spectra();
  }
  void scan_ended(const ScanFrames& frames, bool ended) override {
    scans.back().frames = frames;
    scans.back().over = true;
    scans.back().ended = ended;
  }
  void report(const std::string& line) override { lines.push_back(line); }

  bool reported(const std::string& part) const {
    for (const std::string& line : lines)
      if (line.find(part) != std::string::npos) return true;
    return false;
  }

  std::vector<Scan> scans;
  std::vector<std::pair<int64_t, int64_t>> blocks;
  std::vector<std::string> lines;
  std::function<void()> on_spectra;
};

}  // namespace eelsvae
