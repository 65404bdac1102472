#include "engine/live/row_session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <random>

#include "engine/detect/job.h"
#include "engine/detect/kept_detection.h"
#include "engine/image/excluded.h"
#include "engine/network/reconstruction.h"
#include "engine/specimen/simulate.h"
#include "kernels/backend.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int64_t height = 52, width = 40;

// Two recordings of a film: the state is made of the first, the second is scanned.
SpectrumImage film(uint64_t seed, double vacuum = 0) {
  SimulationSettings s;
  s.preset = Preset::gradient;
  s.height = height;
  s.width = width;
  s.channels = 128;
  s.energy_offset_ev = 440;
  s.dispersion_ev = 2.4;
  s.exposure = 4;
  s.seed = 31;
  s.noise_seed = seed;
  s.vacuum = vacuum;
  return simulate(s).image;
}

struct Case {
  const char* baseline;
  PreprocessConfig preprocess = {};
  DetectionConfig detection = {};
  double vacuum = 0;
};

std::shared_ptr<DetectionState> state_of(const Case& c) {
  return std::make_shared<DetectionState>(
      learn_state(film(1, c.vacuum), parse_baseline(c.baseline), c.preprocess, c.detection, std::nullopt));
}

// The detection that a session of rows is to agree with.
Detection whole(const DetectionState& state, SpectrumImage image) {
  const PreparedImage prepared = prepare(std::move(image), state.preprocess, std::nullopt, &state.fitted);
  return detect(prepared.image, expect_from(*state.baseline, prepared.image), state.preprocess,
                state.detection, {}, {}, &state);
}

ScanPlan plan_of(const SpectrumImage& image) {
  return {image.y.size, image.x.size, image.energy, image.excluded};
}

std::span<const float> spectra(const SpectrumImage& image, int64_t first, int64_t count) {
  return std::span<const float>(image.counts)
      .subspan(static_cast<size_t>(first * image.energy.size),
               static_cast<size_t>(count * image.energy.size));
}

void expect_same_bits(std::span<const float> a, std::span<const float> b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  int64_t different = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) &&
        !(std::isnan(a[i]) && std::isnan(b[i]))) {
      if (different++ == 0) ADD_FAILURE() << what << ": pixel " << i << " has " << a[i] << ", not " << b[i];
    }
  EXPECT_EQ(different, 0) << what;
}

void expect_same(const Detection& rows, const Detection& image, const std::string& what) {
  expect_same_bits(rows.scores, image.scores, what);
  EXPECT_EQ(rows.threshold, image.threshold) << what;
  EXPECT_EQ(rows.mask, image.mask) << what;
  ASSERT_EQ(rows.regions.size(), image.regions.size()) << what;
  for (size_t i = 0; i < rows.regions.size(); ++i) EXPECT_EQ(rows.regions[i].pixels, image.regions[i].pixels);
}

std::vector<Case> cases() {
  std::vector<Case> all = {{"mean"}, {"local"}, {"local:3"}, {"pca:3"}, {"rx:5"}};
  Case unfiltered{"mean"};
  unfiltered.preprocess.sigma = 0;
  unfiltered.preprocess.xy_window = 1;
  unfiltered.preprocess.bin_energy = 2;
  all.push_back(unfiltered);
  Case wide{"pca:2"};
  wide.preprocess.sigma = 1.2;
  wide.preprocess.xy_window = 5;
  wide.preprocess.scaling_method = Scaling::quantile;
  wide.detection.context = 5;
  all.push_back(wide);
  for (const Score score : {Score::learned, Score::deviance, Score::pearson, Score::pearson_background}) {
    Case other{"mean"};
    other.detection.score = score;
    other.detection.context = 0;
    all.push_back(other);
  }
  Case part{"mean"};
  part.detection.window = {{500.0, 700.0}};
  part.vacuum = 0.2;
  all.push_back(part);
  return all;
}

