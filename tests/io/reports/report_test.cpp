#include "io/reports/report.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr float nan_f = std::numeric_limits<float>::quiet_NaN();

// A report and the arrays that it points to.
struct Sample {
  std::vector<float> scores, observed, reconstruction;
  std::vector<uint8_t> mask, truth;
  DetectionReport report;

  Sample(int64_t rows, int64_t columns, int64_t channels) {
    const auto pixels = static_cast<size_t>(rows * columns), count = static_cast<size_t>(channels);
    std::mt19937 random(3);
    std::uniform_real_distribution<float> uniform(0, 1);
    for (size_t i = 0; i < pixels; ++i) {
      scores.push_back(0.3f * uniform(random));
      for (size_t e = 0; e < count; ++e) {
        const float model = 0.2f + 0.6f * static_cast<float>(e) / static_cast<float>(count);
        reconstruction.push_back(model);
        observed.push_back(model + 0.1f * uniform(random));
      }
    }
    scores[pixels / 2] = 0.9f;
    mask.assign(pixels, 0);
    mask[pixels / 2] = 1;
    report.title = "BiFeO3 film";
    report.data_file = "film.dm3";
    report.model = "runs/film";
    report.score = "pearson";
    report.y = {"y", "nm", 0, 0.8, rows};
    report.x = {"x", "nm", 0, 0.8, columns};
    report.energy = {"Energy loss", "eV", 423.3, 0.3, channels};
    report.threshold = 0.3125;
    point();
  }

  void point() {
    report.scores = scores;
    report.mask = mask;
    report.truth = truth;
    report.observed = observed;
    report.reconstruction = reconstruction;
  }
};

bool has(const std::string& page, const std::string& part) {
  return page.find(part) != std::string::npos;
}

nlohmann::json data_of(const std::string& page) {
  const std::string open = "id='report-data'>";
  const size_t first = page.find(open) + open.size();
  return nlohmann::json::parse(page.substr(first, page.find("</script>", first) - first));
}

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
  std::fill_n(sample.mask.begin(), 61, 1);
  sample.mask[96 * 48] = 0;
  const std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "61 of 9,216 spectra do not fit (0.662 %), threshold 0.312"));
  EXPECT_TRUE(has(page, "96 \u00d7 96 pixels (y, x)"));
  EXPECT_TRUE(has(page, "8 channels, 423 to 425 eV"));
  for (const char* part :
       {"<title>BiFeO3 film</title>", "film.dm3", "runs/film", "pearson", "20 nm", "id='map'",
        "id='spectrum'", "id='residual'", "id='histogram'", "id='ranking'", "Chart.js v"}) {
    EXPECT_TRUE(has(page, part)) << part;
  }
  for (const char* absent : {"id='training'", "Against the truth", "id='show-truth'", "Configuration",
                             "Made with", "id='window-range'", "without a score"}) {
    EXPECT_FALSE(has(page, absent)) << absent;
  }
}

