// The thread that scores, and what it tells.

#include "io/serve/scan_work.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>

#include "io/reports/embedded_arrays.h"
#include "tests/io/serve/scan_double.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr int64_t height = 6, width = 5, channels = 4;

const ScanWork::Party a = {ScanWork::For::client, "a"}, starting_a = {ScanWork::For::client_start, "a"};

StartMessage start_of(const std::string& series) {
  StartMessage start;
  start.series = series;
  start.plan = {height, width, {"Energy loss", "eV", 400, 1, channels}, {}};
  return start;
}

// Events, in the order in which they come.
class Work {
 public:
  explicit Work(LiveScanSource& source, std::vector<std::array<int64_t, 4>> exclude = {},
                double most_measured = 10)
      : work_(
            source, view, [this] { changed_.notify_all(); }, std::move(exclude), most_measured) {}

  void send(int64_t number, int64_t first, int64_t count, float value = 410,
            const std::string& series = "film") {
    auto data = std::make_shared<std::vector<float>>(static_cast<size_t>(count * channels), value);
    BlockMessage block{series_.emplace_back(series), number, first, count, {}};
    block.data.bytes = std::as_bytes(std::span(*data));
    work_.take(a, data, block, service_clock());
  }
  void start(const StartMessage& start) { work_.start(starting_a, start); }
  void end() { work_.end(a, {"film"}, service_clock()); }
  void show(const std::string& client) { work_.show(client); }

  // The next event of a type, to whom it is; fails after a while.
  ScanWork::Event next(const std::string& type) {
    const double begin = service_clock();
    while (service_clock() - begin < 5) {
      for (ScanWork::Event& event : work_.events()) events_.push_back(std::move(event));
      while (!events_.empty()) {
        ScanWork::Event event = std::move(events_.front());
        events_.pop_front();
        if (event.message["type"] == type) return event;
      }
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, std::chrono::milliseconds(20));
    }
    ADD_FAILURE() << "no " << type;
    return {};
  }

  LiveView view{"test"};

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> series_;
  std::deque<ScanWork::Event> events_;
  ScanWork work_;
};

std::vector<float> floats_of(const json& bytes) {
  const auto& binary = bytes.get_binary();
  std::vector<float> values(binary.size() / sizeof(float));
  std::memcpy(values.data(), binary.data(), binary.size());
  return values;
}

TEST(ScanWork, ScoresAreProvisionalThenFinal) {
  ScanDoubles source(2);
  Work work(source);
  work.start(start_of("film"));
  const json started = work.next("started").message;
  EXPECT_EQ(started["reach"], 2);
  EXPECT_GT(started["capacity"], 0);
  EXPECT_EQ(started["missing"], json({{0, height * width}}));
  work.send(0, 0, width, 420);
  const ScanWork::Event taken = work.next("taken");
  EXPECT_EQ(taken.to.client, "a");
  EXPECT_EQ(taken.bytes, width * channels * 4);
  EXPECT_EQ(taken.message["received"], width);
  json scores = work.next("scores").message;
  EXPECT_EQ(scores["first_row"], 0);
  EXPECT_EQ(scores["rows"], 1);
  EXPECT_EQ(scores["final"], false);
  EXPECT_EQ(scores["threshold_final"], false);
  EXPECT_EQ(floats_of(scores["scores"]), std::vector<float>(width, 20));
  work.send(1, width, 2 * width);
  do scores = work.next("scores").message;
  while (scores["final"] != true);
  EXPECT_EQ(scores["first_row"], 0);
  EXPECT_EQ(scores["final_rows"], 1);
  work.end();
  const json ended = work.next("ended").message;
  EXPECT_EQ(ended["counts"]["received"], 3 * width);
  EXPECT_EQ(ended["counts"]["missing"], 3 * width);
  EXPECT_EQ(work.view.state()["scan"]["state"], "ended");
  EXPECT_EQ(work.view.state()["scan"]["final_rows"], height);
}