TEST(RowSession, EndsWithTheBitsOfADetectionInTheWholeImage) {
  for (const Case& c : cases()) {
    const auto state = state_of(c);
    const SpectrumImage scan = film(2, c.vacuum);
    RowSession session(state, plan_of(scan));
    Rows all{0, 0};
    for (int64_t y = 0; y < height; ++y) {
      const Rows now = session.push(y * width, width, spectra(scan, y * width, width));
      EXPECT_EQ(now.first, all.last) << "rows become final in order";
      EXPECT_EQ(now.last, y + 1 == height ? height : std::max<int64_t>(0, y + 1 - session.reach()))
          << "row " << y;
      all.last = now.last;
      if (y % 7 == 3) {
        EXPECT_EQ(session.score_provisionally().last, y + 1);
      }
    }
    session.finish();
    expect_same(session.result(), whole(*state, scan),
                std::string(c.baseline) + " " + std::to_string(static_cast<int>(c.detection.score)));
    EXPECT_EQ(session.counts(), (ScanCounts{height * width, 0, 0, 0}));
  }
}

TEST(RowSession, TakesSpectraInAnyOrder) {
  const auto state = state_of({"mean"});
  const SpectrumImage scan = film(2);
  const Detection wanted = whole(*state, scan);
  // In pieces of seven, each somewhat early or late.
  std::vector<int64_t> pieces((height * width + 6) / 7);
  std::iota(pieces.begin(), pieces.end(), 0);
  std::mt19937 random(5);
  for (size_t i = 0; i + 9 < pieces.size(); i += 9) std::shuffle(&pieces[i], &pieces[i + 9], random);
  RowSession session(state, plan_of(scan), 4);
  for (const int64_t piece : pieces) {
    const int64_t first = 7 * piece, count = std::min<int64_t>(7, height * width - first);
    session.push(first, count, spectra(scan, first, count));
  }
  session.finish();
  expect_same(session.result(), wanted, "shuffled");
  EXPECT_EQ(session.counts().missing, 0);

  RowSession at_once(state, plan_of(scan));
  EXPECT_EQ(at_once.push(0, height * width, scan.counts), (Rows{0, height}));
  at_once.finish();
  expect_same(at_once.result(), wanted, "at once");

  RowSession serpentine(state, plan_of(scan));
  for (int64_t y = 0; y < height; ++y)
    for (int64_t i = 0; i < width; ++i) {
      const int64_t pixel = y * width + (y % 2 == 0 ? i : width - 1 - i);
      serpentine.push(pixel, 1, spectra(scan, pixel, 1));
    }
  serpentine.finish();
  expect_same(serpentine.result(), wanted, "there and back");
}

TEST(RowSession, LeavesOutWhatIsMissingAsADetectionLeavesOutExcludedPixels) {
  const auto state = state_of({"mean"});
  SpectrumImage scan = film(2);
  scan.excluded.assign(static_cast<size_t>(height * width), 0);
  for (int64_t x = 3; x < 9; ++x) scan.excluded[static_cast<size_t>(20 * width + x)] = by_request;
  const ScanPlan plan = plan_of(scan);
  RowSession session(state, plan);
  const auto lost = [](int64_t pixel) {
    return pixel / width == 12 || pixel / width == 13 || pixel == 30 * width + 5 || pixel >= 45 * width + 7;
  };
  for (int64_t pixel = 0; pixel < height * width; ++pixel)
    if (!lost(pixel)) session.push(pixel, 1, spectra(scan, pixel, 1));
  EXPECT_LT(session.final_rows(), height);
  session.finish();
  for (int64_t pixel = 0; pixel < height * width; ++pixel)
    if (lost(pixel)) scan.excluded[static_cast<size_t>(pixel)] = by_request;
  expect_same(session.result(), whole(*state, scan), "missing");
  const int64_t missing = 2 * width + 1 + (height - 45) * width - 7;
  EXPECT_EQ(session.counts(), (ScanCounts{height * width - 6 - missing, 0, 0, missing}));
  EXPECT_EQ(session.excluded()[20 * width + 3], by_request);
  EXPECT_EQ(session.excluded()[12 * width], by_request);
}

