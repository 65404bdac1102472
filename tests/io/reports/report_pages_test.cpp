// Reports in a browser: they render, answer to clicks and keys, complain of nothing and ask for nothing.

#include <cmath>
#include <ctime>
#include <limits>

#include "io/batch/batch_table.h"
#include "io/files/atomic_file.h"
#include "io/reports/detection_report.h"
#include "io/reports/study_report.h"
#include "io/reports/training_report.h"
#include "kernels/philox.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

// A film with a line that is shifted in two places, and everything a report can tell of it.
struct Film {
  static constexpr int64_t rows = 48, columns = 60, channels = 240;
  SpectrumImage image;
  Expectation expectation;
  Detection found;
  Config config;
  DetectionReport report{image, expectation, found, config, "film.hspy", "runs/film"};

  static bool shifted(int64_t y, int64_t x) {
    return std::hypot(y - 12.0, x - 40.0) < 4 || std::hypot(y - 34.0, x - 18.0) < 2.5;
  }

  Film() {
    image.title = "BiFeO3 film, simulated";
    image.y = {"y", "nm", 0, 0.8, rows};
    image.x = {"x", "nm", 0, 0.8, columns};
    image.energy = {"Energy loss", "eV", 690, 0.3, channels};
    found.threshold = 0.2;
    for (int64_t pixel = 0; pixel < rows * columns; ++pixel) {
      const int64_t y = pixel / columns, x = pixel % columns;
      const bool excluded = y >= 40 && x >= 52, anomalous = shifted(y, x);
      image.excluded.push_back(excluded);
      report.truth.push_back(anomalous);
      double sum = 0;
      for (int64_t e = 0; e < channels; ++e) {
        const double energy = image.energy.value(static_cast<double>(e));
        auto peak = [&](double centre) { return 0.5 * std::exp(-std::pow((energy - centre) / 2, 2)); };
        const double expected = 0.6 * std::pow(energy / 690, -3) + peak(717.5);
        const double u =
            uniform(philox(1, RandomStream::simulation, 0, static_cast<uint64_t>(pixel * channels + e)).v[0]);
        const double observed =
            (anomalous ? 0.6 * std::pow(energy / 690, -3) + peak(719.9) : expected) + 0.12 * (u - 0.5);
        image.counts.push_back(excluded ? 0.0f : static_cast<float>(observed));
        expectation.spectra.push_back(excluded ? 0.0f : static_cast<float>(expected));
        sum += std::pow(observed - expected, 2);
      }
      found.scores.push_back(excluded ? NAN : static_cast<float>(sum / 10));
      found.mask.push_back(found.scores.back() > 0.2f);
      found.deviations.push_back(anomalous ? Deviation{80, 95, -8.3f, -0.38f} : Deviation{5, 6, 2.1f, 0.04f});
    }
    found.regions = find_regions(image, expectation.spectra, found.scores, found.mask);
    expectation.grid = make_tile_grid(rows, columns, 12, 6);
    for (const auto& [y, x] : expectation.grid->origins)
      for (int64_t unit = 0; unit < 5; ++unit)
        expectation.latent.push_back(
            static_cast<float>((unit % 3 == 1 ? 2 : 0.5) *
                               std::sin(0.9 * static_cast<double>(unit + 1) *
                                        (static_cast<double>(y) / 11 + static_cast<double>(x) / 17))));
    EmpiricalNull null;
    null.location = 0.029;
    null.scale = 0.003;
    null.normal_share = 0.97;
    found.null = null;
    config.detection.score = Score::pearson;
    config.detection.window = {{714, 724}};
    found.window = {80, 115};
    report.metrics = detection_metrics(found.scores, report.truth, found.threshold, image.excluded);
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
      report.history.push_back(record);
    }
    report.provenance.versions = {{"eelsvae", "0.1.0"}, {"oneDNN", "2.6.3"}};
    Detection other = found;
    for (size_t i = 0; i < other.scores.size(); ++i) {
      other.scores[i] = image.excluded[i] ? NAN : 0.1f * static_cast<float>(i % 7);
      other.mask[i] = i % 7 == 6 && !image.excluded[i];
    }
    report.beside = {{"mean spectrum", "pearson", other, std::nullopt}};
  }
};

// Of the same film, with nothing else known of it.
std::string bare_report(const Film& film) {
  SpectrumImage image = film.image;
  for (Axis* axis : {&image.y, &image.x, &image.energy}) axis->units.clear();
  image.excluded.clear();
  Detection found;
  found.scores = film.found.scores;
  found.mask = film.found.mask;
  found.deviations.resize(found.scores.size());
  Expectation expected;
  expected.spectra = film.expectation.spectra;
  return render_report({image, expected, found, Config(), "", ""});
}