TEST(ScanWork, WhatDoesNotFitTheScanIsRefusedWithItsNumber) {
  ScanDoubles source;
  Work work(source);
  work.send(0, 0, width);
  EXPECT_EQ(work.next("error").message["message"], "no scan 'film' is running here; start it");
  work.start(start_of("film"));
  work.next("started");
  work.send(3, height * width - 1, 2);
  const ScanWork::Event error = work.next("error");
  EXPECT_EQ(error.message["number"], 3);
  EXPECT_EQ(error.bytes, 2 * channels * 4);  // they count no longer as outstanding
  work.send(4, 0, 1, NAN);
  EXPECT_EQ(work.next("error").message["message"], "counts that are not finite");
  work.send(5, 0, 1);
  EXPECT_EQ(work.next("taken").message["received"], 1);
}

TEST(ScanWork, ScanGoesOnWhereItWas) {
  ScanDoubles source;
  Work work(source);
  work.start(start_of("film"));
  work.next("started");
  work.send(0, 0, width);
  work.send(1, width + 2, 1);
  work.next("taken");
  work.next("taken");
  StartMessage again = start_of("film");
  again.resume = true;
  work.start(again);
  const json started = work.next("started").message;
  EXPECT_EQ(started["resumed"], true);
  EXPECT_EQ(started["received"], width + 1);
  EXPECT_EQ(started["missing"], json({{width, 2}, {width + 3, height * width - width - 3}}));
  again.type = ElementType::uint8;
  work.start(again);
  EXPECT_EQ(work.next("error").message["refused"], true);
  // Without resume the series begins anew; a service that does not know a series begins it.
  work.start(start_of("film"));
  EXPECT_EQ(work.next("started").message["received"], 0);
  again.series = "other";
  work.start(again);
  EXPECT_EQ(work.next("started").message["resumed"], false);
  work.end();
  EXPECT_NE(work.next("error").message["message"].get<std::string>().find("'film'"), std::string::npos);
}

TEST(ScanWork, RemainingRowsOfAScanAreTakenAndTheOthersAreMissing) {
  ScanDoubles source;
  Work work(source);
  StartMessage start = start_of("film");
  start.resume = true;
  work.start(start);
  EXPECT_EQ(work.next("started").message["resumed"], false);
  work.send(0, 3 * width, 3 * width);
  work.next("taken");
  work.end();
  const json ended = work.next("ended").message;
  EXPECT_EQ(ended["counts"]["missing"], 3 * width);
  EXPECT_EQ(ended["counts"]["received"], 3 * width);
  EXPECT_NE(ended["summary"].get<std::string>().find("15 never came"), std::string::npos);
}

TEST(ScanWork, RectanglesOfEveryScanAreLeftOut) {
  ScanDoubles source;
  Work work(source, {{{0, 0, height, 1}}, {{4, 1, 6, 3}}});
  StartMessage start = start_of("film");
  start.plan.excluded.assign(height * width, 0);
  start.plan.excluded[4] = 1;
  work.start(start);
  EXPECT_EQ(work.next("started").message["missing"][0], (json{1, 3}));
  work.send(0, 0, height * width);
  EXPECT_EQ(work.next("taken").message["received"], height * width - height - 4 - 1);
  work.end();
  const json ended = work.next("ended").message;
  EXPECT_EQ(ended["counts"]["missing"], 0);
  EXPECT_FALSE(ended["delay_ms"]["provisional"].is_null() && ended["delay_ms"]["final"].is_null());
  // The same scan goes on, and a smaller one than the rectangles is refused.
  start.series = "small";
  start.plan.height = 3;
  start.plan.excluded.clear();
  work.start(start);
  EXPECT_EQ(work.next("error").message["refused"], true);
}

TEST(ScanWork, WhatIsTooFastIsRefusedBeforeItBegins) {
  ScanDoubles slow(2, 0.02);
  Work work(slow);
  StartMessage start = start_of("film");
  start.rate = 1000;
  work.start(start);
  const json refusal = work.next("error").message;
  EXPECT_EQ(refusal["refused"], true);
  EXPECT_NE(refusal["message"].get<std::string>().find("would bring 1,000 spectra/s"), std::string::npos);
  start.rate = 20;
  work.start(start);
  const double capacity = work.next("started").message["capacity"];
  EXPECT_GT(capacity, 20);
  EXPECT_LE(capacity, 5 / 0.02);
}