// Of maps and spectra only the rows around those that are worked on are kept: a scan of many times as many
// rows, some of which come early, late or not at all, still ends as a detection in all of it.
TEST(RowSession, HoldsTheRowsInFlightOfATallScan) {
  for (const char* baseline : {"mean", "local:3"}) {
    const auto state = state_of({baseline});
    SpectrumImage scan = film(2), more = film(4);
    for (int i = 0; i < 3; ++i) {
      scan.counts.insert(scan.counts.end(), more.counts.begin(), more.counts.end());
      scan.y.size += height;
    }
    const int64_t pixels = scan.y.size * width;
    scan.excluded.assign(static_cast<size_t>(pixels), 0);
    RowSession session(state, plan_of(scan), 3);
    ASSERT_LT(4 * session.reach(), scan.y.size);
    std::mt19937 random(7);
    std::vector<int64_t> late;
    for (int64_t first = 0; first < scan.y.size; first += 3) {
      std::vector<int64_t> rows = {first, first + 1, first + 2};
      std::erase_if(rows, [&](int64_t y) { return y >= scan.y.size; });
      std::shuffle(rows.begin(), rows.end(), random);
      for (const int64_t y : rows) {
        if (y == 90) continue;  // lost
        const bool cut = y % 31 == 17;
        if (cut) late.push_back(y);
        session.push(y * width, cut ? 11 : width, spectra(scan, y * width, cut ? 11 : width));
      }
      if (first % 4 == 0) session.score_provisionally();
    }
    for (const int64_t y : late)
      session.push(y * width + 11, width - 11, spectra(scan, y * width + 11, width - 11));
    session.finish();
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      if (pixel / width == 90 || (pixel / width % 31 == 17 && pixel % width >= 11))
        scan.excluded[static_cast<size_t>(pixel)] = by_request;
    const int64_t cut = std::ssize(late) * (width - 11);
    EXPECT_EQ(session.counts(), (ScanCounts{pixels - width - cut, 0, cut, width + cut}));
    expect_same(session.result(), whole(*state, scan), baseline);
  }
}

TEST(RowSession, CountsWhatIsRepeatedOrLate) {
  const auto state = state_of({"mean"});
  const SpectrumImage scan = film(2), other = film(3);
  RowSession session(state, plan_of(scan), 1);
  session.push(0, 5, spectra(other, 0, 5));
  session.push(0, width - 1, spectra(scan, 0, width - 1));  // the last one counts
  EXPECT_EQ(session.counts(), (ScanCounts{width - 1, 5, 0, 0}));
  session.push(width, width, spectra(scan, width, width));  // gives row 0 up
  EXPECT_EQ(session.counts(), (ScanCounts{2 * width - 1, 5, 0, 1}));
  session.push(width - 1, 1, spectra(scan, width - 1, 1));
  session.push(0, 2, spectra(other, 0, 2));
  EXPECT_EQ(session.counts(), (ScanCounts{2 * width - 1, 5, 3, 1}));
  for (int64_t y = 2; y < height; ++y) session.push(y * width, width, spectra(scan, y * width, width));
  session.finish();
  SpectrumImage left = scan;
  left.excluded.assign(static_cast<size_t>(height * width), 0);
  left.excluded[width - 1] = by_request;
  expect_same(session.result(), whole(*state, left), "late");
}

// What a service that was restarted in the middle of a scan gets.
TEST(RowSession, BeginsInTheMiddleOfAScan) {
  const auto state = state_of({"mean"});
  SpectrumImage scan = film(2);
  constexpr int64_t begin = 40;
  RowSession session(state, plan_of(scan));
  for (int64_t y = begin; y < height; ++y) session.push(y * width, width, spectra(scan, y * width, width));
  session.finish();
  EXPECT_EQ(session.counts().missing, begin * width);
  scan.excluded.assign(static_cast<size_t>(height * width), 0);
  std::fill_n(scan.excluded.begin(), begin * width, uint8_t{by_request});
  expect_same(session.result(), whole(*state, scan), "from the middle");
}

