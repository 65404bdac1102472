// Reports in a browser: they render, answer to clicks and keys, complain of nothing and ask for nothing.

#include <cmath>
#include <ctime>
#include <limits>

#include "io/files/atomic_file.h"
#include "io/reports/report.h"
#include "io/reports/training_report.h"
#include "kernels/philox.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

// A film with a line that is shifted in two places, and everything a report can tell of it.
struct Film {
  static constexpr int64_t rows = 48, columns = 60, channels = 240;
  std::vector<float> scores, observed, reconstruction, thickness, means;
  std::vector<uint8_t> mask, excluded, truth;
  std::vector<Deviation> deviations;
  std::vector<Region> regions;
  std::vector<TileOrigin> origins;
  DetectionReport report;

  static bool shifted(int64_t y, int64_t x) {
    return std::hypot(y - 12.0, x - 40.0) < 4 || std::hypot(y - 34.0, x - 18.0) < 2.5;
  }

  Film() {
    report.y = {"y", "nm", 0, 0.8, rows};
    report.x = {"x", "nm", 0, 0.8, columns};
    report.energy = {"Energy loss", "eV", 690, 0.3, channels};
    for (int64_t pixel = 0; pixel < rows * columns; ++pixel) {
      const int64_t y = pixel / columns, x = pixel % columns;
      excluded.push_back(y >= 40 && x >= 52);
      truth.push_back(shifted(y, x));
      thickness.push_back(excluded.back() ? NAN : 30.0f + 0.2f * static_cast<float>(x));
      double sum = 0;
      for (int64_t e = 0; e < channels; ++e) {
        const double energy = report.energy.value(static_cast<double>(e));
        auto peak = [&](double centre) { return 0.5 * std::exp(-std::pow((energy - centre) / 2, 2)); };
        const double expected = 0.6 * std::pow(energy / 690, -3) + peak(717.5);
        const double u =
            uniform(philox(1, RandomStream::simulation, 0, static_cast<uint64_t>(pixel * channels + e)).v[0]);
        const double found =
            (truth.back() ? 0.6 * std::pow(energy / 690, -3) + peak(719.9) : expected) + 0.12 * (u - 0.5);
        observed.push_back(excluded.back() ? 0.0f : static_cast<float>(found));
        reconstruction.push_back(excluded.back() ? 0.0f : static_cast<float>(expected));
        sum += std::pow(found - expected, 2);
      }
      scores.push_back(excluded.back() ? NAN : static_cast<float>(sum / 10));
      mask.push_back(scores.back() > 0.2f);
      deviations.push_back(truth.back() ? Deviation{80, 95, -8.3f, -0.38f} : Deviation{5, 6, 2.1f, 0.04f});
    }
    for (const auto& [centre_y, centre_x] : {std::pair{12.0, 40.0}, {34.0, 18.0}}) {
      Region region;
      region.deviation.assign(channels, 0);
      region.highest_score = 0;
      region.y = centre_y * 0.8;
      region.x = centre_x * 0.8;
      for (int64_t pixel = 0; pixel < rows * columns; ++pixel) {
        if (!mask[pixel] || std::hypot(pixel / columns - centre_y, pixel % columns - centre_x) > 6) continue;
        region.pixels.push_back(pixel);
        if (scores[pixel] > region.highest_score) {
          region.highest_score = scores[pixel];
          region.strongest = pixel;
        }
        for (int64_t e = 0; e < channels; ++e)
          region.deviation[e] += observed[pixel * channels + e] - reconstruction[pixel * channels + e];
      }
      region.area = static_cast<double>(region.pixels.size()) * 0.64;
      for (float& value : region.deviation) value /= static_cast<float>(region.pixels.size());
      regions.push_back(region);
    }
    for (int64_t y = 0; y + 12 <= rows; y += 6)
      for (int64_t x = 0; x + 12 <= columns; x += 6) {
        origins.push_back({y, x});
        for (int64_t unit = 0; unit < 5; ++unit)
          means.push_back(
              static_cast<float>((unit % 3 == 1 ? 2 : 0.5) *
                                 std::sin(0.9 * static_cast<double>(unit + 1) *
                                          (static_cast<double>(y) / 11 + static_cast<double>(x) / 17))));
      }
    report.title = "BiFeO3 film, simulated";
    report.data_file = "film.hspy";
    report.model = "runs/film";
    report.score = "pearson";
    report.scores = scores;
    report.mask = mask;
    report.excluded = excluded;
    report.truth = truth;
    report.threshold = 0.2;
    report.threshold_method = "false discovery rate 5 %";
    report.false_discovery_rate = 0.05;
    report.false_discoveries = 2.2;
    for (int i = 0; i < 200; ++i) {
      const double score = 0.005 * i;
      report.null_curve.emplace_back(score, 20000 * std::exp(-std::pow((score - 0.03) / 0.03, 2)));
    }
    report.window = {{80, 115}};
    report.observed = observed;
    report.reconstruction = reconstruction;
    report.deviations = deviations;
    report.regions = regions;
    report.latent = LatentTiles{means, origins, 12};
    report.layers = {{"thickness (nm)", thickness}};
    report.metrics = {{"F1", 0.95}, {"precision", 0.97}, {"recall", 0.93}};
    for (int64_t epoch = 1; epoch <= 30; ++epoch)
      report.history.push_back(
          {epoch, 800 + 400.0 / static_cast<double>(epoch), 820 + 420.0 / static_cast<double>(epoch)});
    report.configuration = R"({"training": {"epochs": 30}})";
    report.versions = {{"eelsvae", "0.1.0"}, {"oneDNN", "2.6.3"}};
  }
};