TEST(ScanWork, WhoComesLateIsToldAll) {
  ScanDoubles source;
  Work work(source);
  work.show("b");
  EXPECT_EQ(work.next("scan").message["state"], "none");
  work.start(start_of("film"));
  work.next("started");
  work.send(0, 0, 4 * width, 430);
  work.next("scores");
  work.show("b");
  ScanWork::Event event;
  do event = work.next("scan");
  while (event.to.client != "b");
  EXPECT_EQ(event.message["series"], "film");
  do event = work.next("scores");
  while (event.to.client != "b");
  EXPECT_EQ(event.message["final"], true);
  EXPECT_EQ(event.message["rows"], 2);
  EXPECT_EQ(floats_of(event.message["scores"]), std::vector<float>(2 * width, 30));
}

// What fails, and where, is told once: the scan is over where it cannot go on, and only there.
class FailingScan : public ScanDouble {
 public:
  FailingScan(const ScanPlan& plan, const std::atomic<const char*>& where)
      : ScanDouble(plan, 2, 0), where_(where) {}
  double threshold() const override { return failing("threshold"), ScanDouble::threshold(); }
  std::span<const float> scores() const override { return failing("scores"), ScanDouble::scores(); }
  Rows finish() override { return failing("finish"), ScanDouble::finish(); }
  const ScanCounts& counts() const override { return failing("counts"), ScanDouble::counts(); }

 private:
  void failing(const char* what) const {
    if (std::strcmp(where_, what) == 0) throw std::bad_alloc();
  }
  const std::atomic<const char*>& where_;
};
class FailingScans : public LiveScanSource {
 public:
  std::unique_ptr<LiveScan> open(const ScanPlan& plan) override {
    return std::make_unique<FailingScan>(plan, where);
  }
  std::string description() const override { return "a double"; }
  std::atomic<const char*> where = "";
};

TEST(ScanWork, BlockIsAnsweredOnceWhereScoringFailsAfterIt) {
  FailingScans source;
  Work work(source);
  work.start(start_of("film"));
  work.next("scan");
  work.send(0, 0, width);
  work.next("scores");
  source.where = "threshold";
  work.send(1, width, 3 * width);
  work.next("taken");
  const ScanWork::Event failed = work.next("scan");
  EXPECT_EQ(failed.to.kind, ScanWork::For::everyone);
  EXPECT_EQ(failed.message["state"], "failed");
  EXPECT_FALSE(failed.message["failure"].get<std::string>().empty());
  EXPECT_EQ(work.view.state()["scan"]["state"], "failed");
  // The next answer is the next block's.
  work.send(2, 0, 1);
  EXPECT_EQ(work.next("error").message["number"], 2);
}

TEST(ScanWork, EndThatFailsIsAnswered) {
  FailingScans source;
  Work work(source);
  work.start(start_of("film"));
  work.next("scan");
  source.where = "finish";
  work.end();
  const ScanWork::Event error = work.next("error");
  EXPECT_EQ(error.to, a);
  EXPECT_EQ(error.message["refused"], true);
  EXPECT_EQ(work.next("scan").message["state"], "failed");
}

TEST(ScanWork, StartOrWatcherThatFailsLeavesTheScan) {
  FailingScans source;
  Work work(source);
  work.start(start_of("film"));
  work.next("started");
  work.send(0, 0, 4 * width);
  work.next("regions");
  source.where = "scores";
  work.show("b");
  const ScanWork::Event error = work.next("error");
  EXPECT_EQ(error.to.client, "b");
  EXPECT_EQ(error.message["refused"], true);
  source.where = "";
  work.send(1, 4 * width, 2 * width);
  EXPECT_EQ(work.next("taken").message["received"], 2 * width);
  work.end();
  work.next("ended");
}