TEST(RowSession, ScoresProvisionallyAsIfTheScanEnded) {
  for (const char* baseline : {"pca:2", "local:5", "rx:5"}) {
    const auto state = state_of({baseline});
    const SpectrumImage scan = film(2);
    RowSession session(state, plan_of(scan));
    for (int64_t y = 0; y < 30; ++y) session.push(y * width, width, spectra(scan, y * width, width));
    EXPECT_TRUE(std::isnan(session.scores()[29 * width]));
    EXPECT_EQ(session.score_provisionally(), (Rows{session.final_rows(), 30}));
    EXPECT_EQ(session.score_provisionally(), (Rows{30, 30})) << "nothing is new";
    const std::vector<float> provisional(session.scores().begin(), session.scores().end());
    RowSession ended(state, plan_of(scan));
    ended.push(0, 30 * width, spectra(scan, 0, 30 * width));
    ended.finish();
    expect_same_bits(provisional, ended.scores(), "as if it ended");
    // And then goes on as if nobody had looked.
    for (int64_t y = 30; y < height; ++y) {
      session.push(y * width, width, spectra(scan, y * width, width));
      session.score_provisionally();
    }
    session.finish();
    expect_same(session.result(), whole(*state, scan), "goes on");
  }
}

TEST(RowSession, ShowsTheSpectraThatFitWorst) {
  const auto state = state_of({"mean"});
  SpectrumImage scan = film(2);
  for (const int64_t pixel : {7 * width + 30, 25 * width + 4})
    for (int64_t e = 60; e < 66; ++e) scan.spectrum(pixel)[e] *= 1.6f;
  RowSession session(state, plan_of(scan));
  session.push(0, 28 * width, spectra(scan, 0, 28 * width));
  session.score_provisionally();
  const std::vector<AnomalousSpectrum> early = session.worst(2);
  ASSERT_EQ(early.size(), 2u);
  for (const AnomalousSpectrum& one : early) EXPECT_EQ(one.final, one.pixel / width < session.final_rows());
  session.push(28 * width, (height - 28) * width, spectra(scan, 28 * width, (height - 28) * width));
  session.finish();
  const Detection found = session.result();
  const std::vector<AnomalousSpectrum> worst = session.worst(64);
  ASSERT_GE(worst.size(), 2u);
  EXPECT_LE(std::ssize(worst), found.anomalous_pixels());
  for (const AnomalousSpectrum& one : worst) {
    EXPECT_TRUE(one.final);
    EXPECT_EQ(one.score, found.scores[static_cast<size_t>(one.pixel)]);
    EXPECT_EQ(one.observed.size(), static_cast<size_t>(state->fitted.energy.size));
  }
  EXPECT_TRUE(std::ranges::is_sorted(worst, std::greater<>(), &AnomalousSpectrum::score));
}

// More than are kept: provisional ones of rows at the end take no final one's place.
TEST(RowSession, KeepsTheWorstOfManyAnomalies) {
  const auto state = state_of({"mean"});
  SpectrumImage scan = film(2);
  for (int64_t pixel = 3; pixel < height * width; pixel += 11) {
    const float more = 1.5f + 0.002f * static_cast<float>(pixel % 97);
    for (int64_t e = 60; e < 66; ++e) scan.spectrum(pixel)[e] *= more;
  }
  RowSession session(state, plan_of(scan));
  for (int64_t y = 0; y < height; ++y) {
    session.push(y * width, width, spectra(scan, y * width, width));
    session.score_provisionally();
  }
  session.finish();
  std::vector<float> scores(session.scores().begin(), session.scores().end());
  std::ranges::sort(scores, std::greater());
  const std::vector<AnomalousSpectrum> worst = session.worst(1000);
  ASSERT_EQ(worst.size(), 64u);
  for (size_t i = 0; i < worst.size(); ++i) EXPECT_EQ(worst[i].score, scores[i]) << i;
  EXPECT_EQ(session.worst(3).size(), 3u);
}

