#include <gtest/gtest.h>

#include <numeric>

#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

// As Nion Swift writes them, shortened.
const std::string properties = R"({"version": 13, "uuid": "2f1c", "title": "a scan", "is_sequence": false,
  "collection_dimension_count": 2, "datum_dimension_count": 1, "data_shape": [2, 3, 4],
  "data_dtype": "float32", "dimensional_calibrations": [
    {"offset": -1.0, "scale": 0.5, "units": "nm"}, {"offset": 2.0, "scale": 0.25, "units": "nm"},
    {"offset": 0.42, "scale": 0.0003, "units": "keV"}],
  "metadata": {"hardware_source": {"signal_type": "eels"}}})";

class NionNdataTest : public FileTest {
 protected:
  std::string write(const std::vector<ZipFileMember>& members) {
    write_bytes(path("a.ndata"), zip_file(members));
    return path("a.ndata");
  }
};

CountArray counted(size_t size) {
  CountArray values(size);
  std::iota(values.begin(), values.end(), 0.f);
  return values;
}

std::string array(const std::string& shape = "(2, 3, 4)") {
  const CountArray values = counted(24);
  return npy_file("<f4", shape, raw_bytes(std::vector<float>(values.begin(), values.end())));
}

TEST_F(NionNdataTest, SpectrumImage) {
  for (const bool data_first : {true, false}) {
    const ZipFileMember data{"data.npy", array()}, described{"metadata.json", properties};
    const std::string file = data_first ? write({data, described}) : write({described, data});
    EXPECT_EQ(image_format_name(file), "Nion");
    EXPECT_EQ(list_images(file).at(0).signal, "EELS");
    const SpectrumImage image = read_spectrum_image(file);
    EXPECT_EQ(image.title, "a scan");
    EXPECT_EQ(image.y, (Axis{"y", "nm", -1, 0.5, 2}));
    EXPECT_EQ(image.x, (Axis{"x", "nm", 2, 0.25, 3}));
    EXPECT_EQ(image.energy.name, "Energy loss");
    EXPECT_EQ(image.energy.units, "eV");
    EXPECT_DOUBLE_EQ(image.energy.offset, 420);
    EXPECT_DOUBLE_EQ(image.energy.scale, 0.3);
    EXPECT_EQ(image.counts, counted(24));
    EXPECT_EQ(nlohmann::json::parse(image.metadata)["original_metadata"]["title"], "a scan");
  }
}

TEST_F(NionNdataTest, FortranOrderWhoseChecksumSwiftComputesInCOrder) {
  std::vector<float> values;
  for (int e = 0; e < 4; ++e)
    for (int x = 0; x < 3; ++x)
      for (int y = 0; y < 2; ++y) values.push_back(static_cast<float>((y * 3 + x) * 4 + e));
  ZipFileMember data{"data.npy", npy_file("<f4", "(2, 3, 4)", raw_bytes(values), true)};
  data.wrong_crc = true;
  EXPECT_EQ(read_spectrum_image(write({data, {"metadata.json", properties}})).counts, counted(24));
}

TEST_F(NionNdataTest, ColoursAreListedButNotRead) {
  const std::string file = write({{"data.npy", npy_file("|u1", "(2, 5, 3)", std::string(30, 'c'))},
                                  {"metadata.json", R"({"title": "photo", "collection_dimension_count": 0,
                                   "datum_dimension_count": 2})"}});
  EXPECT_EQ(list_images(file).at(0).kind, "colour image");
  EXPECT_EQ(
      user_error([&] { read_spectrum_image(file); }),
      file + ": holds a colour image (2, 5), a spectrum image (y, x, E) or a line scan (x, E) is needed");
}

TEST_F(NionNdataTest, SaysWhatIsWrong) {
  const auto message = [&](const std::vector<ZipFileMember>& members) {
    const std::string file = write(members);
    const std::string error = user_error([&] { read_spectrum_image(file); });
    return error.rfind(file, 0) == 0 ? error.substr(file.size()) : error;
  };
  EXPECT_EQ(message({{"metadata.json", properties}}), ": its member 'data.npy' is missing");
  EXPECT_EQ(message({{"data.npy", array()}, {"metadata.json", "[1]"}}),
            ": member 'metadata.json': not a JSON object");
  EXPECT_EQ(message({{"data.npy", array()}, {"metadata.json", properties.substr(1)}}),
            ": member 'metadata.json': not a JSON object");
  EXPECT_EQ(message({{"data.npy", array("(6, 4)")}, {"metadata.json", properties}}),
            ": member 'metadata.json': the properties describe 3 dimensions, the array has 2");
  EXPECT_EQ(
      message({{"data.npy", array("(24,)")}, {"metadata.json", R"({"collection_dimension_count": 2})"}}),
      ": member 'metadata.json': the properties describe a scan of 2 dimensions, the array has 1");
  EXPECT_EQ(message({{"data.npy", array("(2, 3, 5)")}, {"metadata.json", properties}}),
            ": member 'data.npy': cut off: (2, 3, 5) of float32 needs 120 bytes of data, 96 are there");
  ZipFileMember member{"data.npy", array()};
  member.wrong_crc = true;
  EXPECT_EQ(message({member, {"metadata.json", properties}}),
            ": member 'data.npy' is damaged: its checksum is wrong");
  const std::string bomb = "{\"a\": \"" + std::string((64 << 20) + 1, ' ') + "\"}";
  EXPECT_EQ(
      message({{"data.npy", array()}, {"metadata.json", bomb, true}}),
      ": member 'metadata.json' has " + std::to_string(bomb.size()) + " bytes, at most 67108864 make sense");
}

TEST_F(NionNdataTest, RefusesEveryTruncation) {
  const std::string whole = zip_file({{"data.npy", array()}, {"metadata.json", properties}});
  for (size_t length = 0; length < whole.size(); ++length) {
    write_bytes(path("part.ndata"), whole.substr(0, length));
    ASSERT_NE(user_error([&] { list_images(path("part.ndata")); }), "") << length;
  }
}

}  // namespace
}  // namespace eelsvae