std::string training_report(const Film& film, TrainingReport::Progress progress) {
  Config config;
  config.data.data_path = "film.hspy";
  config.training.epochs = 60;
  config.detection.window = {{714, 724}};
  ReconstructedTile tile = {{4, 24}, 24, true, 30, {}, {}};
  for (int64_t y = tile.origin.y; y < tile.origin.y + tile.size; ++y) {
    const int64_t first = (y * Film::columns + tile.origin.x) * Film::channels,
                  count = tile.size * Film::channels;
    tile.observed.insert(tile.observed.end(), film.image.counts.begin() + first,
                         film.image.counts.begin() + first + count);
    tile.reconstruction.insert(tile.reconstruction.end(), film.expectation.spectra.begin() + first,
                               film.expectation.spectra.begin() + first + count);
  }
  for (size_t i = 0; i < tile.reconstruction.size(); ++i)  // a model that knows of thickness, roughly
    tile.reconstruction[i] *= 1 + 0.02f * static_cast<float>(i / Film::channels % 5);
  TrainingReport report{film.image, config, progress, film.report.history, &tile};
  report.written = std::time(nullptr);
  report.next_seconds = 60;
  report.provenance.versions = {{"eelsvae", "0.1.0"}};
  return render_training_report(report);
}

// Nobody marks the report of a run that was killed.
std::string lost_report(const Film& film) {
  TrainingReport report{film.image, film.config};
  report.written = std::time(nullptr) - 600;
  report.next_seconds = 5;
  return render_training_report(report);
}

std::string study_report() {
  StudyReport report;
  report.device = "a <b>processor</b>";
  report.study.evaluation.presets = {"bfo"};
  using Part = StudyCell::Part;
  for (const auto& [part, subject, amount] : {std::tuple{Part::published, "roll 3", 0.0163},
                                              {Part::published, "roll 8", 0.0163},
                                              {Part::published, "move 3", 0.0163},
                                              {Part::defects, "fe-shift:1.5", 60.0},
                                              {Part::defects, "broadening:0.5", 60.0},
                                              {Part::normal, "", 0.0},
                                              {Part::sweep, "as configured", 60.0}})
    for (int64_t seed : {1, 2}) {
      StudyResult& result = report.results.emplace_back();
      result.cell = {part, "bfo", seed, subject, amount};
      for (const char* source : {"model", "mean"})
        for (Score score : {Score::pearson, Score::whitened}) {
          ScoreOutcome& outcome = result.outcomes.emplace_back();
          outcome.source = source;
          outcome.footing = "clean";
          outcome.score = score;
          if (score == Score::pearson) outcome.kind = ScoreOutcome::Kind::published;
          outcome.average_precision = 0.4 + 0.1 * static_cast<double>(seed);
          for (ThresholdMethod method :
               {ThresholdMethod::otsu, ThresholdMethod::fdr, ThresholdMethod::conformal})
            outcome.thresholds.push_back({method, 0.05, 40, 2 + seed, 20, 9000});
        }
    }
  return study_html(report);
}

// Four images, of which one has failed and one is not to be trusted.
std::string page_of_many() {
  std::vector<CubeResult> results(4);
  for (size_t i = 0; i < results.size(); ++i) {
    results[i].cube = {"film-" + std::to_string(i), "films/<b>" + std::to_string(i) + ".dm4", "", {}};
    results[i].attempt = {1, SharedWork::State::done, "", "host", "", 12.5, false};
    results[i].summary = {
        {"pixels", 1000},
        {"excluded_pixels", 3},
        {"anomalous_pixels", 7 * i},
        {"regions", i},
        {"trusted", i != 2},
        {"threshold", 4.5},
        {"model", "mean"},
        {"reasons", {"a reason"}},
        {"predictive_deviance",
         {{"mean", 1.01 + 0.01 * static_cast<double>(i)}, {"model", nullptr}, {"pca", 1.005}}}};
  }
  results[3].summary = nullptr;
  results[3].attempt = {1, SharedWork::State::refused, "", "host", "cut off: <i>the file</i>", 0.5, false};
  return batch_html(batch_rows(results), {"list.csv", "eelsvae 0.1.0"}, {"--baseline", "mean"});
}

class ReportPagesTest : public FileTest {};

TEST_F(ReportPagesTest, AnswerInABrowser) {
  const Film film;
  write_file(path("detection.html"), render_report(film.report));
  write_file(path("bare.html"), bare_report(film));
  write_file(path("running.html"), training_report(film, TrainingReport::Progress::running));
  write_file(path("stopped.html"), training_report(film, TrainingReport::Progress::stopped));
  write_file(path("lost.html"), lost_report(film));
  write_file(path("study.html"), study_report());
  write_file(path("many.html"), page_of_many());
  const ProgramResult result =
      run_python("check_report.py", {"study=" + path("study.html"), "many=" + path("many.html"),
                                     "detection=" + path("detection.html"), "plain=" + path("bare.html"),
                                     "training=" + path("running.html"), "ended=" + path("stopped.html"),
                                     "lost=" + path("lost.html")});
  if (result.status == 77) GTEST_SKIP() << "no browser: " << result.out;
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  std::printf("%s", result.out.c_str());
}

}  // namespace
}  // namespace eelsvae