TEST(Report, ShowsWhatIsGiven) {
  Sample sample(4, 5, 40);
  sample.truth.assign(20, 0);
  sample.truth[10] = sample.truth[11] = 1;
  sample.scores[3] = nan_f;
  sample.point();
  sample.report.window = {{10, 20}};
  sample.report.metrics = {{"F1", 0.66666}, {"ROC-AUC", std::nan("")}};
  sample.report.summary = {{"tiles", "4"}};
  sample.report.versions = {{"oneDNN", "2.6.3"}};
  sample.report.history = {{1, 2000.5, 2100.25}, {2, std::nan(""), {}}};
  sample.report.configuration = R"({"zeta": 1, "alpha": {"b": [1]}})";
  const std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "1 of 20 spectra does not fit (5 %)"));
  EXPECT_TRUE(has(page, "1 spectrum without a score."));
  EXPECT_TRUE(has(page, "1 of 2 known anomalies found, no false alarms."));
  EXPECT_TRUE(has(page, "<dt>F1</dt><dd>0.667</dd>"));
  EXPECT_TRUE(has(page, "<dt>ROC-AUC</dt><dd>n/a</dd>"));
  EXPECT_TRUE(has(page, "<dt>missed</dt><dd>1</dd>"));
  EXPECT_TRUE(has(page, "<dt>rightly left</dt><dd>18</dd>"));
  EXPECT_TRUE(has(page, "<th scope='row'>tiles</th><td>4</td>"));
  EXPECT_TRUE(has(page, "<th scope='row'>oneDNN</th><td>2.6.3</td>"));
  EXPECT_TRUE(has(page, "id='training'"));
  EXPECT_LT(page.find("&quot;zeta&quot;"), page.find("&quot;alpha&quot;"))
      << "the configuration keeps its order";

  const auto data = data_of(page);
  EXPECT_EQ(data["history"], nlohmann::json::parse(R"([{"epoch": 1, "train": 2000.5, "validation": 2100.25},
                                                       {"epoch": 2, "train": null, "validation": null}])"));
  EXPECT_NEAR(data["window"][0], 423.3 + 0.3 * 9.5, 1e-9);
  EXPECT_NEAR(data["window"][1], 423.3 + 0.3 * 19.5, 1e-9);
  EXPECT_EQ(data["ranking"].size(), 20u);
  EXPECT_EQ(data["ranking"][0], 10);
  EXPECT_EQ(data["ranking"][19], 3) << "a pixel without a score ranks last";
  const auto flags = decoded<uint8_t>(data["flags"]);
  EXPECT_EQ(flags[10], 3);
  EXPECT_EQ(flags[11], 2);
}

TEST(Report, CountsExcludedPixelsApart) {
  Sample sample(4, 5, 50);
  std::vector<uint8_t> excluded(20);
  for (size_t pixel : {3, 4, 8, 9}) {
    excluded[pixel] = 1;
    sample.scores[pixel] = nan_f;
    std::fill_n(sample.observed.begin() + static_cast<int64_t>(pixel) * 50, 50, 0.0f);
  }
  sample.truth.assign(20, 0);
  sample.truth[10] = sample.truth[9] = 1;
  sample.point();
  sample.report.excluded = excluded;
  const std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "1 of 16 spectra does not fit (6.25 %)"));
  EXPECT_TRUE(has(page, "4 pixels are excluded"));
  EXPECT_FALSE(has(page, "without a score"));
  EXPECT_TRUE(has(page, "1 of 1 known anomalies found, no false alarms."));
  EXPECT_TRUE(has(page, "<dt>rightly left</dt><dd>15</dd>"));

  const auto data = data_of(page);
  const auto ranking = data["ranking"].get<std::vector<int64_t>>();
  EXPECT_EQ(ranking.size(), 16u);
  for (int64_t pixel : ranking) EXPECT_EQ(excluded[static_cast<size_t>(pixel)], 0) << pixel;
  const auto flags = decoded<uint8_t>(data["flags"]);
  for (size_t pixel = 0; pixel < 20; ++pixel) EXPECT_EQ(flags[pixel] & 4, excluded[pixel] ? 4 : 0) << pixel;
  int64_t counted = 0;
  for (int64_t count : data["histogram"]["counts"]) counted += count;
  EXPECT_EQ(counted, 16);
  double expected = 0;
  for (size_t pixel = 0; pixel < 20; ++pixel)
    if (!excluded[pixel] && !sample.mask[pixel]) expected += sample.observed[pixel * 50 + 7] / 15.0;
  EXPECT_NEAR(decoded<float>(data["normalMean"])[7], expected, 1e-6);
  // The map of intensities spends its shades on the pixels that count.
  EXPECT_EQ(data["layers"][0]["name"], "mean intensity");
  const auto intensity = decoded<uint8_t>(data["layers"][0]["values"]);
  for (size_t pixel = 0; pixel < 20; ++pixel) EXPECT_EQ(intensity[pixel] == 0, excluded[pixel] != 0) << pixel;
  EXPECT_EQ(std::count(intensity.begin(), intensity.end(), 1), 1) << "the darkest";
  EXPECT_EQ(std::count(intensity.begin(), intensity.end(), 255), 1) << "the brightest";

  sample.report.excluded = std::span(excluded).first(3);
  EXPECT_THROW(render_report(sample.report), std::logic_error);
}