TEST(RowSession, RefusesWhatIsNotOfItsScan) {
  const auto state = state_of({"mean"});
  const SpectrumImage scan = film(2);
  ScanPlan plan = plan_of(scan);
  plan.energy.offset += 1.2;
  EXPECT_THROW(RowSession(state, plan), UserError);
  plan = plan_of(scan);
  plan.height = 0;
  EXPECT_THROW(RowSession(state, plan), UserError);
  plan = plan_of(scan);
  plan.height = 1;
  plan.width = (int64_t{1} << 24) / 128;
  RowSession(state, plan);
  ++plan.width;
  EXPECT_THROW(RowSession(state, plan), UserError) << "33 rows of more than 64 MiB may be open";
  plan = plan_of(scan);
  plan.excluded.assign(3, 0);
  EXPECT_THROW(RowSession(state, plan), UserError);

  RowSession session(state, plan_of(scan));
  EXPECT_THROW(session.push(-1, 1, spectra(scan, 0, 1)), UserError);
  EXPECT_THROW(session.push(height * width - 1, 2, spectra(scan, 0, 2)), UserError);
  EXPECT_THROW(session.push(std::numeric_limits<int64_t>::max() - 1, 1, spectra(scan, 0, 1)), UserError);
  std::vector<float> broken(spectra(scan, 0, 2).begin(), spectra(scan, 0, 2).end());
  broken.back() = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(session.push(0, 2, broken), UserError);
  EXPECT_EQ(session.counts(), ScanCounts{}) << "nothing of it was taken";
  EXPECT_THROW(session.result(), UserError);
  EXPECT_TRUE(std::isinf(session.threshold()));
  EXPECT_THROW(RowSession(state, plan_of(scan), 0), UserError);
  EXPECT_TRUE(session.worst(5).empty());
  session.finish();
  EXPECT_THROW(session.push(0, 1, spectra(scan, 0, 1)), UserError);
  EXPECT_EQ(session.counts().missing, height * width);
}

TEST(RowSession, IsToldWhatCannotBeKept) {
  const auto refused = [](const std::function<void(Case&)>& change) {
    Case c{"mean"};
    change(c);
    EXPECT_THROW(state_of(c), UserError);
  };
  refused([](Case& c) { c.detection.score = Score::joint; });
  refused([](Case& c) { c.detection.pooling = 1; });
  refused([](Case& c) { c.detection.threshold_method = ThresholdMethod::otsu; });
  refused([](Case& c) { c.preprocess.despike = 7; });
  refused([](Case& c) { c.preprocess.align = Align::feature; });
  refused([](Case& c) { c.preprocess.bin_xy = 2; });
}

void expect_no_further(RowSession& session, const SpectrumImage& scan) {
  const auto says_why = [](const auto& call) {
    try {
      call();
      ADD_FAILURE() << "the session goes on";
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find("the scan cannot be scored any further: "), std::string::npos)
          << error.what();
    }
  };
  const ScanCounts before = session.counts();
  says_why([&] { session.push(20 * width, 20 * width, spectra(scan, 20 * width, 20 * width)); });
  says_why([&] { session.score_provisionally(); });
  says_why([&] { session.finish(); });
  EXPECT_EQ(session.counts(), before);
}

// What is expected, until memory is short.
class ShortOfMemory final : public RowExpectation {
 public:
  explicit ShortOfMemory(const Baseline& baseline) : rows_(baseline, height) {}
  int64_t reach() const override { return rows_.reach(); }
  int64_t before() const override { return rows_.before(); }
  void add(const SpectrumImageView& rows, int64_t first, Expectation& known) override {
    if (first + rows.y.size > 20) throw std::bad_alloc();
    rows_.add(rows, first, known);
  }
  bool guesses() const override { return true; }
  void guess(const SpectrumImageView& rows, int64_t first, Expectation& known) override {
    rows_.guess(rows, first, known);
  }

 private:
  BaselineRows rows_;
};

