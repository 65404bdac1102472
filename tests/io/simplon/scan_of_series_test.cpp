#include "io/simplon/scan_of_series.h"

#include "tests/io/file_test.h"
#include "tests/io/simplon/scans_seen.h"

namespace eelsvae {
namespace {

using nlohmann::json;
using Lines = std::vector<std::string>;

class ScanOfSeriesTest : public testing::Test {
 protected:
  void make(const ScanOptions& options, const DetectorRegion& region = {}) {
    scan = std::make_unique<ScanOfSeries>(options, region, seen);
  }
  static ScanOptions shape(int64_t height, int64_t width, int64_t block = 256) {
    ScanOptions options;
    options.shape = {height, width};
    options.block = block;
    return options;
  }
  void start(uint64_t series, std::optional<int64_t> images = {}, json user_data = nullptr) {
    SeriesStart begin;
    begin.series = series;
    begin.images = images;
    begin.rows = 8, begin.columns = 3;
    begin.user_data = std::move(user_data);
    scan->start(begin);
  }
  void images(uint64_t series, const std::vector<int64_t>& indices, size_t channels = 3) {
    for (const int64_t index : indices) {
      const std::vector<float> spectrum(channels, static_cast<float>(index));
      SeriesImage image;
      image.series = series;
      image.index = index;
      image.rows = 8, image.columns = static_cast<int64_t>(channels);
      image.spectrum = spectrum;
      scan->image(image);
    }
  }
  // Of the last scan: the pixels that came, each with its own number.
  std::vector<int64_t> pixels() const {
    std::vector<int64_t> there;
    const auto& spectra = seen.scans.back().spectra;
    for (size_t i = 0; i < spectra.size(); ++i) {
      if (spectra[i].empty()) continue;
      EXPECT_EQ(spectra[i], std::vector<float>(spectra[i].size(), static_cast<float>(i)));
      there.push_back(static_cast<int64_t>(i));
    }
    return there;
  }

