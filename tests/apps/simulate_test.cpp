// Specimens and defects from the command line: what is written agrees, and mistakes are told in a line.

#include "io/files/npy.h"
#include "tests/apps/programs_test.h"

namespace eelsvae {
namespace {

class SimulateTest : public ProgramsTest {
 protected:
  ProgramResult simulate(const std::vector<std::string>& more, const std::string& output = "film.npy") const {
    std::vector<std::string> arguments = {"--shape", "24", "24", "96", "--output", output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    if (std::find(more.begin(), more.end(), "--offset-ev") == more.end())
      arguments.insert(arguments.end(), {"--offset-ev", "700"});
    return program("simulate", arguments);
  }
};

TEST_F(SimulateTest, WritesTheKindsOfDefects) {
  const ProgramResult result =
      simulate({"--preset", "drift", "--defect", "fe-shift:2:disc:1", "--defect", "intensity:0.3:line:2@3",
                "--anomalies", "4", "--truth", "truth.npy", "--labels", "labels.npy"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("35 anomalous pixels"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("label 1: fe-shift 2 eV, 20 pixels"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("label 2: intensity 0.3 relative, 15 pixels"), std::string::npos) << result.out;
  EXPECT_EQ(read_npy_header(path("labels.npy")).type, ElementType::uint8);
  const std::vector<float> labels = read_npy(path("labels.npy")).values;
  EXPECT_EQ(std::count(labels.begin(), labels.end(), 1.0f), 20);
  EXPECT_EQ(std::count(labels.begin(), labels.end(), 2.0f), 15);
  const std::vector<uint8_t> truth = read_npy_mask(path("truth.npy"), 24, 24);
  for (size_t i = 0; i < labels.size(); ++i) EXPECT_EQ(truth[i] != 0, labels[i] != 0);
}

TEST_F(SimulateTest, TruthIsUndecidedAroundChangedColumns) {
  const ProgramResult result =
      simulate({"--preset", "lattice", "--defect", "vacancy:0.8@1", "--truth", "truth.npy"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::vector<float> truth = read_npy(path("truth.npy")).values;
  EXPECT_GT(std::count(truth.begin(), truth.end(), 1.0f), 5);
  EXPECT_GT(std::count(truth.begin(), truth.end(), -1.0f), 20);
  EXPECT_GT(std::count(truth.begin(), truth.end(), 0.0f), 300);
}

TEST_F(SimulateTest, ShortOptionsMeanWhatTheyStandFor) {
  ASSERT_EQ(simulate({"--shift-ev", "3", "--anomaly-radius", "1.5", "--anomalies", "5"}, "short.npy").status,
            0);
  ASSERT_EQ(simulate({"--defect", "fe-shift:3:disc:1.5", "--anomalies", "5"}, "long.npy").status, 0);
  EXPECT_EQ(read_bytes(path("short.npy")), read_bytes(path("long.npy")));
  ASSERT_EQ(simulate({"--defect", "none"}, "none.npy").status, 0);
  ASSERT_EQ(simulate({"--anomalies", "0"}, "zero.npy").status, 0);
  EXPECT_EQ(read_bytes(path("none.npy")), read_bytes(path("zero.npy")));
  EXPECT_NE(read_bytes(path("none.npy")), read_bytes(path("long.npy")));
  // A preset is a choice of options.
  ASSERT_EQ(simulate({"--drift-ev", "1.5"}, "options.npy").status, 0);
  ASSERT_EQ(simulate({"--preset", "drift"}, "preset.npy").status, 0);
  EXPECT_EQ(read_bytes(path("options.npy")), read_bytes(path("preset.npy")));
  ASSERT_EQ(simulate({"--preset", "drift", "--noise-seed", "0"}, "same.npy").status, 0);
  ASSERT_EQ(simulate({"--preset", "drift", "--noise-seed", "1"}, "other.npy").status, 0);
  EXPECT_EQ(read_bytes(path("same.npy")), read_bytes(path("preset.npy")));
  EXPECT_NE(read_bytes(path("other.npy")), read_bytes(path("preset.npy")));
}

TEST_F(SimulateTest, DirectionsAndThePositionAreOptions) {
  auto same = [&](const std::vector<std::string>& preset, const std::vector<std::string>& more) {
    std::vector<std::string> both = preset;
    both.insert(both.end(), more.begin(), more.end());
    EXPECT_EQ(simulate(preset, "preset.npy").status, 0);
    const ProgramResult result = simulate(both, "changed.npy");
    EXPECT_EQ(result.status, 0) << result.err;
    return read_bytes(path("preset.npy")) == read_bytes(path("changed.npy"));
  };
  const std::vector<std::string> interface = {"--preset", "interface"}, gradient = {"--preset", "gradient"},
                                 wedge = {"--preset", "wedge"};
  EXPECT_TRUE(same(interface, {"--interface-position", "0.5", "--interface-angle-deg", "15"}));
  EXPECT_FALSE(same(interface, {"--interface-position", "0.6"}));
  EXPECT_FALSE(same(interface, {"--interface-angle-deg", "180"}));
  EXPECT_TRUE(same(gradient, {"--manganese-direction-deg", "0"}));
  EXPECT_FALSE(same(gradient, {"--manganese-direction-deg", "90"}));
  EXPECT_TRUE(same(wedge, {"--thickness-direction-deg", "90"}));
  EXPECT_FALSE(same(wedge, {"--thickness-direction-deg", "0"}));
  EXPECT_FALSE(same({"--preset", "bfo", "--thickness", "0.3", "1.2"}, {"--thickness-direction-deg", "-45"}));
}

TEST_F(SimulateTest, DescribesTheSimulationInTheImage) {
  ASSERT_EQ(simulate({"--preset", "hetero", "--defect", "cosmic:900@2"}, "film.hspy").status, 0);
  const ProgramResult info = program("info", {"film.hspy", "--json"});
  ASSERT_EQ(info.status, 0) << info.err;
  EXPECT_NE(info.out.find("hetero"), std::string::npos) << info.out;
}

TEST_F(SimulateTest, MistakesAreOneLine) {
  auto refused = [&](const std::vector<std::string>& options, const std::vector<std::string>& fragments) {
    const std::set<std::pair<std::string, uintmax_t>> before = contents(path("."));
    expect_mistake(simulate(options), fragments);
    EXPECT_EQ(contents(path(".")), before);
  };
  refused({"--preset", "gold"}, {"gold", "hetero"});
  refused({"--defect", "fe-shft:2"}, {"fe-shft", "ti-shift"});
  refused({"--defect", "oxygen"}, {"oxygen", "KIND:STRENGTH"});
  refused({"--defect", "oxygen:2"}, {"oxygen", "at most at 1"});
  refused({"--defect", "ti-shift:1"}, {"ti-shift", "Ti is at home"});
  refused({"--defect", "none", "--defect", "oxygen:1"}, {"none", "alone"});
  refused({"--defect", "oxygen:1", "--shift-ev", "2"}, {"--shift-ev", "--defect"});
  refused({"--interface-width-nm", "2"}, {"bfo", "interface"});
  refused({"--interface-position", "0.2"}, {"bfo", "interface"});
  refused({"--preset", "hetero", "--interface-position", "2"}, {"position", "between 0 and 1"});
  refused({"--manganese-direction-deg", "90"}, {"--manganese-direction-deg", "--manganese sets"});
  refused({"--preset", "gradient", "--thickness-direction-deg", "0"},
          {"--thickness-direction-deg", "--thickness sets"});
  refused({"--preset", "wedge", "--thickness-direction-deg", "500"}, {"wedge", "-360 and 360"});
  refused({"--manganese", "0", "2"}, {"Mn"});
  refused({"--thickness", "0", "9"}, {"thickness"});
  refused({"--labels", "labels.txt"}, {"--labels", ".npy"});
  refused({"--labels", "film.npy"}, {"--labels", "--output"});
  refused({"--labels", "a.npy", "--truth", "a.npy"}, {"--labels", "--truth"});
  // A truth of what the image cannot show.
  refused({"--offset-ev", "420", "--truth", "truth.npy"}, {"fe-shift", "no effect", "420 to 448.5 eV"});
}

}  // namespace
}  // namespace eelsvae
