// eelsvae-convert as a user runs it.

#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class ConvertTest : public ProgramsTest {
 protected:
  ConvertTest() { simulate_film(); }

  ProgramResult convert(std::vector<std::string> arguments) const { return program("convert", arguments); }
  SpectrumImage read(const std::string& name, const ReadOptions& options = {}) const {
    return read_spectrum_image(path(name), options);
  }
};

TEST_F(ConvertTest, ValuesAndAxesGoThroughEveryFormatUnchanged) {
  const SpectrumImage film = read("film.hspy");
  ASSERT_EQ(convert({"film.hspy", "a.dm4"}).status, 0);
  ASSERT_EQ(convert({"a.dm4", "b.hspy"}).status, 0);
  ASSERT_EQ(convert({"b.hspy", "c.npy"}).status, 0);
  for (const char* name : {"a.dm4", "b.hspy"}) {
    const SpectrumImage image = read(name);
    EXPECT_EQ(image.counts, film.counts) << name;
    for (const auto& [found, expected] :
         {std::pair{&image.y, &film.y}, {&image.x, &film.x}, {&image.energy, &film.energy}}) {
      EXPECT_EQ(found->units, expected->units) << name;
      EXPECT_DOUBLE_EQ(found->scale, expected->scale) << name;
      EXPECT_DOUBLE_EQ(found->offset, expected->offset) << name;
    }
  }
  const ProgramResult told =
      convert({"c.npy", "d.hspy", "--set", "data.energy_offset=700", "--set", "data.dispersion=0.3"});
  ASSERT_EQ(told.status, 0) << told.err;
  EXPECT_EQ(read("d.hspy").counts, film.counts);
  EXPECT_EQ(read("d.hspy").energy.offset, 700);
}

TEST_F(ConvertTest, TellsHowToReadWhatHasNoPlaceForAxes) {
  const ProgramResult result = convert({"film.hspy", "c.npy"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("--set data.energy_offset=700 --set data.dispersion=0.3"), std::string::npos)
      << result.out;
}

TEST_F(ConvertTest, DoesWhatIsAskedForAndReportsIt) {
  SpectrumImage film = read("film.hspy");
  CountArray counts = film.counts;
  film.spectrum(5 * 26 + 7)[30] += 5000;  // a cosmic ray
  write_npy(path("hit.npy"), {22, 26, 64}, film.counts.data());
  const std::vector<std::string> calibration = {"--set", "data.energy_offset=700", "--set",
                                                "data.dispersion=0.3"};
  std::vector<std::string> arguments = {"hit.npy",  "out.hspy",
                                        "--report", "report.json",
                                        "--set",    "preprocess.despike=8",
                                        "--set",    "preprocess.bin_xy=2",
                                        "--set",    "preprocess.crop_y=4,22",
                                        "--set",    "data.energy_range=703,712"};
  arguments.insert(arguments.end(), calibration.begin(), calibration.end());
  const ProgramResult result = convert(arguments);
  ASSERT_EQ(result.status, 0) << result.err;
  const json report = json::parse(read_bytes(path("report.json")));
  ASSERT_EQ(report["spikes"].size(), 1u) << report.dump();
  const json& spike = report["spikes"][0];
  EXPECT_EQ(spike["y"], 5);
  EXPECT_EQ(spike["x"], 7);
  EXPECT_EQ(spike["channel"], 30);
  EXPECT_NEAR(spike["energy_ev"], 709, 1e-9);
  EXPECT_GT(spike["old_counts"].get<double>(), spike["new_counts"].get<double>() + 4000);
  EXPECT_FALSE(report["notes"].empty());

  const SpectrumImage image = read("out.hspy");
  EXPECT_EQ(image.y.size, 9);
  EXPECT_EQ(image.x.size, 13);
  EXPECT_EQ(image.energy.size, 31);
  EXPECT_NEAR(image.energy.offset, 703, 1e-9);
  const auto at = [&](int64_t y, int64_t x, int64_t e) {
    return counts[static_cast<size_t>((y * 26 + x) * 64 + e)];
  };
  const float sum = at(6, 8, 12) + at(6, 9, 12) + at(7, 8, 12) + at(7, 9, 12);  // far from the spike
  EXPECT_NEAR(image.spectrum(1 * 13 + 4)[2], sum, 1e-3);
}

TEST_F(ConvertTest, SmoothsAndScalesOnlyIfAsked) {
  ASSERT_EQ(convert({"film.hspy", "s.npy", "--set", "preprocess.scaling_method=minmax"}).status, 0);
  const NpyArray scaled = read_npy(path("s.npy"));
  const auto [low, high] = std::minmax_element(scaled.values.begin(), scaled.values.end());
  EXPECT_EQ(*low, 0);
  EXPECT_NEAR(*high, 1, 1e-6);
}

TEST_F(ConvertTest, MistakesLeaveNoTrace) {
  write_bytes(path("cut.hspy"), read_bytes(path("film.hspy")).substr(0, 5000));
  const auto before = contents(path(""));
  expect_mistake(convert({"film.hspy", "out.tif"}), {"OUT out.tif", ".hspy, .dm4 or .npy"});
  expect_mistake(convert({"film.hspy", "film.hspy"}), {"film.hspy", "is read by this conversion"});
  expect_mistake(convert({"missing.dm4", "out.hspy"}), {"missing.dm4", "No such file"});
  expect_mistake(convert({"cut.hspy", "out.hspy"}), {"cut.hspy"});
  expect_mistake(convert({"film.hspy", "out.hspy", "--set", "training.epochs=3"}), {"training.epochs"});
  expect_mistake(convert({"film.hspy", "out.hspy", "--set", "preprocess.bin_xy=40"}), {"preprocess.bin_xy"});
  expect_mistake(convert({"film.hspy", "out.hspy", "--dataset", "4"}), {"has no image 4"});
  expect_mistake(convert({"film.hspy", "nowhere/out.hspy"}), {"cannot write nowhere/out.hspy"});
  // Of several files none is written where one cannot be.
  expect_mistake(convert({"film.hspy", "out.hspy", "--report", "nowhere/report.json"}),
                 {"cannot write nowhere/report.json"});
  expect_mistake(program("simulate", {"--shape", "22", "26", "64", "--offset-ev", "700", "--output",
                                      "other.hspy", "--truth", "nowhere/truth.npy"}),
                 {"cannot write nowhere/truth.npy"});
  EXPECT_EQ(contents(path("")), before);
}

}  // namespace
}  // namespace eelsvae