// A scan whose rows take long, and are cheap where they are missing, is not measured by what is missing.
TEST(ScanWork, CapacityIsThatOfRowsThatWereScored) {
  ScanDoubles slow(4, 0.1);
  Work work(slow, {}, 0.25);
  StartMessage start = start_of("film");
  start.plan.height = 40;
  double begin = service_clock();
  work.start(start);
  EXPECT_TRUE(work.next("started").message["capacity"].is_null());
  EXPECT_LT(service_clock() - begin, 2);  // and not the four seconds of all rows
  // What cannot be measured is not tried again.
  start.series = "other";
  begin = service_clock();
  work.start(start);
  EXPECT_TRUE(work.next("started").message["capacity"].is_null());
  EXPECT_LT(service_clock() - begin, 0.25);
}

TEST(ScanWork, RateIsThatOfNow) {
  ScanDoubles source;
  Work work(source);
  work.start(start_of("film"));
  work.next("started");
  work.send(0, 0, width);
  work.next("taken");
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  work.send(1, width, width);
  work.next("taken");
  const double begin = service_clock();
  const auto rate = [&] { return work.view.state()["scan"]["rate"].get<double>(); };
  while (rate() == 0 && service_clock() - begin < 5)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_GT(rate(), 0);
  while (rate() > 0 && service_clock() - begin < 20)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(rate(), 0);
}

TEST(LiveView, OnlyWhatHasChangedIsTold) {
  ScanDoubles source;
  Work work(source);
  work.start(start_of("film"));
  work.next("started");
  const json all = work.view.changes_since(-1);
  EXPECT_EQ(all["all"], true);
  EXPECT_FALSE(all.contains("rows"));  // none has scores
  work.send(0, 0, width, 480);
  work.next("regions");
  const json changes = work.view.changes_since(all["version"]);
  EXPECT_EQ(changes["all"], false);
  EXPECT_EQ(changes["rows"], json({{0, 1}}));
  ASSERT_EQ(changes["worst"].size(), static_cast<size_t>(width));
  EXPECT_EQ(changes["worst"][0]["score"], 80);
  const json none = work.view.changes_since(changes["version"]);
  EXPECT_FALSE(none.contains("rows"));
  EXPECT_FALSE(none.contains("worst"));
  // A version of a service that was there before.
  EXPECT_EQ(work.view.changes_since(1)["all"], true);
}

// Of a large map so much at once that nobody waits for it; each row as it was when it was told.
TEST(LiveView, LargeMapsAreToldInParts) {
  constexpr int64_t rows = 4096, columns = 1024;
  ScanState state;
  state.height = rows;
  state.width = columns;
  LiveView view("test");
  std::vector<uint8_t> excluded(rows * columns);
  excluded[9] = 1;
  view.begin(state, excluded);
  std::vector<float> scores(rows * columns);
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(i / columns);
  view.set_rows({0, rows}, scores);
  std::vector<int64_t> told(rows);
  int64_t version = -1, answers = 0;
  for (bool more = true; more; ++answers) {
    const json changes = view.changes_since(version);
    EXPECT_EQ(changes["all"], version == -1);
    if (version == -1) {
      EXPECT_EQ(changes["excluded"].get<std::string>().substr(0, 4), base64(std::vector<uint8_t>{0, 2, 0}));
      // What changes meanwhile is told again.
      view.set_rows({0, 3}, scores);
    }
    version = changes["version"];
    int64_t size = 0;
    for (const json& run : changes["rows"])
      for (int64_t y = run[0]; y < run[1]; ++y, ++size) ++told[static_cast<size_t>(y)];
    EXPECT_LE(size * columns, 1 << 20);
    EXPECT_EQ(changes["scores"].get<std::string>().size(),
              static_cast<size_t>((size * columns * 4 + 2) / 3 * 4));
    more = changes.contains("more");
    ASSERT_LT(answers, 10);
  }
  EXPECT_EQ(answers, 5);
  for (int64_t y = 0; y < rows; ++y) EXPECT_EQ(told[static_cast<size_t>(y)], y < 3 ? 2 : 1) << y;
  EXPECT_FALSE(view.changes_since(version).contains("rows"));
}