TEST(Report, HoldsTheScoresAndSpectraOfASmallImage) {
  Sample sample(6, 9, 50);
  const auto data = data_of(render_report(sample.report));
  EXPECT_EQ(data["rows"], 6);
  EXPECT_EQ(data["columns"], 9);
  EXPECT_EQ(decoded<float>(data["scores"]), sample.scores);
  ASSERT_EQ(data["spectra"].size(), 1u);
  const auto& table = data["spectra"][0];
  EXPECT_EQ(table["bin"], 1);
  EXPECT_EQ(table["step"], 1);
  EXPECT_EQ(table["bits"], 16);
  for (size_t pixel : {0, 13, 53}) {
    const auto observed = spectrum_in<uint16_t>(table, pixel, "observed", "observedRange");
    const auto model = spectrum_in<uint16_t>(table, pixel, "reconstruction", "reconstructionRange");
    for (size_t e = 0; e < 50; ++e) {
      EXPECT_NEAR(observed[e], sample.observed[pixel * 50 + e], 2e-5);
      EXPECT_NEAR(model[e], sample.reconstruction[pixel * 50 + e], 2e-5);
    }
  }
  // The mean of all spectra but the anomalous one.
  const auto mean = decoded<float>(data["normalMean"]);
  double expected = 0;
  for (size_t pixel = 0; pixel < 54; ++pixel)
    expected += sample.mask[pixel] != 0 ? 0 : sample.observed[pixel * 50 + 7] / 53;
  EXPECT_NEAR(mean[7], expected, 1e-6);
}

TEST(Report, CountsEveryScoreInItsHistogram) {
  Sample sample(40, 50, 2);
  sample.scores[1] = 1e6f;
  sample.scores[2] = nan_f;
  sample.scores[3] = std::numeric_limits<float>::infinity();
  const auto histogram = data_of(render_report(sample.report))["histogram"];
  int64_t total = 0;
  for (int64_t count : histogram["counts"]) total += count;
  EXPECT_EQ(total, 1998);
  EXPECT_EQ(histogram["beyond"], 1);
  EXPECT_LT(histogram["high"], 10) << "one outlier must not flatten the rest";
  EXPECT_GE(histogram["high"], 0.9);
}

TEST(Report, LargeImagesStaySmallAndKeepTheAnomaliesInFull) {
  Sample sample(150, 130, 700);
  std::vector<Deviation> deviations(sample.scores.size(), Deviation{3, 9, 1, 1});
  const std::vector<Region> regions(1, Region{{1}, 0, 0, 1, 1, 1, std::vector<float>(700)});
  sample.report.deviations = deviations;
  sample.report.regions = regions;
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
              sample.observed[anomaly * 700 + 123], 2e-5);

  const size_t step = overview["step"], bin = overview["bin"];
  EXPECT_TRUE(overview["pixels"].is_null());
  EXPECT_GT(step * bin, 1u);
  EXPECT_EQ(overview["channels"], (700 + bin - 1) / bin);
  EXPECT_GE(overview["channels"], 256);
  // The second row and third column of the stored grid, its first averaged channel.
  const size_t across = (130 + step - 1) / step, slot = across + 2, pixel = step * 130 + 2 * step;
  double expected = 0;
  for (size_t e = 0; e < bin; ++e) expected += sample.observed[pixel * 700 + e] / static_cast<double>(bin);
  EXPECT_NEAR(spectrum_in<uint8_t>(overview, slot, "observed", "observedRange")[0], expected, 3e-3);
  EXPECT_EQ(decoded<float>(overview["observedRange"]).size(), 2 * across * ((150 + step - 1) / step));
}