std::string bare_report(const Film& film) {
  DetectionReport bare;
  bare.y = film.report.y;
  bare.x = film.report.x;
  bare.energy = film.report.energy;
  bare.energy.units = bare.x.units = bare.y.units = "";
  bare.scores = film.report.scores;
  bare.mask = film.report.mask;
  return render_report(bare);
}

std::string training_report(const Film& film, TrainingReport::Progress progress) {
  Config config;
  config.training.epochs = 60;
  config.detection.window = {{714, 724}};
  std::vector<EpochRecord> history;
  for (int64_t epoch = 1; epoch <= 30; ++epoch) {
    const double fall = 1 / static_cast<double>(epoch);
    EpochRecord record;
    record.epoch = epoch;
    record.training = {800 + 400 * fall, 780 + 300 * fall, 20 + 100 * fall};
    record.validation = EpochLoss{820 + 420 * fall, 795 + 310 * fall, 25 + 110 * fall};
    record.learning_rate = epoch < 20 ? 1e-4 : 5e-5;
    record.gradient_norm = 3 + 50 * fall;
    record.active_latent_units = std::min<int64_t>(epoch, 12);
    record.seconds = 4;
    history.push_back(record);
  }
  ReconstructedTile tile = {{4, 24}, 24, true, 30, {}, {}};
  for (int64_t y = tile.origin.y; y < tile.origin.y + tile.size; ++y) {
    const int64_t first = (y * Film::columns + tile.origin.x) * Film::channels,
                  count = tile.size * Film::channels;
    tile.observed.insert(tile.observed.end(), film.observed.begin() + first,
                         film.observed.begin() + first + count);
    tile.reconstruction.insert(tile.reconstruction.end(), film.reconstruction.begin() + first,
                               film.reconstruction.begin() + first + count);
  }
  for (size_t i = 0; i < tile.reconstruction.size(); ++i)  // a model that knows of thickness, roughly
    tile.reconstruction[i] *= 1 + 0.02f * static_cast<float>(i / Film::channels % 5);
  TrainingReport report;
  report.title = film.report.title;
  report.data_file = "film.hspy";
  report.energy = film.report.energy;
  report.config = config;
  report.history = history;
  report.tile = &tile;
  report.written = std::time(nullptr);
  report.next_seconds = 5;
  report.versions = {{"eelsvae", "0.1.0"}};
  report.progress = progress;
  return render_training_report(report);
}

// Nobody marks the report of a run that was killed.
std::string lost_report() {
  TrainingReport report;
  report.energy = {"Energy loss", "eV", 690, 0.3, 16};
  report.written = std::time(nullptr) - 600;
  report.next_seconds = 5;
  return render_training_report(report);
}

class ReportPagesTest : public FileTest {};

TEST_F(ReportPagesTest, AnswerInABrowser) {
  const Film film;
  write_file(path("detection.html"), render_report(film.report));
  write_file(path("bare.html"), bare_report(film));
  write_file(path("running.html"), training_report(film, TrainingReport::Progress::running));
  write_file(path("stopped.html"), training_report(film, TrainingReport::Progress::stopped));
  write_file(path("lost.html"), lost_report());
  const ProgramResult result =
      run_python("check_report.py", {"detection=" + path("detection.html"), "plain=" + path("bare.html"),
                                     "training=" + path("running.html"), "ended=" + path("stopped.html"),
                                     "lost=" + path("lost.html")});
  if (result.status == 77) GTEST_SKIP() << "no browser: " << result.out;
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  std::printf("%s", result.out.c_str());
}

}  // namespace
}  // namespace eelsvae