TEST(RowSession, EndsWhereRowsCouldNotBeScored) {
  const auto state = state_of({"mean"});
  const SpectrumImage scan = film(2);
  RowSession session(state, plan_of(scan), 2, std::make_unique<ShortOfMemory>(*state->baseline));
  session.push(0, 20 * width, spectra(scan, 0, 20 * width));
  EXPECT_THROW(session.push(20 * width, 20 * width, spectra(scan, 20 * width, 20 * width)), std::bad_alloc);
  expect_no_further(session, scan);
}

// Without a state the first rows make one.
TEST(RowSession, LearnsFromItsFirstRows) {
  const SpectrumImage scan = film(2);
  constexpr int64_t rows = 30;
  RowSession session({rows, parse_baseline("pca:2")}, plan_of(scan));
  for (int64_t y = 0; y < rows - 1; ++y)
    EXPECT_EQ(session.push(y * width, width, spectra(scan, y * width, width)).count(), 0);
  EXPECT_EQ(session.state(), nullptr);
  EXPECT_EQ(session.score_provisionally().count(), 0);
  EXPECT_THROW(session.result(), UserError);
  EXPECT_TRUE(std::isinf(session.threshold()));
  EXPECT_TRUE(std::isnan(session.scores().front()));
  session.push((rows - 1) * width, width, spectra(scan, (rows - 1) * width, width));
  ASSERT_NE(session.state(), nullptr);
  EXPECT_EQ(session.final_rows(), rows - session.reach())
      << "the rows that were learned from are scored, too";
  session.push(rows * width, (height - rows) * width, spectra(scan, rows * width, (height - rows) * width));
  session.finish();

  SpectrumImage first = scan;
  first.y.size = rows;
  first.counts.resize(static_cast<size_t>(rows * width * scan.energy.size));
  const DetectionState learned = learn_state(std::move(first), parse_baseline("pca:2"), {}, {}, std::nullopt);
  expect_same(session.result(), whole(learned, scan), "learned");
  expect_same(session.result(), whole(*session.state(), scan), "kept");
}

// What a service that was restarted in the middle of such a scan gets.
TEST(RowSession, LearnsFromTheFirstRowsThatHaveCome) {
  SpectrumImage scan = film(2);
  constexpr int64_t lost = 20, rows = 14;
  RowSession session({rows, parse_baseline("local")}, plan_of(scan));
  for (int64_t y = lost; y < height; ++y) {
    EXPECT_EQ(session.state() != nullptr, y >= lost + rows) << "row " << y;
    session.push(y * width, width, spectra(scan, y * width, width));
  }
  session.finish();
  scan.excluded.assign(static_cast<size_t>(height * width), 0);
  std::fill_n(scan.excluded.begin(), lost * width, uint8_t{by_request});
  SpectrumImage first = SpectrumImageView(scan).rows(lost, lost + rows).copy();
  const DetectionState learned = learn_state(std::move(first), parse_baseline("local"), {}, {}, std::nullopt);
  expect_same(session.result(), whole(learned, scan), "from the middle");
}

TEST(RowSession, LearnsFromWhatHasComeOfAScanThatEnds) {
  SpectrumImage scan = film(2);
  RowSession session({20, parse_baseline("mean")}, plan_of(scan));
  const auto came = [](int64_t y) { return (2 <= y && y < 9) || (14 <= y && y < 19); };
  scan.excluded.assign(static_cast<size_t>(height * width), uint8_t{by_request});
  for (int64_t y = 0; y < height; ++y) {
    if (!came(y)) continue;
    session.push(y * width, width, spectra(scan, y * width, width));
    std::fill_n(scan.excluded.begin() + y * width, width, uint8_t{0});
  }
  EXPECT_EQ(session.state(), nullptr);
  EXPECT_EQ(session.finish(), (Rows{0, height}));
  SpectrumImage first = SpectrumImageView(scan).rows(2, 19).copy();
  const DetectionState learned = learn_state(std::move(first), parse_baseline("mean"), {}, {}, std::nullopt);
  expect_same(session.result(), whole(learned, scan), "two parts");
  RowSession nothing({20, parse_baseline("mean")}, plan_of(film(2)));
  EXPECT_THROW(nothing.finish(), NothingLearned);
}