TEST(Report, OfHalfAMillionSpectraTheHighestScoresAreExplained) {
  Sample sample(700, 714, 4);
  std::vector<Deviation> deviations(sample.scores.size());
  const size_t anomaly = sample.scores.size() / 2;
  deviations[anomaly] = {1, 3, -5, -0.5f};
  std::vector<Region> regions(1);
  regions[0] = {
      {static_cast<int64_t>(anomaly)}, 0, 0, 1, static_cast<int64_t>(anomaly), 1, std::vector<float>(4)};
  sample.report.deviations = deviations;
  sample.report.regions = regions;
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
      "</script><script>alert('x')</script><!-- <img src=x onerror=\"alert(1)\"> \xff\xfe \u2028 &amp;";
  DetectionReport& report = sample.report;
  report.title = report.data_file = report.model = report.score = report.intensity_label = hostile;
  report.x.units = report.y.units = report.energy.units = hostile;
  report.summary = report.versions = {{hostile, hostile}};
  report.metrics = {{hostile, 1.0}};
  report.configuration = "{\"a\": \"" + std::string("</pre></script><script>") + "\"}";
  report.truth = sample.mask;
  report.threshold_method = hostile;
  report.layers = {{hostile, sample.scores}};
  const std::vector<Region> regions(1, Region{{0}, 0, 0, 1, 0, 1, {}});
  report.regions = regions;
  const std::string page = render_report(report);
  EXPECT_FALSE(has(page, "<script>alert"));
  EXPECT_FALSE(has(page, "<img"));
  EXPECT_FALSE(has(page, "</pre></script>"));
  size_t scripts = 0;
  for (size_t at = page.find("<script"); at != std::string::npos; at = page.find("<script", at + 1))
    ++scripts;
  EXPECT_EQ(scripts, 3u) << "the data, Chart.js and the page's own script, and no other";
  EXPECT_EQ(data_of(page)["x"]["units"].get<std::string>().substr(0, 9), "</script>");

  report.configuration = "not JSON <b>";
  EXPECT_TRUE(has(render_report(report), "not JSON &lt;b&gt;"));
}

TEST(Report, AsksForNothingFromOutside) {
  Sample sample(2, 2, 4);
  std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "default-src 'none'"));
  for (const char* request : {" src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "import("}) {
    EXPECT_FALSE(has(page, request)) << request;
  }
}

TEST(Report, OddScoresAndShapes) {
  for (auto [rows, columns, channels] :
       {std::array<int64_t, 3>{1, 1, 1}, {1, 100, 20}, {60, 1, 20}, {3, 7, 4000}}) {
    for (float score : {0.0f, 0.25f, nan_f, std::numeric_limits<float>::infinity(), 3e38f, -3e38f}) {
      Sample sample(rows, columns, channels);
      std::fill(sample.scores.begin(), sample.scores.end(), score);
      std::fill(sample.mask.begin(), sample.mask.end(), uint8_t{1});
      sample.observed[0] = nan_f;
      sample.report.threshold = score;
      sample.report.x.scale = std::nan("");
      sample.report.energy.offset = nan_f;
      sample.report.history = {{1, std::nan(""), std::numeric_limits<double>::infinity()}};
      const auto data = data_of(render_report(sample.report));
      EXPECT_EQ(decoded<uint32_t>(data["scores"]).size(), sample.scores.size());
      EXPECT_TRUE(data["limits"][0].is_number() && data["limits"][1].is_number());
      EXPECT_LT(data["limits"][0], data["limits"][1]);
      EXPECT_LT(data["histogram"]["low"], data["histogram"]["high"]);
      EXPECT_TRUE(data["normalMean"].is_null()) << "there are no normal spectra to average";
      EXPECT_EQ(data["threshold"].is_null(), !std::isfinite(score));
    }
  }
}

TEST(Report, WithoutSpectraOrThreshold) {
  Sample sample(3, 4, 5);
  sample.report.observed = sample.report.reconstruction = {};
  sample.report.threshold.reset();
  std::fill(sample.mask.begin(), sample.mask.end(), uint8_t{0});
  const std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "All 12 spectra fit</p>"));
  EXPECT_FALSE(has(page, "id='spectrum'"));
  EXPECT_TRUE(data_of(page)["spectra"].empty());
  EXPECT_TRUE(data_of(page)["layers"].empty());

  Sample score_only(3, 4, 5);  // a score that has no reconstruction
  score_only.report.reconstruction = {};
  const std::string other = render_report(score_only.report);
  EXPECT_TRUE(has(other, "id='spectrum'"));
  EXPECT_FALSE(has(other, "id='residual'"));
  EXPECT_TRUE(data_of(other)["spectra"][0]["reconstruction"].is_null());
}