// A scan of which something better knows more from a certain moment on: its scores are ten higher then.
class RenewedScan : public ScanDouble {
 public:
  RenewedScan(const ScanPlan& plan, std::atomic<bool>& better) : ScanDouble(plan, 2, 0), better_(better) {}
  bool renew() override {
    if (renewed_ || !better_) return false;
    renewed_ = true;
    for (const float score : ScanDouble::scores()) scores_.push_back(score + 10);
    return true;
  }
  std::span<const float> scores() const override { return renewed_ ? scores_ : ScanDouble::scores(); }
  std::string scored_by() const override { return renewed_ ? "better" : "first"; }

 private:
  std::atomic<bool>& better_;
  bool renewed_ = false;
  std::vector<float> scores_;
};
class RenewedScans : public ScanDoubles {
 public:
  std::unique_ptr<LiveScan> open(const ScanPlan& plan) override {
    return std::make_unique<RenewedScan>(plan, better);
  }
  std::vector<std::string> news() override {
    if (!better || told_) return {};
    told_ = true;
    return {"better is there"};
  }
  std::atomic<bool> better = false;

 private:
  bool told_ = false;
};

TEST(ScanWork, WhatScoresBetterTellsAllAnew) {
  for (const bool ended : {false, true}) {
    RenewedScans source;
    Work work(source);
    work.start(start_of("film"));
    EXPECT_EQ(work.next("scan").message["scored_by"], "first");
    work.send(0, 0, ended ? height * width : 3 * width);
    if (ended) {
      work.end();
      work.next("ended");
    } else {
      do {
      } while (work.next("scores").message["scored_rows"] != 3);
    }
    source.better = true;
    EXPECT_EQ(work.next("notice").message["message"], "better is there");
    const json scan = work.next("scan").message;
    EXPECT_EQ(scan["scored_by"], "better");
    EXPECT_EQ(scan["state"], ended ? "ended" : "running");
    const json first = work.next("scores").message;
    EXPECT_EQ(first["first_row"], 0);
    EXPECT_EQ(first["final"], true);
    EXPECT_EQ(floats_of(first["scores"]).at(0), 20);
    if (!ended) {
      EXPECT_EQ(work.next("scores").message["final"], false);
    }
    work.next("regions");
    if (ended) {
      EXPECT_EQ(work.next("ended").message["counts"]["received"], height * width);
    }
    EXPECT_EQ(work.view.state()["scan"]["scored_by"], "better");
  }
}

// A source that knows something better, which cannot keep up.
TEST(ScanWork, TheBetterScoresWhereItCanKeepUp) {
  class Both : public ScanDoubles {
   public:
    LiveScanSource* better(const ScanPlan&) override { return &slow_; }

   private:
    class Slow : public ScanDoubles {
     public:
      Slow() : ScanDoubles(2, 0.02) {}
      std::string description() const override { return "slow"; }
      std::unique_ptr<LiveScan> open(const ScanPlan& plan) override {
        class Named : public ScanDouble {
         public:
          explicit Named(const ScanPlan& of) : ScanDouble(of, 2, 0.02) {}
          std::string scored_by() const override { return "slow"; }
        };
        return std::make_unique<Named>(plan);
      }
    } slow_;
  } both;
  Work work(both);
  StartMessage start = start_of("film");
  start.rate = 20;
  work.start(start);
  EXPECT_EQ(work.next("scan").message["scored_by"], "slow");
  start.series = "faster";
  start.rate = 1000;
  work.start(start);
  EXPECT_EQ(work.next("scan").message["scored_by"], "a double");
  start.series = "detector";
  start.rate.reset();
  start.may_come = 1000;
  work.start(start);
  EXPECT_EQ(work.next("scan").message["scored_by"], "a double");
}

}  // namespace
}  // namespace eelsvae
