#include "io/formats/msa.h"

#include "io/formats/image_data.h"
#include "tests/io/file_test.h"
#include "tests/io/parts.h"

namespace eelsvae {
namespace {

class MsaTest : public FileTest {
 protected:
  // The lines that differ from those of a plain spectrum replace them; without a value they leave them out.
  std::string write(const std::vector<std::pair<std::string, std::string>>& changes,
                    const std::string& data) {
    std::vector<std::pair<std::string, std::string>> lines = {{"FORMAT", "EMSA/MAS Spectral Data File"},
                                                              {"VERSION", "1.0"},
                                                              {"TITLE", "NiO"},
                                                              {"NPOINTS", "6."},
                                                              {"XUNITS", "eV"},
                                                              {"DATATYPE", "Y"},
                                                              {"XPERCHAN", "0.5"},
                                                              {"OFFSET", "520.1"},
                                                              {"SIGNALTYPE", "ELS"}};
    for (const auto& [key, value] : changes) {
      const auto line = std::ranges::find(lines, key, &std::pair<std::string, std::string>::first);
      if (line == lines.end())
        lines.emplace_back(key, value);
      else
        line->second = value;
    }
    std::string text;
    for (const auto& [key, value] : lines)
      if (!value.empty())
        text += "#" + key + std::string(12 - std::min<size_t>(key.size(), 12), ' ') + ": " + value + "\r\n";
    write_bytes(path("a.msa"), text + data);
    return path("a.msa");
  }
  // Of the only image.
  static std::vector<float> counts(const std::string& file) {
    const StoredImage image = open_images(file).at(0);
    std::vector<float> values(static_cast<size_t>(image.info.shape.at(0)));
    image.values->read(whole_of(image.info.shape), dense_strides(image.info.shape), values.data());
    expect_parts(*image.values, image.info.shape, values.data());
    return values;
  }
  std::string mistake(const std::vector<std::pair<std::string, std::string>>& changes,
                      const std::string& data) {
    const std::string file = write(changes, data);
    const std::string error = user_error([&] { list_images(file); });
    EXPECT_EQ(error.rfind(file + ": ", 0), 0u) << error;
    return error.substr(std::min(error.size(), file.size() + 2));
  }
};

const std::string plain =
    "#SPECTRUM    : Spectral Data Starts Here\r\n1, 2, 3.5,\r\n4 -5 6e1\r\n#ENDOFDATA   :\r\n";

TEST_F(MsaTest, ASpectrumIsListed) {
  const std::string file = write({{"COMMENT", "first"}, {"#OWN", "x"}, {"BEAMKV   -kV", "200"}}, plain);
  EXPECT_EQ(image_format_name(file), "EMSA/MAS");
  const StoredImage image = open_images(file).at(0);
  EXPECT_EQ(image.info.title, "NiO");
  EXPECT_EQ(image.info.kind, "single spectrum");
  EXPECT_EQ(image.info.signal, "EELS");
  ASSERT_EQ(image.info.axes.size(), 1u);
  EXPECT_EQ(image.info.axes[0], (Axis{"Energy loss", "eV", 520.1, 0.5, 6}));
  EXPECT_EQ(counts(file), (std::vector<float>{1, 2, 3.5f, 4, -5, 60}));
  const nlohmann::json metadata = image.metadata();
  EXPECT_EQ(metadata["original_metadata"]["BEAMKV"], "200");
  EXPECT_EQ(metadata["original_metadata"]["COMMENT"], "first");
  EXPECT_EQ(metadata["metadata"]["General"]["title"], "NiO");
}

TEST_F(MsaTest, EnergiesOfPairsCalibrate) {
  const std::string file =
      write({{"DATATYPE", "XY"}, {"XUNITS", "Energy (keV)"}, {"NPOINTS", "3"}, {"OFFSET", "9"}},
            "#SPECTRUM\n0.25, 7\n0.5\t8\n0.75,9\n#ENDOFDATA\n");
  EXPECT_EQ(list_images(file)[0].axes[0], (Axis{"Energy loss", "eV", 250, 250, 3}));
  EXPECT_EQ(counts(file), (std::vector<float>{7, 8, 9}));
}

// Old Macintosh line ends, a byte order mark, lower case, a padded last line.
TEST_F(MsaTest, AsWritersHaveIt) {
  write_bytes(
      path("a.msa"),
      "\xef\xbb\xbf#format : emsa/mas spectral data file\r#npoints : 2\r#spectrum\r1,2,0,0\r#endofdata\r");
  EXPECT_EQ(counts(path("a.msa")), (std::vector<float>{1, 2}));
  EXPECT_EQ(list_images(path("a.msa"))[0].axes[0], (Axis{"Energy loss", "", 0, 1, 2}));
}

TEST_F(MsaTest, NoProgramWorksOnASpectrumAlone) {
  const std::string file = write({}, plain);
  EXPECT_EQ(
      user_error([&] { read_spectrum_image(file); }),
      file +
          ": holds a single spectrum (6,), a spectrum image (y, x, E) or a line scan (x, E) is needed; a "
          "spectrum alone has no others to be compared with or aligned to");
  Config config;
  config.preprocess.align_path = file;
  EXPECT_NE(user_error([&] { open_drift_image(config); }).find("aligned to"), std::string::npos);
}

TEST_F(MsaTest, SaysWhatIsWrong) {
  EXPECT_EQ(mistake({}, ""), "has no line #SPECTRUM, after which the counts would stand");
  EXPECT_EQ(mistake({}, "#SPECTRUM\n1,2,three\n"), "'three' among the counts is no number");
  EXPECT_EQ(mistake({}, "#SPECTRUM\n1,2,3\n"), "cut off: #NPOINTS is 6., and there are 3 counts");
  EXPECT_EQ(mistake({}, "#SPECTRUM\n1,2,3\n#ENDOFDATA\n"), "#NPOINTS is 6., and there are 3 counts");
  EXPECT_EQ(mistake({{"NPOINTS", "1e300"}}, plain), "#NPOINTS is 1e300, and there are 6 counts");
  EXPECT_EQ(mistake({{"NPOINTS", "-1"}}, plain), "#NPOINTS is -1, and there are 6 counts");
  EXPECT_EQ(mistake({{"NPOINTS", "many"}}, plain), "#NPOINTS is 'many', which is no number");
  EXPECT_EQ(mistake({{"OFFSET", "inf"}}, plain), "#OFFSET is 'inf', which is no number");
  EXPECT_EQ(mistake({{"DATATYPE", "Z"}}, plain), "DATATYPE is 'Z'; Y and XY are read");
  EXPECT_EQ(mistake({{"DATATYPE", "XY"}, {"NPOINTS", "2"}}, "#SPECTRUM\n1,2,3\n"),
            "cut off: DATATYPE is XY, and the last energy has no counts");
  EXPECT_NE(mistake({{"DATATYPE", "XY"}, {"NPOINTS", "3"}}, "#SPECTRUM\n1,2,2,2,9,2\n").find("is not even"),
            std::string::npos);
}

}  // namespace
}  // namespace eelsvae