TEST(RowSession, SaysWhenItsFirstRowsDoNotSuffice) {
  const SpectrumImage scan = film(2);
  SpectrumImage alike = scan;
  std::fill(alike.counts.begin(), alike.counts.end(), 100.0f);
  RowSession session({20, parse_baseline("mean")}, plan_of(scan));
  EXPECT_THROW(session.push(0, 20 * width, spectra(alike, 0, 20 * width)), NothingLearned);
  // What comes then would be scored as the rows that were to be learned from.
  expect_no_further(session, scan);
  EXPECT_EQ(session.state(), nullptr);
  EXPECT_THROW(RowSession({height + 1, parse_baseline("mean")}, plan_of(scan)), UserError);
  EXPECT_THROW(RowSession({2, parse_baseline("mean")}, plan_of(scan)), UserError) << "80 spectra";
  LearnFromRows cropped{20, parse_baseline("mean")};
  cropped.preprocess.crop_x = {{0, 30}};
  EXPECT_THROW(RowSession(cropped, plan_of(scan)), UserError);
  LearnFromRows few{20, parse_baseline("mean")};
  few.energy_range = {{500.0, 530.0}};
  EXPECT_THROW(RowSession(few, plan_of(scan)), UserError) << "13 channels";
  few.energy_range = {{500.0, 560.0}};
  RowSession(few, plan_of(scan));
  few.preprocess.bin_energy = 2;
  EXPECT_THROW(RowSession(few, plan_of(scan)), UserError) << "12 channels";
  LearnFromRows joint{20, parse_baseline("mean")};
  joint.detection.score = Score::joint;
  EXPECT_THROW(RowSession(joint, plan_of(scan)), UserError);
  LearnFromRows elsewhere{20, parse_baseline("mean")};
  elsewhere.energy_range = {{3000.0, 3100.0}};
  EXPECT_THROW(RowSession(elsewhere, plan_of(scan)), UserError);
}

// A network sees the rows of a tile together; what it makes of them, and the scores, have the same bits.
TEST(RowSession, WithAModelEndsWithTheBitsOfADetectionInTheWholeImage) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  const ModelShape shape{8, 128, {2, 3, 4, 5}, 6, 3};
  for (const int64_t stride : {0, 3}) {
    DetectionConfig detection;
    detection.stride = stride;
    detection.blend = stride == 3 ? Blend::uniform : Blend::cosine;
    const SpectrumImage first = film(1);
    TilesConfig tiles;
    tiles.image_size = shape.image_size;
    const int64_t batch = tiles_at_a_time(tiles, detection, height, width);
    Model model(*backend, shape, ReconstructionLoss::cross_entropy, batch, Purpose::inference);
    model.allocate();
    model.initialize(3);
    const PreparedImage prepared = prepare(SpectrumImage(first), {}, std::nullopt);
    const auto state = std::make_shared<DetectionState>(keep_detection(
        prepared, detect_pixels(prepared.image, expect_from(model, prepared.image, detection), {}, detection),
        nullptr, {}, detection));
    state->model_fingerprint = "a model";

    SpectrumImage scan = film(2);
    scan.excluded.assign(static_cast<size_t>(height * width), 0);
    scan.excluded[17 * width + 5] = by_request;
    const PreparedImage other = prepare(SpectrumImage(scan), {}, std::nullopt, &state->fitted);
    const Detection wanted =
        detect(other.image, expect_from(model, other.image, detection), {}, detection, {}, {}, state.get());
    EXPECT_THROW(RowSession(state, plan_of(scan)), UserError) << "the model has to come with its state";
    RowSession session(state, plan_of(scan), 2,
                       std::make_unique<ModelRows>(model, height, width, state->fitted.energy, detection));
    EXPECT_GE(session.reach(), 7 + 12);
    for (int64_t y = 0; y < height; ++y) {
      session.push(y * width, width, spectra(scan, y * width, width));
      const Rows provisional = session.score_provisionally();
      EXPECT_GE(provisional.last, std::min(session.final_rows(), y));
    }
    session.finish();
    expect_same(session.result(), wanted, "stride " + std::to_string(stride));
  }
}

