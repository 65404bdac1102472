#include "io/reports/detection_report.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "engine/image/excluded.h"
#include "io/config/config.h"
#include "tests/io/reports/page_data.h"

namespace eelsvae {
namespace {

constexpr float nan_f = std::numeric_limits<float>::quiet_NaN();

// A report and what it refers to: scores up to 0.3 and one of 0.9, which alone is anomalous.
struct Sample {
  SpectrumImage image;
  Expectation expectation;
  Detection found;
  Config config;
  DetectionReport report{image, expectation, found, config, "film.dm3", "runs/film"};

  Sample(int64_t rows, int64_t columns, int64_t channels) {
    const auto pixels = static_cast<size_t>(rows * columns), count = static_cast<size_t>(channels);
    std::mt19937 random(3);
    std::uniform_real_distribution<float> uniform(0, 1);
    for (size_t i = 0; i < pixels; ++i) {
      found.scores.push_back(0.3f * uniform(random));
      for (size_t e = 0; e < count; ++e) {
        const float model = 0.2f + 0.6f * static_cast<float>(e) / static_cast<float>(count);
        expectation.spectra.push_back(model);
        image.counts.push_back(model + 0.1f * uniform(random));
      }
    }
    found.scores[pixels / 2] = 0.9f;
    found.mask.assign(pixels, 0);
    found.mask[pixels / 2] = 1;
    found.deviations.resize(pixels);
    found.threshold = 0.3125;
    config.detection.threshold = 0.3125;
    config.detection.score = Score::pearson;
    image.title = "BiFeO3 film";
    image.y = {"y", "nm", 0, 0.8, rows};
    image.x = {"x", "nm", 0, 0.8, columns};
    image.energy = {"Energy loss", "eV", 423.3, 0.3, channels};
  }
  Sample(const Sample&) = delete;