TEST(Report, SaysHowItsThresholdWasFound) {
  Sample sample(4, 5, 8);
  sample.report.threshold_method = "Otsu <";
  EXPECT_TRUE(has(render_report(sample.report),
                  "1 of 20 spectra does not fit (5 %), threshold 0.312 (Otsu &lt;)</p>"));
  sample.report.threshold_method = "false discovery rate 5 %";
  sample.report.false_discovery_rate = 0.05;
  sample.report.false_discoveries = 0.4;
  std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "1 of 20 spectra does not fit (5 %), at a false-discovery rate of 5 %</p>"));
  EXPECT_TRUE(has(page, "None of them is expected to be false."));
  EXPECT_EQ(data_of(page)["thresholdMethod"], "false discovery rate 5 %");
  std::fill_n(sample.mask.begin(), 11, 1);
  sample.report.false_discoveries = 2.4;
  EXPECT_TRUE(has(render_report(sample.report), "About 2 of them are expected to be false."));
  sample.report.false_discoveries = 1.2;
  EXPECT_TRUE(has(render_report(sample.report), "About 1 of them is expected to be false."));

  // Nothing found, and with it no threshold.
  std::fill(sample.mask.begin(), sample.mask.end(), uint8_t{0});
  sample.report.threshold = std::numeric_limits<double>::infinity();
  sample.report.false_discoveries = 0;
  page = render_report(sample.report);
  EXPECT_TRUE(has(page, "All 20 spectra fit, at a false-discovery rate of 5 %</p>"));
  EXPECT_FALSE(has(page, "of them"));
  EXPECT_TRUE(data_of(page)["threshold"].is_null());
}

TEST(Report, DrawsTheNullInCountsPerBar) {
  Sample sample(40, 50, 2);
  sample.report.null_curve = {{-5, 1}, {0.1, 4000}, {0.2, nan_f}, {0.25, 800}, {1e9, 1}};
  const auto histogram = data_of(render_report(sample.report))["histogram"];
  const double width = (histogram["high"].get<double>() - histogram["low"].get<double>()) / 80;
  ASSERT_EQ(histogram["null"].size(), 2u);
  EXPECT_EQ(histogram["null"][0][0], 0.1);
  EXPECT_NEAR(histogram["null"][0][1], 4000 * width, 1e-9);
  EXPECT_NEAR(histogram["null"][1][1], 800 * width, 1e-9);
  sample.report.null_curve.clear();
  EXPECT_TRUE(data_of(render_report(sample.report))["histogram"]["null"].empty());
}