  ScansSeen seen;
  std::unique_ptr<ScanOfSeries> scan;
};

TEST_F(ScanOfSeriesTest, AWholeScanInBlocks) {
  ScanOptions options = shape(2, 5, 4);
  options.energy_offset = 100, options.dispersion = 0.5;
  make(options, {0, {}, 1, {}});
  start(5, 10);
  ASSERT_EQ(seen.scans.size(), 1u);
  const DetectorScan& begun = seen.scans[0].scan;
  EXPECT_EQ(begun.height, 2);
  EXPECT_EQ(begun.width, 5);
  EXPECT_EQ(begun.images, 10);
  EXPECT_FALSE(begun.joined_late);
  EXPECT_EQ(begun.energy, (Axis{"Energy loss", "eV", 100.5, 0.5, 2}));
  images(5, {0, 1, 2, 3, 4, 5}, 2);
  EXPECT_EQ(scan->waiting(), 2);
  scan->flush();
  images(5, {6, 7, 8, 9}, 2);
  scan->end(5);
  EXPECT_EQ(seen.blocks, (std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 2}, {6, 4}}));
  EXPECT_EQ(pixels(), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_TRUE(seen.scans[0].ended);
  EXPECT_EQ(seen.scans[0].frames.received, 10);
  EXPECT_EQ(seen.lines, Lines());
}

TEST_F(ScanOfSeriesTest, WhatIsLostRepeatedOrOutOfOrderIsCountedAndSaid) {
  make(shape(2, 5));
  start(5);
  images(5, {0, 1, 4, 3, 3, 4, 0, 7, 12, 10});
  EXPECT_EQ(scan->frames().lost, 3);
  scan->end(5);
  EXPECT_EQ(pixels(), (std::vector<int64_t>{0, 1, 3, 4, 7}));
  EXPECT_EQ(seen.blocks, (std::vector<std::pair<int64_t, int64_t>>{{0, 2}, {4, 1}, {3, 1}, {7, 1}}));
  const ScanFrames& frames = seen.scans[0].frames;
  EXPECT_EQ(frames.received, 5);
  EXPECT_EQ(frames.repeated, 3);
  EXPECT_EQ(frames.out_of_order, 1);
  EXPECT_EQ(frames.beyond_scan, 2);
  EXPECT_EQ(frames.lost, 3);      // 2, 5, 6
  EXPECT_EQ(frames.not_sent, 2);  // 8, 9
  EXPECT_EQ(
      seen.lines,
      (Lines{"series 5: image 4 came after image 1: images between them are late or lost; is anybody else "
             "connected to the detector?",
             "series 5: image 3 came after image 4", "series 5: image 3 came again: the first one counts",
             "series 5: image 12 lies beyond the scan of 2 x 5 pixels: not taken",
             "series 5: 3 lost, 3 repeated, 1 out of order, 2 beyond the scan, 2 pixels without image behind "
             "the "
             "last one"}));
}

TEST_F(ScanOfSeriesTest, TheStreamSaysWhatTheOptionsDoNot) {
  const json data = {{"scan_shape", {3, 4}}, {"energy_offset", -2.5}, {"dispersion", 0.25}, {"sample", "x"}};
  for (const json& user_data : {data, json(data.dump())}) {
    make({});
    start(1, {}, user_data);
    EXPECT_EQ(seen.scans.back().scan.height, 3);
    EXPECT_EQ(seen.scans.back().scan.width, 4);
    EXPECT_EQ(seen.scans.back().scan.energy, (Axis{"Energy loss", "eV", -2.5, 0.25, 3}));
    scan->stop();
  }
  ScanOptions options = shape(1, 2);
  options.dispersion = 1;
  make(options);
  start(2, {}, data);
  EXPECT_EQ(seen.scans.back().scan.width, 2);
  EXPECT_EQ(seen.scans.back().scan.energy.scale, 1);
  EXPECT_EQ(seen.scans.back().scan.energy.offset, -2.5);
  scan->stop();
  make(shape(1, 2));
  start(3, {}, "a remark");
  EXPECT_EQ(seen.scans.back().scan.energy, (Axis{"Energy loss", "", 0, 1, 3}));
}

TEST_F(ScanOfSeriesTest, ASeriesWithoutAScanIsSaidAndNotTaken) {
  const auto said = [&](const json& user_data) {
    make({});
    seen.lines.clear();
    start(1, {}, user_data);
    images(1, {0, 1});
    scan->end(1);
    EXPECT_EQ(seen.scans.size(), 0u);
    EXPECT_EQ(seen.lines.size(), 2u);
    EXPECT_EQ(seen.lines.back(), "series 1: 2 images not taken");
    return seen.lines.front();
  };
  EXPECT_EQ(
      said(nullptr),
      "series 1: no scan shape, neither given nor in user_data (header_appendix): its images are not taken");
  EXPECT_EQ(said({{"scan_shape", 12}}),
            "series 1: scan_shape of user_data (header_appendix) has to be [height, width]: its images are "
            "not taken");
  EXPECT_EQ(said("{\"scan_shape\": "),
            "series 1: user_data (header_appendix): not a JSON object: its images are not taken");
  for (const json& shape :
       {json{0, 4}, json{-1, 4}, json{1e300, 4}, json{1 << 26, 2}, json{"a", 3}, json{nullptr, nullptr}})
    EXPECT_NE(said({{"scan_shape", shape}}).find("; give height and width"), std::string::npos) << shape;
  EXPECT_NE(said({{"scan_shape", {2, 2}}, {"dispersion", -1}}), "");
  EXPECT_NE(said({{"scan_shape", {2, 2}}, {"energy_offset", "x"}}), "");
}

TEST_F(ScanOfSeriesTest, ARegionThatIsNotInTheImagesIsSaidAtTheStart) {
  make(shape(2, 2), {4, 9, 0, {}});
  start(1);
  EXPECT_EQ(seen.scans.size(), 0u);
  EXPECT_TRUE(seen.reported("does not lie in images of 8 rows and 3 columns")) << seen.lines.front();
}

TEST_F(ScanOfSeriesTest, OptionsThatCannotBeAreRefused) {
  EXPECT_NE(user_error([&] { make(shape(0, 4)); }), "");
  EXPECT_NE(user_error([&] { make(shape(int64_t{1} << 40, int64_t{1} << 40)); }), "");
  EXPECT_NE(user_error([&] { make(shape(2, 2, 0)); }), "");
  ScanOptions options = shape(2, 2);
  options.dispersion = 0;
  EXPECT_EQ(user_error([&] { make(options); }), "the dispersion has to be above 0 eV");
}

TEST_F(ScanOfSeriesTest, ANumberOfImagesThatIsNotTheScans) {
  make(shape(2, 5));
  start(1, 9);
  EXPECT_EQ(seen.lines, Lines{"series 1: 9 images for a scan of 10 pixels (2 x 5)"});
}

TEST_F(ScanOfSeriesTest, WhoComesLateTakesTheRest) {
  make(shape(2, 5));
  images(8, {4, 5, 6, 8});
  scan->end(8);
  EXPECT_TRUE(seen.scans.at(0).scan.joined_late);
  EXPECT_EQ(pixels(), (std::vector<int64_t>{4, 5, 6, 8}));
  EXPECT_EQ(seen.scans[0].frames.lost, 5);
  EXPECT_EQ(seen.lines.front(), "series 8: its start was not seen; the rest is taken");
  // Nothing says what they would be of.
  make({});
  images(9, {4, 5});
  EXPECT_EQ(seen.scans.size(), 1u);
  EXPECT_TRUE(seen.reported(
      "series 9: its start was not seen and no scan shape is given; give one to take the rest"));
}

TEST_F(ScanOfSeriesTest, SeriesThatFollowEachOther) {
  make(shape(1, 3));
  start(1);
  images(1, {0, 1});
  start(2);  // the first one was aborted
  EXPECT_FALSE(seen.scans.at(0).ended);
  EXPECT_EQ(seen.scans[0].frames.not_sent, 1);
  images(1, {2});  // too late
  images(2, {0, 1, 2});
  scan->end(1);
  EXPECT_FALSE(seen.scans[1].over);
  scan->end(2);
  EXPECT_TRUE(seen.scans.at(1).ended);
  images(2, {1});
  EXPECT_TRUE(seen.reported("series 2: image 2 of series 1 came after the series' end: not taken"));
  images(3, {0});  // whose start was lost
  scan->stop();
  EXPECT_EQ(seen.scans.size(), 3u);
  EXPECT_FALSE(seen.scans[2].ended);
  // A detector that was switched on again counts from the beginning.
  start(1);
  images(1, {0, 1, 2});
  scan->end(1);
  EXPECT_EQ(seen.scans.at(3).frames.received, 3);
}

TEST_F(ScanOfSeriesTest, ImagesOfAnotherSize) {
  make(shape(1, 3));
  start(1);
  images(1, {0});
  images(1, {1}, 4);
  images(1, {2});
  scan->end(1);
  EXPECT_EQ(pixels(), (std::vector<int64_t>{0, 2}));
  EXPECT_TRUE(seen.reported("image 1 is of another size than the first: not taken"));
  EXPECT_EQ(seen.lines.back(), "series 1: 1 lost, 1 of another size or series");
}

TEST_F(ScanOfSeriesTest, MessagesThatAreNotUnderstoodAreCounted) {
  make(shape(1, 3));
  scan->bad_message("noise");
  start(1);
  scan->bad_message("noise");
  scan->bad_message("more noise");
  images(1, {0, 1, 2});
  scan->end(1);
  EXPECT_EQ(seen.scans[0].frames.bad_messages, 2);
  EXPECT_EQ(seen.lines, (Lines{"noise: the message is not taken", "series 1: noise: the message is not taken",
                               "series 1: 2 messages not understood"}));
}

}  // namespace
}  // namespace eelsvae
