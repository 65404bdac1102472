// Files that the programs of the field write, each read with its very numbers, axes and units:
// tests/io/writers, run by the Pythons that scripts/install-writers.sh puts into build/writers.
#include <nlohmann/json.hpp>

#include "io/files/npy.h"
#include "io/formats/image_format.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

json axes_of(const ImageInfo& info) {
  json axes = json::array();
  for (const Axis& axis : info.axes)
    axes.push_back({{"name", axis.name},
                    {"units", axis.units},
                    {"offset", axis.offset},
                    {"scale", axis.scale},
                    {"size", axis.size}});
  return axes;
}

StoredImage only_image(const std::string& file) {
  std::vector<StoredImage> images = open_images(file);
  EXPECT_EQ(images.size(), 1u) << file;
  return std::move(images.at(0));
}

void expect_read(const std::string& folder, const json& expected) {
  const std::string file = folder + "/" + expected["file"].get<std::string>();
  if (expected.contains("refused")) {
    const std::string said = user_error([&] { read_spectrum_image(file); });
    EXPECT_NE(said.find(expected["refused"].get<std::string>()), std::string::npos) << said;
    return;
  }
  const StoredImage image = only_image(file);
  json axes = axes_of(image.info);
  for (size_t i = 0; i < axes.size(); ++i)
    if (expected["axes"].at(i)["name"].is_null()) axes[i]["name"] = nullptr;  // the format has no names
  if (expected.contains("nearly"))  // numbers that were converted to other units on the way
    for (size_t i = 0; i < axes.size(); ++i)
      for (const char* key : {"offset", "scale"}) {
        const double wanted = expected["axes"][i][key], read = axes[i][key];
        EXPECT_NEAR(read, wanted, 1e-9 * std::abs(wanted)) << i << " " << key;
        axes[i][key] = wanted;
      }
  EXPECT_EQ(axes, expected["axes"]);
  EXPECT_EQ(image.info.kind, expected["kind"]);
  EXPECT_EQ(image.info.dtype, expected["dtype"]);
  EXPECT_EQ(image.info.signal, expected["signal"]);
  EXPECT_EQ(image.info.fault, "");

  const NpyArray numbers = read_npy(file + ".npy");
  ASSERT_EQ(image.info.shape, numbers.shape);
  ASSERT_NE(image.values, nullptr);
  std::vector<float> values(numbers.values.size());
  image.values->read(whole_of(image.info.shape), dense_strides(image.info.shape), values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const bool same =
        values[i] == numbers.values[i] || (std::isnan(values[i]) && std::isnan(numbers.values[i]));
    ASSERT_TRUE(same) << "number " << i << " is " << values[i] << ", " << numbers.values[i] << " was written";
  }
  if (expected.contains("metadata_of")) {
    EXPECT_EQ(image.metadata(),
              only_image(folder + "/" + expected["metadata_of"].get<std::string>()).metadata());
  }
  if (expected.contains("original_metadata")) {
    EXPECT_EQ(image.metadata().at("original_metadata"), expected["original_metadata"]);
  }
}

class WritersTest : public FileTest {
 protected:
  // Runs a script and reads what it wrote.
  void expect_all_read(const std::string& environment, const std::string& script, size_t at_least) {
    const std::string python = source_file("build/writers/" + environment + "/bin/python");
    if (std::filesystem::exists(source_file("build/writers/no-index"))) GTEST_SKIP() << "no package index";
    if (!std::filesystem::exists(python)) GTEST_SKIP() << "scripts/install-writers.sh was not run";
    const ProgramResult written = run({python, source_file("tests/io/writers/" + script), path("")});
    ASSERT_EQ(written.status, 0) << written.err;
    const json cases = json::parse(read_bytes(path("cases.json")));
    EXPECT_GE(cases.size(), at_least);
    for (const json& expected : cases) {
      SCOPED_TRACE(expected["file"].get<std::string>());
      EXPECT_EQ(user_error([&] { expect_read(path(""), expected); }), "");
    }
  }
};

TEST_F(WritersTest, HyperSpyNcemAndNionSwift) {
  expect_all_read("hyperspy", "write_with_the_field.py", 200);
}

TEST_F(WritersTest, ZarrPython3) {
  expect_all_read("zarr3", "write_with_zarr3.py", 60);
}

}  // namespace
}  // namespace eelsvae