TEST(Report, ExplainsPixels) {
  Sample sample(4, 5, 40);
  std::vector<Deviation> deviations(20);
  deviations[10] = {12, 15, -8.34f, -0.3812f};
  deviations[3] = {0, 40, 1e9f, nan_f};
  sample.report.deviations = deviations;
  const std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "id='deviation'"));
  const auto data = data_of(page);
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

  sample.report.deviations = {};
  const std::string without = render_report(sample.report);
  EXPECT_FALSE(has(without, "id='deviation'"));
  EXPECT_FALSE(has(without, "swatch deviation"));
  EXPECT_TRUE(data_of(without)["deviations"].is_null());
  EXPECT_EQ(data_of(without)["layers"].size(), 1u);
}

TEST(Report, ListsRegions) {
  Sample sample(4, 5, 40);
  std::vector<Deviation> deviations(20);
  deviations[10] = {12, 15, 8, 0.4f};
  std::vector<Region> regions(2);
  regions[0] = {{10, 11}, 1.6, 0.4, 1.28, 10, 0.9f, std::vector<float>(40, 0.25f)};
  regions[1] = {{3}, 0, 2.4, 0.64, 3, 0.2f, {}};
  regions[0].deviation[7] = -0.5f;
  sample.report.regions = regions;
  sample.report.deviations = deviations;
  const std::string page = render_report(sample.report);
  EXPECT_TRUE(has(page, "<th>area (nm²)</th><th>y (nm)</th><th>x (nm)</th>"));
  auto data = data_of(page)["regions"];
  EXPECT_EQ(data["count"], 2);
  EXPECT_EQ(data["table"][0]["pixels"], 2);
  EXPECT_EQ(data["table"][0]["strongest"], 10);
  EXPECT_EQ(data["table"][0]["deviation"], nlohmann::json::array({12, 15, 8.0, deviations[10].share}));
  EXPECT_TRUE(data["table"][1]["deviation"].is_null());
  const auto ranks = decoded<uint8_t>(data["ranks"]);
  for (size_t pixel = 0; pixel < 20; ++pixel)
    EXPECT_EQ(ranks[pixel], pixel == 10 || pixel == 11 ? 1 : pixel == 3 ? 2 : 0) << pixel;
  const auto spectrum = spectrum_in<uint16_t>(data, 0, "spectra", "spectraRange");
  EXPECT_NEAR(spectrum[6], 0.25, 1e-5);
  EXPECT_NEAR(spectrum[7], -0.5, 1e-5);

  sample.report.x.units.clear();
  sample.report.y.units.clear();
  const std::string uncalibrated = render_report(sample.report);
  EXPECT_TRUE(has(uncalibrated, "<th>pixels</th><th>y (px)</th><th>x (px)</th>"));

  // More than anybody reads, and long spectra of them.
  regions.assign(4000, regions[0]);
  sample.report.regions = regions;
  data = data_of(render_report(sample.report))["regions"];
  EXPECT_EQ(data["count"], 4000);
  EXPECT_EQ(data["table"].size(), 200u);
  Sample wide(1, 3, 4000);
  std::vector<Region> many(300, Region{{0}, 0, 0, 1, 0, 1, std::vector<float>(4000, 1.0f)});
  wide.report.regions = many;
  const auto packed = data_of(render_report(wide.report))["regions"];
  EXPECT_GT(packed["bin"], 1);
  EXPECT_LE(decoded<uint16_t>(packed["spectra"]).size() * 2, 500'000u);

  sample.report.regions = {};
  EXPECT_FALSE(has(render_report(sample.report), "Anomalous regions"));
}

TEST(Report, PlacesTilesInLatentSpace) {
  Sample sample(4, 6, 8);  // 2 x 3 tiles of 2 pixels
  const std::vector<TileOrigin> origins = {{0, 0}, {0, 2}, {0, 4}, {2, 0}, {2, 2}, {2, 4}};
  // Units 1 and 3 vary, the last most of all.
  const std::vector<float> means = {1, 2, 0, -5, 1, 1, 0, 5, 1, 1, 0, 0, 1, 2, 0, 0, 1, 1, 0, 1, 1, 1, 0, 1};
  for (size_t pixel : {4, 5, 10, 11}) sample.scores[pixel] = nan_f;  // the third tile
  sample.scores[14] = 0.95f;
  sample.report.latent = LatentTiles{means, origins, 2};
  const auto latent = data_of(render_report(sample.report))["latent"];
  EXPECT_EQ(latent["units"], nlohmann::json::parse("[3, 1]"));
  EXPECT_NEAR(latent["variances"][1], 2.0 / 9, 1e-6);
  ASSERT_EQ(latent["points"].size(), 5u) << "a tile without a score is not shown";
  EXPECT_EQ(latent["points"][0][0], 1);
  EXPECT_EQ(latent["points"][0][3], 14);
  EXPECT_EQ(latent["points"][0][4], 2);
  EXPECT_EQ(latent["points"][0][5], 2);

  // More tiles than can be told apart.
  Sample large(100, 100, 1);
  std::vector<TileOrigin> all;
  for (int64_t pixel = 0; pixel < 10000; ++pixel) all.push_back({pixel / 100, pixel % 100});
  const std::vector<float> one_unit(10000, 1.0f);
  large.report.latent = LatentTiles{one_unit, all, 1};
  const auto many = data_of(render_report(large.report))["latent"];
  EXPECT_EQ(many["tiles"], 10000);
  EXPECT_LE(many["points"].size(), 2001u);
  EXPECT_GT(many["points"].size(), 1900u);
  EXPECT_EQ(many["points"][0][3], 5000) << "the highest score is among them";
  EXPECT_EQ(many["units"], nlohmann::json::parse("[0, 0]"));

  sample.report.latent.reset();
  EXPECT_FALSE(has(render_report(sample.report), "id='latent'"));
}

TEST(Report, ShowsFurtherMaps) {
  Sample sample(2, 3, 4);
  const std::vector<float> thickness = {10, 20, nan_f, 40, 50, 60};
  sample.report.layers = {{"thickness (nm)", thickness}};
  const auto layer = data_of(render_report(sample.report))["layers"][1];
  EXPECT_EQ(layer["name"], "thickness (nm)");
  EXPECT_EQ(layer["low"], 10);
  EXPECT_EQ(layer["high"], 60);
  const auto values = decoded<uint8_t>(layer["values"]);
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[2], 0);
  EXPECT_EQ(values[5], 255);
}