  void set_truth(std::initializer_list<size_t> anomalous) {
    report.truth.assign(found.scores.size(), 0);
    for (size_t pixel : anomalous) report.truth[pixel] = 1;
    report.metrics = detection_metrics(found.scores, report.truth, found.threshold, image.excluded);
  }
  nlohmann::json data() const { return data_of(render_report(report)); }
};

template <typename T>
std::vector<T> decoded(const nlohmann::json& base64) {
  std::string bytes;
  uint32_t group = 0, bits = 0;
  for (char c : base64.get<std::string>()) {
    if (c == '=') break;
    const uint32_t digit = c >= 'a'   ? c - 'a' + 26
                           : c >= 'A' ? c - 'A'
                           : c >= '0' ? c - '0' + 52
                           : c == '+' ? 62
                                      : 63;
    group = group << 6 | digit;
    if ((bits += 6) >= 8) bytes += static_cast<char>(group >> (bits -= 8) & 255);
  }
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

// The stored spectrum in a slot of a table.
template <typename T>
std::vector<double> spectrum_in(const nlohmann::json& table, size_t slot, const char* values,
                                const char* ranges) {
  const auto steps = decoded<T>(table[values]);
  const auto range = decoded<float>(table[ranges]);
  const size_t channels = table["channels"];
  std::vector<double> spectrum(channels);
  for (size_t e = 0; e < channels; ++e) {
    spectrum[e] = range[2 * slot] + (range[2 * slot + 1] - static_cast<double>(range[2 * slot])) *
                                        steps[slot * channels + e] / std::numeric_limits<T>::max();
  }
  return spectrum;
}

TEST(Report, SaysWhatWasFound) {
  Sample sample(96, 96, 8);
  std::fill_n(sample.found.mask.begin(), 61, 1);
  sample.found.mask[96 * 48] = 0;
  auto data = sample.data();
  EXPECT_EQ(data["title"], "BiFeO3 film");
  EXPECT_EQ(data["headline"], "61 of 9,216 spectra do not fit (0.662 %), threshold 0.312 (given)");
  EXPECT_EQ(data["origin"],
            nlohmann::json({"Data: film.dm3", "96 \u00d7 96 pixels (y, x)", "8 channels, 423 to 425 eV",
                            "Model: runs/film", "Score: pearson"}));
  EXPECT_EQ(data["scaleLabel"], "20 nm");
  EXPECT_EQ(data["configuration"], to_json_text(sample.config));
  EXPECT_FALSE(data["hasTruth"]);
  for (const char* absent : {"window", "regions", "latent", "metrics", "history"})
    EXPECT_TRUE(data[absent].is_null()) << absent;
  EXPECT_TRUE(data["sublines"].empty());

  sample.image.title.clear();
  sample.image.energy = {"Energy loss", "", 423.3, 0.3, 8};
  sample.expectation.own_scores = sample.found.scores;
  data = sample.data();
  EXPECT_EQ(data["title"], "Anomalous spectra");
  EXPECT_EQ(data["origin"][2], "8 channels");
  EXPECT_EQ(data["origin"][4], "Score: own");
  EXPECT_EQ(Sample(1, 1, 1).data()["headline"],
            "1 of 1 spectrum does not fit (100 %), threshold 0.312 (given)");
}

TEST(Report, ShowsWhatIsGiven) {
  Sample sample(4, 5, 40);
  sample.set_truth({10, 11});
  sample.config.detection.window = {{426.3, 429.3}};
  sample.found.window = {10, 20};
  sample.report.provenance.versions = {{"oneDNN", "2.6.3"}};
  sample.report.history.resize(2);
  sample.report.history[0] = {
      .epoch = 1, .training = {.loss = 2000.5}, .validation = EpochLoss{.loss = 2100.25}};
  sample.report.history[1] = {.epoch = 2, .training = {.loss = std::nan("")}, .validation = {}};
  const auto data = sample.data();
  EXPECT_EQ(data["headline"], "1 of 20 spectra does not fit (5 %), threshold 0.312 (given)");
  EXPECT_EQ(data["sublines"], nlohmann::json({"1 of 2 known anomalies found, no false alarms."}));
  std::vector<std::string> names;
  for (const auto& tile : data["metrics"]) names.push_back(tile[0]);
  EXPECT_EQ(names, (std::vector<std::string>{"F1", "precision", "recall", "average precision", "ROC-AUC",
                                             "found", "missed", "false alarms", "rightly left"}));
  EXPECT_NEAR(data["metrics"][0][1], 2.0 / 3, 1e-9);
  EXPECT_EQ(data["metrics"][4][1], *sample.report.metrics->roc_auc);
  EXPECT_EQ(data["metrics"][6][1], 1) << "missed";
  EXPECT_EQ(data["metrics"][8][1], 18) << "rightly left";
  EXPECT_EQ(data["versions"], nlohmann::json::parse(R"([["oneDNN", "2.6.3"]])"));
  EXPECT_EQ(data["history"], nlohmann::json::parse(R"([{"epoch": 1, "train": 2000.5, "validation": 2100.25},
                                                       {"epoch": 2, "train": null, "validation": null}])"));
  EXPECT_NEAR(data["window"][0], 423.3 + 0.3 * 9.5, 1e-9);
  EXPECT_NEAR(data["window"][1], 423.3 + 0.3 * 19.5, 1e-9);
  EXPECT_EQ(data["ranking"].size(), 20u);
  EXPECT_EQ(data["ranking"][0], 10);
  const auto flags = decoded<uint8_t>(data["flags"]);
  EXPECT_EQ(flags[10], 3);
  EXPECT_EQ(flags[11], 2);
}

TEST(Report, SetsOtherExpectationsBesideItsOwn) {
  Sample sample(4, 5, 40);
  sample.set_truth({10, 11});
  EXPECT_EQ(sample.data()["beside"], nlohmann::json::array());
  Detection other = sample.found;
  other.scores.assign(20, 0.1f);
  other.mask.assign(20, 0);
  other.mask[3] = 1;
  other.doubts = {"it is a test"};
  sample.report.beside.push_back({"mean spectrum", "pearson", other,
                                  detection_metrics(other.scores, sample.report.truth, other.threshold, {})});
  const auto beside = sample.data()["beside"];
  ASSERT_EQ(beside.size(), 2u);
  EXPECT_EQ(beside[0]["name"], "runs/film");
  EXPECT_EQ(beside[0]["lines"],
            nlohmann::json({"1 do not fit", "1 of 2 known anomalies found, no false alarms"}));
  EXPECT_FALSE(beside[0].contains("scores")) << "the page has them already";
  EXPECT_EQ(beside[1]["name"], "mean spectrum");
  EXPECT_EQ(beside[1]["lines"], nlohmann::json({"1 do not fit, not to be trusted",
                                                "0 of 2 known anomalies found, no false alarms"}));
  EXPECT_EQ(decoded<float>(beside[1]["scores"]), other.scores);
  EXPECT_EQ(decoded<uint8_t>(beside[1]["mask"]), other.mask);
  const nlohmann::ordered_json summary = summary_json(sample.report);
  EXPECT_EQ(summary["beside"][0]["model"], "mean spectrum");
  EXPECT_EQ(summary["beside"][0]["anomalous_pixels"], 1);
  EXPECT_EQ(summary["beside"][0]["trusted"], false);
  EXPECT_EQ(summary["beside"][0]["f1"], 0.0);
  sample.report.beside[0].found.mask.pop_back();
  EXPECT_THROW(render_report(sample.report), std::logic_error);
}

TEST(Report, CountsExcludedPixelsApart) {
  Sample sample(4, 5, 50);
  std::vector<uint8_t>& excluded = sample.image.excluded;
  excluded.resize(20);
  for (size_t pixel : {3, 4, 8, 9}) {
    excluded[pixel] = pixel == 3 ? by_request : pixel == 4 ? saturated : without_counts;
    sample.found.scores[pixel] = nan_f;
    std::fill_n(sample.image.spectrum(static_cast<int64_t>(pixel)), 50, 0.0f);
  }
  sample.set_truth({9, 10});
  const auto data = sample.data();
  EXPECT_EQ(data["headline"], "1 of 16 spectra does not fit (6.25 %), threshold 0.312 (given)");
  EXPECT_EQ(
      data["sublines"],
      nlohmann::json({"3 pixels are set aside for want of counts or saturated (white).",
                      "1 pixel is excluded (grey).", "1 of 1 known anomalies found, no false alarms."}));
  EXPECT_EQ(data["metrics"].back(), nlohmann::json({"rightly left", 15}));
  const auto ranking = data["ranking"].get<std::vector<int64_t>>();
  EXPECT_EQ(ranking.size(), 16u);
  for (int64_t pixel : ranking) EXPECT_EQ(excluded[static_cast<size_t>(pixel)], 0) << pixel;
  const auto flags = decoded<uint8_t>(data["flags"]);
  for (size_t pixel = 0; pixel < 20; ++pixel)
    EXPECT_EQ(flags[pixel] & 12, excluded[pixel] == 0 ? 0 : pixel == 3 ? 4 : 12) << pixel;
  int64_t counted = 0;
  for (int64_t count : data["histogram"]["counts"]) counted += count;
  EXPECT_EQ(counted, 16);
  double expected = 0;
  for (size_t pixel = 0; pixel < 20; ++pixel)
    if (!excluded[pixel] && !sample.found.mask[pixel]) expected += sample.image.counts[pixel * 50 + 7] / 15.0;
  EXPECT_NEAR(decoded<float>(data["normalMean"])[7], expected, 1e-6);
  // The map of intensities spends its shades on the pixels that count.
  EXPECT_EQ(data["layers"][0]["name"], "mean intensity");
  const auto intensity = decoded<uint8_t>(data["layers"][0]["values"]);
  for (size_t pixel = 0; pixel < 20; ++pixel) EXPECT_EQ(intensity[pixel] == 0, excluded[pixel] != 0) << pixel;
  EXPECT_EQ(std::count(intensity.begin(), intensity.end(), 1), 1) << "the darkest";
  EXPECT_EQ(std::count(intensity.begin(), intensity.end(), 255), 1) << "the brightest";
}

TEST(Report, SaysAtItsTopWhyItIsNotToBeTrusted) {
  Sample sample(4, 5, 50);
  EXPECT_TRUE(sample.data()["doubts"].empty());
  sample.found.doubts = {"one reason", "another"};
  EXPECT_EQ(sample.data()["doubts"],
            nlohmann::json({"Not to be trusted: one reason.", "Not to be trusted: another."}));
}

TEST(Report, HoldsTheScoresAndSpectraOfASmallImage) {
  Sample sample(6, 9, 50);
  const auto data = sample.data();
  EXPECT_EQ(data["rows"], 6);
  EXPECT_EQ(data["columns"], 9);
  EXPECT_EQ(decoded<float>(data["scores"]), sample.found.scores);
  ASSERT_EQ(data["spectra"].size(), 1u);
  const auto& table = data["spectra"][0];
  EXPECT_EQ(table["bin"], 1);
  EXPECT_EQ(table["step"], 1);
  EXPECT_EQ(table["bits"], 16);
  for (size_t pixel : {0, 13, 53}) {
    const auto observed = spectrum_in<uint16_t>(table, pixel, "observed", "observedRange");
    const auto model = spectrum_in<uint16_t>(table, pixel, "reconstruction", "reconstructionRange");
    for (size_t e = 0; e < 50; ++e) {
      EXPECT_NEAR(observed[e], sample.image.counts[pixel * 50 + e], 2e-5);
      EXPECT_NEAR(model[e], sample.expectation.spectra[pixel * 50 + e], 2e-5);
    }
  }
  // The mean of all spectra but the anomalous one.
  const auto mean = decoded<float>(data["normalMean"]);
  double expected = 0;
  for (size_t pixel = 0; pixel < 54; ++pixel)
    expected += sample.found.mask[pixel] != 0 ? 0 : sample.image.counts[pixel * 50 + 7] / 53;
  EXPECT_NEAR(mean[7], expected, 1e-6);
}

TEST(Report, CountsEveryScoreInItsHistogram) {
  Sample sample(40, 50, 2);
  sample.found.scores[1] = 1e6f;
  sample.found.scores[2] = nan_f;
  sample.found.scores[3] = std::numeric_limits<float>::infinity();
  const auto histogram = sample.data()["histogram"];
  int64_t total = 0;
  for (int64_t count : histogram["counts"]) total += count;
  EXPECT_EQ(total, 1998);
  EXPECT_EQ(histogram["beyond"], 1);
  EXPECT_LT(histogram["high"], 10) << "one outlier must not flatten the rest";
  EXPECT_GE(histogram["high"], 0.9);
}

TEST(Report, LargeImagesStaySmallAndKeepTheAnomaliesInFull) {
  Sample sample(150, 130, 700);
  sample.found.deviations.assign(sample.found.scores.size(), Deviation{3, 9, 1, 1});
  sample.found.regions.assign(1, Region{{1}, 0, 0, 1, 1, 1, std::vector<float>(700)});
  const std::string page = render_report(sample.report);
  EXPECT_LT(page.size(), 9'000'000u);
  const auto data = data_of(page);
  ASSERT_EQ(data["spectra"].size(), 2u);
  const auto& full = data["spectra"][0];
  const auto& overview = data["spectra"][1];
  const size_t anomaly = 150 * 130 / 2;
  EXPECT_EQ(full["bin"], 1);
  EXPECT_EQ(full["pixels"][0], anomaly);
  EXPECT_NEAR(spectrum_in<uint16_t>(full, 0, "observed", "observedRange")[123],
              sample.image.counts[anomaly * 700 + 123], 2e-5);

  const size_t step = overview["step"], bin = overview["bin"];
  EXPECT_TRUE(overview["pixels"].is_null());
  EXPECT_GT(step * bin, 1u);
  EXPECT_EQ(overview["channels"], (700 + bin - 1) / bin);
  EXPECT_GE(overview["channels"], 256);
  // The second row and third column of the stored grid, its first averaged channel.
  const size_t across = (130 + step - 1) / step, slot = across + 2, pixel = step * 130 + 2 * step;
  double expected = 0;
  for (size_t e = 0; e < bin; ++e)
    expected += sample.image.counts[pixel * 700 + e] / static_cast<double>(bin);
  EXPECT_NEAR(spectrum_in<uint8_t>(overview, slot, "observed", "observedRange")[0], expected, 3e-3);
  EXPECT_EQ(decoded<float>(overview["observedRange"]).size(), 2 * across * ((150 + step - 1) / step));
}

TEST(Report, OfHalfAMillionSpectraTheHighestScoresAreExplained) {
  Sample sample(700, 714, 4);
  const size_t anomaly = sample.found.scores.size() / 2;
  sample.found.deviations[anomaly] = {1, 3, -5, -0.5f};
  const auto pixel = static_cast<int64_t>(anomaly);
  sample.found.regions.assign(1, Region{{pixel}, 0, 0, 1, pixel, 1, std::vector<float>(4)});
  const std::string page = render_report(sample.report);
  EXPECT_LT(page.size(), 9'000'000u);
  const auto data = data_of(page)["deviations"];
  const auto pixels = decoded<uint32_t>(data["pixels"]);
  EXPECT_EQ(pixels[0], anomaly);
  EXPECT_EQ(decoded<int16_t>(data["sizes"])[0], -50);
  EXPECT_EQ(decoded<uint16_t>(data["ranges"]).size(), 2 * pixels.size());
}

TEST(Report, HostileTextStaysText) {
  Sample sample(2, 2, 4);
  const std::string hostile =
      "</script><script>alert('x')</script><!-- <img src=x onerror=\"alert(1)\"> \xff\xfe \u2028 &amp; "
      "{{data}}";
  DetectionReport& report = sample.report;
  sample.image.title = report.data_file = report.model = hostile;
  sample.config.data.data_path = "</pre></script><script>alert";
  sample.image.x.units = sample.image.y.units = sample.image.energy.units = hostile;
  report.provenance.versions = {{hostile, hostile}};
  sample.set_truth({0});
  sample.found.regions.assign(1, Region{{0}, 0, 0, 1, 0, 1, std::vector<float>(4)});
  const std::string page = render_report(report);
  EXPECT_FALSE(has(page, "<script>alert"));
  EXPECT_FALSE(has(page, "<img"));
  size_t scripts = 0;
  for (size_t at = page.find("<script"); at != std::string::npos; at = page.find("<script", at + 1))
    ++scripts;
  EXPECT_EQ(scripts, 3u) << "the data, Chart.js and the page's own script, and no other";
  EXPECT_EQ(data_of(page)["x"]["units"].get<std::string>().substr(0, 9), "</script>");
}

TEST(Report, AsksForNothingFromOutside) {
  const std::string page = render_report(Sample(2, 2, 4).report);
  EXPECT_TRUE(has(page, "default-src 'none'"));
  EXPECT_TRUE(has(page, "Chart.js v"));
  for (const char* request :
       {" src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "import(", "{{data"}) {
    EXPECT_FALSE(has(page, request)) << request;
  }
}

TEST(Report, OddScoresAndShapes) {
  for (auto [rows, columns, channels] :
       {std::array<int64_t, 3>{1, 1, 1}, {1, 100, 20}, {60, 1, 20}, {3, 7, 4000}}) {
    for (float score : {0.0f, 0.25f, nan_f, std::numeric_limits<float>::infinity(), 3e38f, -3e38f}) {
      Sample sample(rows, columns, channels);
      std::fill(sample.found.scores.begin(), sample.found.scores.end(), score);
      std::fill(sample.found.mask.begin(), sample.found.mask.end(), uint8_t{1});
      sample.image.counts[0] = nan_f;
      sample.found.threshold = score;
      sample.image.x.scale = std::nan("");
      sample.image.energy.offset = nan_f;
      sample.report.history.resize(1);
      sample.report.history[0].training.loss = std::numeric_limits<double>::infinity();
      const auto data = sample.data();
      EXPECT_EQ(decoded<uint32_t>(data["scores"]).size(), sample.found.scores.size());
      EXPECT_TRUE(data["limits"][0].is_number() && data["limits"][1].is_number());
      EXPECT_LT(data["limits"][0], data["limits"][1]);
      EXPECT_LT(data["histogram"]["low"], data["histogram"]["high"]);
      EXPECT_TRUE(data["normalMean"].is_null()) << "there are no normal spectra to average";
      EXPECT_EQ(data["threshold"].is_null(), !std::isfinite(score));
    }
  }
}

TEST(Report, SaysHowItsThresholdWasFound) {
  Sample sample(4, 5, 8);
  DetectionConfig& config = sample.config.detection;
  config.threshold.reset();
  config.threshold_method = ThresholdMethod::otsu;
  auto data = sample.data();
  EXPECT_EQ(data["headline"], "1 of 20 spectra does not fit (5 %), threshold 0.312 (otsu)");
  EXPECT_EQ(data["thresholdMethod"], "otsu");
  config.threshold_method = ThresholdMethod::fdr;
  config.fdr = 0.05;
  // A null that expects so many of the 20 spectra above the threshold.
  auto expect_false = [&](double share) {
    EmpiricalNull null;
    null.scale = 1;
    null.location = sample.found.threshold - 0.5;
    null.normal_share = 1;
    null.normal_share = share / null.p_value(sample.found.threshold);
    sample.found.null = null;
  };
  expect_false(0.4 / 20);
  data = sample.data();
  EXPECT_EQ(data["headline"], "1 of 20 spectra does not fit (5 %), at a false-discovery rate of 5 %");
  EXPECT_EQ(data["sublines"][0], "None of them is expected to be false.");
  EXPECT_EQ(data["thresholdMethod"], "false-discovery rate");
  std::fill_n(sample.found.mask.begin(), 11, 1);
  expect_false(2.4 / 20);
  EXPECT_EQ(sample.data()["sublines"][0], "About 2 of them are expected to be false.");
  expect_false(1.2 / 20);
  EXPECT_EQ(sample.data()["sublines"][0], "About 1 of them is expected to be false.");

  // Nothing found, and with it no threshold.
  std::fill(sample.found.mask.begin(), sample.found.mask.end(), uint8_t{0});
  sample.found.threshold = std::numeric_limits<double>::infinity();
  data = sample.data();
  EXPECT_EQ(data["headline"], "All 20 spectra fit, at a false-discovery rate of 5 %");
  EXPECT_TRUE(data["sublines"].empty());
  EXPECT_TRUE(data["threshold"].is_null());
  Sample lone(1, 1, 8);
  lone.found.mask[0] = 0;
  EXPECT_EQ(lone.data()["headline"], "The only spectrum fits, threshold 0.312 (given)");
}

TEST(Report, DrawsTheNullInCountsPerBar) {
  Sample sample(40, 50, 2);
  EXPECT_TRUE(sample.data()["histogram"]["null"].empty());
  EmpiricalNull null;
  null.location = 0.15;
  null.scale = 0.05;
  null.normal_share = 0.8;
  sample.found.null = null;
  const auto histogram = sample.data()["histogram"];
  const double width = (histogram["high"].get<double>() - histogram["low"].get<double>()) / 80;
  ASSERT_GT(histogram["null"].size(), 100u);
  for (const auto& point : histogram["null"])
    EXPECT_NEAR(point[1], 2000 * 0.8 * null.density(point[0]) * width, 1e-6);
}

TEST(Report, ExplainsPixels) {
  Sample sample(4, 5, 40);
  sample.found.deviations[10] = {12, 15, -8.34f, -0.3812f};
  sample.found.deviations[3] = {0, 40, 1e9f, nan_f};
  const auto data = sample.data();
  EXPECT_TRUE(data["deviations"]["pixels"].is_null()) << "all pixels, in order";
  const auto ranges = decoded<uint16_t>(data["deviations"]["ranges"]);
  const auto sizes = decoded<int16_t>(data["deviations"]["sizes"]);
  ASSERT_EQ(ranges.size(), 40u);
  EXPECT_EQ(ranges[20], 12);
  EXPECT_EQ(ranges[21], 15);
  EXPECT_EQ(sizes[20], -83);   // tenths of a standard deviation
  EXPECT_EQ(sizes[21], -381);  // tenths of a per cent
  EXPECT_EQ(sizes[6], 32767) << "beyond what can be told";
  EXPECT_EQ(sizes[7], 0);
  // Where the anomalous pixel deviates is a map of its own.
  const auto& layer = data["layers"][1];
  EXPECT_EQ(layer["name"], "energy of the deviation (eV)");
  const auto values = decoded<uint8_t>(layer["values"]);
  for (size_t pixel = 0; pixel < 20; ++pixel) EXPECT_EQ(values[pixel] != 0, pixel == 10) << pixel;
  EXPECT_LT(layer["low"], 423.3 + 0.3 * 13);
  EXPECT_GT(layer["high"], 423.3 + 0.3 * 13);
}

TEST(Report, ListsRegions) {
  Sample sample(4, 5, 40);
  sample.found.deviations[10] = {12, 15, 8, 0.4f};
  std::vector<Region>& regions = sample.found.regions;
  regions = {{{10, 11}, 1.6, 0.4, 1.28, 10, 0.9f, std::vector<float>(40, 0.25f)},
             {{3}, 0, 2.4, 0.64, 3, 0.2f, std::vector<float>(40)}};
  regions[0].deviation[7] = -0.5f;
  regions[0].explanation = {{{ChangeKind::shift, 716, 717.5, 0, 1.2, 0.3}}, 90, 41, 40};
  auto data = sample.data()["regions"];
  EXPECT_EQ(data["count"], 2);
  EXPECT_EQ(data["table"][0]["pixels"], 2);
  EXPECT_EQ(data["table"][0]["strongest"], 10);
  EXPECT_EQ(data["table"][0]["deviation"],
            nlohmann::json::array({12, 15, 8.0, sample.found.deviations[10].share}));
  EXPECT_TRUE(data["table"][1]["deviation"].is_null());
  EXPECT_EQ(data["table"][0]["explanation"], "Fe L3 moved by +1.2 \u00b1 0.3 eV");
  EXPECT_EQ(data["table"][1]["explanation"], "") << "nothing was fitted";
  const auto ranks = decoded<uint8_t>(data["ranks"]);
  for (size_t pixel = 0; pixel < 20; ++pixel)
    EXPECT_EQ(ranks[pixel], pixel == 10 || pixel == 11 ? 1 : pixel == 3 ? 2 : 0) << pixel;
  const auto spectrum = spectrum_in<uint16_t>(data, 0, "spectra", "spectraRange");
  EXPECT_NEAR(spectrum[6], 0.25, 1e-5);
  EXPECT_NEAR(spectrum[7], -0.5, 1e-5);

  // More than anybody reads, and long spectra of them.
  regions.assign(4000, Region(regions[0]));
  data = sample.data()["regions"];
  EXPECT_EQ(data["count"], 4000);
  EXPECT_EQ(data["table"].size(), 200u);
  Sample wide(1, 3, 4000);
  wide.found.regions.assign(300, Region{{0}, 0, 0, 1, 0, 1, std::vector<float>(4000, 1.0f)});
  const auto packed = wide.data()["regions"];
  EXPECT_GT(packed["bin"], 1);
  EXPECT_LE(decoded<uint16_t>(packed["spectra"]).size() * 2, 500'000u);
}

TEST(Report, PlacesTilesInLatentSpace) {
  Sample sample(4, 6, 8);  // 2 x 3 tiles of 2 pixels
  sample.expectation.grid = make_tile_grid(4, 6, 2, 2);
  // Units 1 and 3 vary, the last most of all.
  sample.expectation.latent = {1, 2, 0, -5, 1, 1, 0, 5, 1, 1, 0, 0, 1, 2, 0, 0, 1, 1, 0, 1, 1, 1, 0, 1};
  for (size_t pixel : {4, 5, 10, 11}) sample.found.scores[pixel] = nan_f;  // the third tile
  sample.found.scores[14] = 0.95f;
  const auto latent = sample.data()["latent"];
  EXPECT_EQ(latent["units"], nlohmann::json::parse("[3, 1]"));
  EXPECT_NEAR(latent["variances"][1], 2.0 / 9, 1e-6);
  ASSERT_EQ(latent["points"].size(), 5u) << "a tile without a score is not shown";
  EXPECT_EQ(latent["points"][0][0], 1);
  EXPECT_EQ(latent["points"][0][3], 14);
  EXPECT_EQ(latent["points"][0][4], 2);
  EXPECT_EQ(latent["points"][0][5], 2);

  // More tiles than can be told apart.
  Sample large(100, 100, 1);
  large.expectation.grid = make_tile_grid(100, 100, 1, 1);
  large.expectation.latent.assign(10000, 1.0f);
  const auto many = large.data()["latent"];
  EXPECT_EQ(many["tiles"], 10000);
  EXPECT_LE(many["points"].size(), 2001u);
  EXPECT_GT(many["points"].size(), 1900u);
  EXPECT_EQ(many["points"][0][3], 5000) << "the highest score is among them";
  EXPECT_EQ(many["units"], nlohmann::json::parse("[0, 0]"));
}

TEST(Report, SizesThatDisagreeAreRefused) {
  auto expect_refused = [](auto change) {
    Sample sample(3, 4, 5);
    change(sample);
    EXPECT_THROW(render_report(sample.report), std::logic_error);
  };
  expect_refused([](Sample& s) { s.found.scores.pop_back(); });
  expect_refused([](Sample& s) { s.found.mask.pop_back(); });
  expect_refused([](Sample& s) { s.found.deviations.pop_back(); });
  expect_refused([](Sample& s) { s.report.truth.resize(11); });
  expect_refused([](Sample& s) { s.expectation.spectra.pop_back(); });
  expect_refused([](Sample& s) { s.image.energy.size = 0; });
}

}  // namespace
}  // namespace eelsvae
