#include "io/formats/velox.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/hdf5_writer.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class VeloxTest : public FileTest {
 protected:
  // Two energy ranges (x, E, y) = (4, 256, 3), the higher one first, and an image of the same scan.
  std::string write() {
    Hdf5Writer writer(path("a.emd"));
    writer.text("Version", R"({"version": "13", "format": "Velox"})");
    eels(writer, "a", R"({"Data": {"offset": 800, "dispersion": "0.25"}})", 1000);
    eels(writer, "b", R"({"Data": {"offset": -20.5, "dispersion": 0.5}})", 0);
    writer.dataset("Data/Image/c/Data", {3, 4, 1}, {}, [](int64_t i) { return double(i); });
    writer.column("Data/Image/c/Metadata", R"({"BinaryResult": {"Detector": "HAADF",
        "PixelSize": {"width": "2e-9", "height": "3e-9"}, "PixelUnitX": "m", "PixelUnitY": "m",
        "Offset": {"x": "-1e-8", "y": "5e-9"}}})",
                  600);
    return path("a.emd");
  }
  static void eels(Hdf5Writer& writer, const std::string& id, const std::string& acquisition, double first) {
    const std::string group = "Data/EelsSpectrumImage/" + id;
    writer.dataset(group + "/Data", {4, 256, 3}, {.type = H5T_STD_U16LE, .chunk = {4, 256, 1}},
                   [&](int64_t i) { return first + static_cast<double>(i); });
    writer.column(group + "/AcquisitionMetadata", acquisition, 100, 3);
    writer.column(group + "/Metadata", R"({"Optics": {"AccelerationVoltage": "300000"}})", 80);
  }
};

TEST_F(VeloxTest, EnergyRangesInTheirOrder) {
  const std::string file = write();
  EXPECT_EQ(image_format_name(file), "Velox");
  const std::vector<ImageInfo> images = list_images(file);
  ASSERT_EQ(images.size(), 3u);
  EXPECT_EQ(images[0].title, "EELS -20.5 to 107.0 eV");
  EXPECT_EQ(images[1].title, "EELS 800.0 to 863.8 eV");
  EXPECT_EQ(images[1].signal, "EELS");
  EXPECT_EQ(images[1].kind, "spectrum image");
  EXPECT_EQ(images[1].shape, (std::vector<int64_t>{3, 4, 256}));
  EXPECT_EQ(images[1].dtype, "uint16");
  EXPECT_EQ(images[2].title, "HAADF");
  EXPECT_EQ(images[2].kind, "image");
  EXPECT_EQ(images[2].shape, (std::vector<int64_t>{3, 4}));

  const SpectrumImage image = read_spectrum_image(file, {.dataset = 1});
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 800, 0.25, 256}));
  EXPECT_EQ(image.x.units, "nm");
  EXPECT_NEAR(image.x.scale, 2, 1e-12);
  EXPECT_NEAR(image.x.offset, -10, 1e-12);
  EXPECT_NEAR(image.y.scale, 3, 1e-12);
  EXPECT_NEAR(image.y.offset, 5, 1e-12);
  for (int64_t y = 0; y < 3; ++y)
    for (int64_t x = 0; x < 4; ++x)
      for (int64_t e = 0; e < 256; ++e)
        ASSERT_EQ(image.spectrum(y * 4 + x)[e], static_cast<float>(1000 + (x * 256 + e) * 3 + y));
  const json original = json::parse(image.metadata).at("original_metadata");
  EXPECT_EQ(original.at("Optics").at("AccelerationVoltage"), "300000");
  EXPECT_EQ(original.at("AcquisitionMetadata").at("Data").at("offset"), 800);
  EXPECT_EQ(read_spectrum_image(file).energy.offset, 800) << "not the low loss";
  ReadOptions options;
  options.energy_range = {{10, 100}};
  EXPECT_EQ(read_spectrum_image(file, options).energy.offset, -20.5);
}

TEST_F(VeloxTest, RefusesEveryTruncation) {
  expect_truncations_refused(write(), path("part.emd"));
}

TEST_F(VeloxTest, RefusesDamagedMetadata) {
  {
    Hdf5Writer writer(path("a.emd"));
    eels(writer, "a", R"({"Data": {"offset": )", 0);
  }
  EXPECT_EQ(user_error([&] { list_images(path("a.emd")); }),
            path("a.emd") + ": EelsSpectrumImage 'a': AcquisitionMetadata: not a JSON object");
}

TEST_F(VeloxTest, MeasuredFile) {
  const std::string zip = shared_data("velox_EELS_EDS.zip");
  if (zip.empty()) GTEST_SKIP() << "shared/data is missing";
  const ProgramResult unpacked = run({"/usr/bin/python3", "-m", "zipfile", "-e", zip, path("")});
  if (unpacked.status != 0) GTEST_SKIP() << "python3 is missing: " << unpacked.err;
  const std::string file = path("example_velox_EELS_EDS.emd");
  const std::vector<ImageInfo> images = list_images(file);
  ASSERT_EQ(images.size(), 23u);
  EXPECT_EQ(images[0].title, "EELS -21.5 to 324.8 eV");
  EXPECT_EQ(images[1].title, "EELS 480.0 to 826.4 eV");
  EXPECT_EQ(images[2].title, "EELS 800.0 to 1146.4 eV");
  EXPECT_EQ(images[11].signal, "EDS_TEM");
  EXPECT_EQ(images[17].kind, "event stream");
  EXPECT_NE(user_error([&] { read_spectrum_image(file, {.dataset = 17}); }), "");

  // As RosettaSciIO reads it.
  const SpectrumImage image = read_spectrum_image(file, {.dataset = 1});
  EXPECT_EQ(image.energy.scale, 0.1692);
  EXPECT_EQ(image.energy.offset, 480.00000000000006);
  EXPECT_NEAR(image.y.offset, -3966.4509489922783, 1e-9);
  EXPECT_NEAR(image.x.offset, -5553.0313285891895, 1e-9);
  EXPECT_NEAR(image.x.scale, 158.65803795969113, 1e-10);
  EXPECT_EQ(image.counts.size(), 16u * 20 * 2048);
  const float* spectrum = image.spectrum(3 * 20 + 7) + 100;
  EXPECT_EQ(std::vector<float>(spectrum, spectrum + 5), (std::vector<float>{104, 104, 108, 111, 102}));
  double checksum = 0;  // depends on every value's place
  for (size_t i = 0; i < image.counts.size(); ++i) checksum += double(image.counts[i]) * double(i % 1009);
  EXPECT_EQ(checksum, 33010830712.0);
}

}  // namespace
}  // namespace eelsvae