TEST(Report, SizesThatDisagreeAreRefused) {
  Sample sample(3, 4, 5);
  sample.report.mask = sample.report.mask.subspan(1);
  EXPECT_THROW(render_report(sample.report), std::logic_error);
  sample.point();
  sample.report.observed = sample.report.observed.subspan(1);
  EXPECT_THROW(render_report(sample.report), std::logic_error);
  sample.point();
  sample.report.observed = {};
  EXPECT_THROW(render_report(sample.report), std::logic_error) << "a reconstruction of nothing";

  const std::vector<Deviation> beyond(12, Deviation{0, 6, 0, 0});
  const std::vector<Region> outside(1, Region{{12}, 0, 0, 1, 0, 1, {}});
  const std::vector<TileOrigin> origins = {{0, 0}, {2, 3}};
  const std::vector<float> means(4);
  auto expect_refused = [](auto change) {
    Sample changed(3, 4, 5);
    change(changed.report);
    EXPECT_THROW(render_report(changed.report), std::logic_error);
  };
  expect_refused([&](DetectionReport& r) { r.deviations = beyond; });
  expect_refused([&](DetectionReport& r) { r.deviations = std::span(beyond).first(3); });
  expect_refused([&](DetectionReport& r) { r.regions = outside; });
  expect_refused([&](DetectionReport& r) { r.layers = {{"thickness", means}}; });
  expect_refused([&](DetectionReport& r) { r.latent = LatentTiles{means, origins, 2}; });
  expect_refused([&](DetectionReport& r) { r.latent = LatentTiles{std::span(means).first(3), origins, 1}; });
}

}  // namespace
}  // namespace eelsvae