// A scan that ends early: a network need not look at what is missing.
TEST(RowReconstruction, IsZeroWhereRowsOfTilesAreExcluded) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", "fp32");
  const ModelShape shape{8, 128, {2, 3, 4, 5}, 6, 3};
  TilesConfig tiles;
  tiles.image_size = shape.image_size;
  Model model(*backend, shape, ReconstructionLoss::mse, tiles_at_a_time(tiles, {}, height, width),
              Purpose::inference);
  model.allocate();
  model.initialize(3);
  SpectrumImage scan = film(2);
  constexpr int64_t come = 22, missed = 37;  // rows [22, 37) are excluded, and a part of others
  scan.excluded.assign(static_cast<size_t>(height * width), 0);
  std::fill_n(scan.excluded.begin() + 3, 5, uint8_t{by_request});
  std::fill(scan.excluded.begin() + come * width, scan.excluded.begin() + missed * width,
            uint8_t{by_request});
  SpectrumImage image = prepare(std::move(scan), {}, std::nullopt).image;
  // Tiles begin at every fourth row: those of rows 24 and 28 lie within what is missing, and rows 28 to 31 in
  // no others. A network that saw these would make something of them.
  const int64_t row_size = width * image.energy.size;
  std::fill(image.counts.begin() + 28 * row_size, image.counts.begin() + 32 * row_size, 0.5f);
  const CountArray whole = reconstruct_image(model, image, 0, Blend::cosine, 4).spectra;
  RowReconstruction rows(model, height, width, image.energy, 0, Blend::cosine);
  CountArray told;
  for (int64_t y = 0; y < height; ++y) {
    const CountArray more = rows.add(SpectrumImageView(image).rows(y, y + 1));
    told.insert(told.end(), more.begin(), more.end());
  }
  ASSERT_EQ(told.size(), whole.size());
  const int64_t channels = image.energy.size;
  for (int64_t pixel = 0; pixel < height * width; ++pixel) {
    const auto of_pixel = [&](const CountArray& all) {
      return std::span<const float>(all).subspan(static_cast<size_t>(pixel * channels),
                                                 static_cast<size_t>(channels));
    };
    if (!image.excluded[static_cast<size_t>(pixel)])
      expect_same_bits(of_pixel(told), of_pixel(whole), "pixel " + std::to_string(pixel));
    if (28 <= pixel / width && pixel / width < 32) {
      EXPECT_TRUE(std::ranges::all_of(of_pixel(told), [](float v) { return v == 0; })) << "pixel " << pixel;
    }
  }
}

// A state that was measured in another specimen, or at another dose, is no measure of this scan.
TEST(RowSession, SaysWhenTheStateDoesNotFitTheScan) {
  SimulationSettings s;
  s.height = s.width = 96;
  s.channels = 128;
  s.energy_offset_ev = 440;
  s.dispersion_ev = 2.4;
  s.exposure = 4;
  const auto recording = [&](uint64_t noise_seed) {
    s.noise_seed = noise_seed;
    return simulate(s).image;
  };
  const auto state = std::make_shared<DetectionState>(
      learn_state(recording(1), parse_baseline("mean"), {}, {}, std::nullopt));
  const Detection alike = whole(*state, recording(2));
  for (const std::string& doubt : alike.doubts)
    EXPECT_EQ(doubt.find("here than where"), std::string::npos) << doubt;
  SpectrumImage noisier = recording(2);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (float& c : noisier.counts) c += 40 * normal(random);
  bool said = false;
  for (const std::string& doubt : whole(*state, noisier).doubts)
    said = said || doubt.find("score higher here than where the state was measured") != std::string::npos;
  EXPECT_TRUE(said);
}

}  // namespace
}  // namespace eelsvae
