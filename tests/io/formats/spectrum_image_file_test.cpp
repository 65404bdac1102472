#include "io/formats/spectrum_image_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "engine/image/units.h"
#include "io/files/npy.h"
#include "io/formats/hspy.h"
#include "io/formats/image_format.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class SpectrumImageFileTest : public FileTest {
 protected:
  std::string write(const CountArray& values, std::vector<int64_t> shape) {
    write_npy(path("image.npy"), shape, values.data());
    return path("image.npy");
  }
};

CountArray counted(size_t size) {
  CountArray values(size);
  std::iota(values.begin(), values.end(), 0.f);
  return values;
}

TEST_F(SpectrumImageFileTest, NumPyArrayHasNoCalibration) {
  const std::string file = write(counted(24), {2, 3, 4});
  EXPECT_EQ(image_format_name(file), "NumPy");
  const ImageInfo info = list_images(file).at(0);
  EXPECT_EQ(info.title, "image");
  EXPECT_EQ(info.signal, "");
  EXPECT_EQ(info.dtype, "float32");
  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.y, (Axis{"y", "", 0, 1, 2}));
  EXPECT_EQ(image.x, (Axis{"x", "", 0, 1, 3}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "", 0, 1, 4}));
  EXPECT_EQ(info.axes, (std::vector<Axis>{image.y, image.x, image.energy}));
  EXPECT_EQ(image.counts, counted(24));
  EXPECT_EQ(image.metadata, "{}");
}

TEST_F(SpectrumImageFileTest, SwapsAxes) {
  SpectrumImage image;
  image.y = {"y", "nm", 1, 2, 2};
  image.x = {"x", "nm", 3, 4, 3};
  image.energy = {"E", "eV", 5, 6, 4};
  image.counts = counted(24);
  write_hspy(path("a.hspy"), image);
  const SpectrumImage swapped = read_spectrum_image(path("a.hspy"), {.swap_axes = true});
  EXPECT_EQ(swapped.y, (Axis{"y", "nm", 3, 4, 3}));
  EXPECT_EQ(swapped.x, (Axis{"x", "nm", 1, 2, 2}));
  EXPECT_EQ(swapped.energy, image.energy);
  for (int64_t y = 0; y < 2; ++y)
    for (int64_t x = 0; x < 3; ++x)
      for (int64_t e = 0; e < 4; ++e) EXPECT_EQ(swapped.spectrum(x * 2 + y)[e], image.spectrum(y * 3 + x)[e]);
}

// A file with the axes (E, y, x), without calibration.
TEST_F(SpectrumImageFileTest, OptionsNameAxesAndEnergies) {
  const std::string file = write(counted(24), {4, 2, 3});
  ReadOptions options;
  options.axes = "Eyx";
  SpectrumImage image = read_spectrum_image(file, options);
  EXPECT_EQ(image.y, (Axis{"y", "", 0, 1, 2}));
  EXPECT_EQ(image.x, (Axis{"x", "", 0, 1, 3}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "", 0, 1, 4}));
  for (int64_t pixel = 0; pixel < 6; ++pixel)
    for (int64_t e = 0; e < 4; ++e) EXPECT_EQ(image.spectrum(pixel)[e], float(e * 6 + pixel));
  options.swap_axes = true;
  options.energy_offset = 420;
  options.dispersion = 0.3;
  image = read_spectrum_image(file, options);
  EXPECT_EQ(image.y, (Axis{"y", "", 0, 1, 3}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 420, 0.3, 4}));
  for (int64_t y = 0; y < 3; ++y)
    for (int64_t x = 0; x < 2; ++x)
      for (int64_t e = 0; e < 4; ++e) EXPECT_EQ(image.spectrum(y * 2 + x)[e], float(e * 6 + x * 3 + y));
  options.dispersion.reset();
  EXPECT_EQ(user_error([&] { read_spectrum_image(file, options); }),
            file +
                ": its energy axis has no calibration in eV, so data.dispersion is needed besides "
                "data.energy_offset");
}

TEST_F(SpectrumImageFileTest, OptionsCorrectACalibration) {
  SpectrumImage image;
  image.y = {"y", "nm", 1, 2, 2};
  image.x = {"x", "nm", 3, 4, 3};
  image.energy = {"E", "eV", 5, 6, 4};
  image.counts = counted(24);
  write_hspy(path("a.hspy"), image);
  ReadOptions options;
  options.energy_offset = 7.5;
  EXPECT_EQ(read_spectrum_image(path("a.hspy"), options).energy, (Axis{"E", "eV", 7.5, 6, 4}));
  const SpectrumImage other = read_spectrum_image(path("a.hspy"), {-1, "yEx", false, 1, 2});
  EXPECT_EQ(other.x, (Axis{"x", "eV", 5, 6, 4})) << "what the file says of an axis goes with it";
  EXPECT_EQ(other.energy, (Axis{"Energy loss", "eV", 1, 2, 3}));
}

TEST_F(SpectrumImageFileTest, ContentDecidesNotTheName) {
  SpectrumImage image;
  image.y.size = image.x.size = image.energy.size = 1;
  image.counts = {5};
  write_hspy(path("really_hspy.npy"), image);
  EXPECT_EQ(image_format_name(path("really_hspy.npy")), "HyperSpy");
  EXPECT_EQ(read_spectrum_image(path("really_hspy.npy")).counts, CountArray{5});
  // HDF5 may stand behind a block of the user's own.
  write_bytes(path("user_block"), std::string(512, 'u') + read_bytes(path("really_hspy.npy")));
  EXPECT_EQ(image_format_name(path("user_block")), "HyperSpy");
}

TEST_F(SpectrumImageFileTest, ConvertsUnits) {
  const auto convert = [](const std::string& units, double offset, double scale) {
    Axis axis{"a", units, offset, scale, 1};
    convert_units(axis);
    return axis;
  };
  EXPECT_EQ(convert("keV", 0.5, 0.25), (Axis{"a", "eV", 500, 250, 1}));
  EXPECT_EQ(convert("eV", 0.5, 0.25), (Axis{"a", "eV", 0.5, 0.25, 1}));
  EXPECT_DOUBLE_EQ(convert("meV", 0, 5).scale, 0.005);
  for (const char* micrometre : {"\xc2\xb5m", "\xce\xbcm", "\xb5m", "um"})
    EXPECT_EQ(convert(micrometre, 1, 0.002), (Axis{"a", "nm", 1000, 2, 1})) << micrometre;
  for (const char* angstrom : {"\xc3\x85", "\xe2\x84\xab", "A", "angstrom"})
    EXPECT_EQ(convert(angstrom, 10, 5), (Axis{"a", "nm", 1, 0.5, 1})) << angstrom;
  EXPECT_EQ(convert("", 1, 2), (Axis{"a", "", 1, 2, 1}));
  EXPECT_EQ(convert("px", 1, 2), (Axis{"a", "px", 1, 2, 1}));
}

TEST_F(SpectrumImageFileTest, SaysWhatIsWrongWithAFile) {
  const auto message = [](const std::string& file) { return user_error([&] { read_spectrum_image(file); }); };
  EXPECT_EQ(message(path("missing.npy")),
            "cannot read " + path("missing.npy") + ": No such file or directory");
  EXPECT_EQ(message(path(".")), path(".") + ": is a directory; give the file of the spectrum image");
  write_bytes(path("empty.npy"), "");
  EXPECT_EQ(message(path("empty.npy")), path("empty.npy") + ": empty file");
  write_bytes(path("text.npy"), "hello");
  const std::string unknown = message(path("text.npy"));
  EXPECT_EQ(unknown.rfind(path("text.npy") + ": not in a known format; known are HyperSpy (.hspy), ", 0), 0u);
  for (const char* known : {", Velox (.emd)", ", Nion Swift (.h5)", ", NCEM (.emd)", ", NumPy (.npy)"})
    EXPECT_NE(unknown.find(known), std::string::npos) << unknown;
  EXPECT_EQ(unknown.find("()"), std::string::npos) << unknown;  // what refuses other HDF5 files is none
  std::string file = write(counted(24), {24});
  EXPECT_EQ(message(file),
            file + ": holds an array (24,), a spectrum image (y, x, E) or a line scan (x, E) is needed");
  file = write({}, {4, 6, 0});
  EXPECT_EQ(message(file), file + ": the spectrum image is empty: E has size 0");
}

TEST_F(SpectrumImageFileTest, CountsValuesThatAreNotFinite) {
  CountArray values = counted(24);
  values[17] = std::numeric_limits<float>::quiet_NaN();
  std::string file = write(values, {2, 3, 4});
  EXPECT_EQ(user_error([&] { read_spectrum_image(file); }),
            file +
                ": 1 pixel holds counts that are not finite (NaN or infinite), the first at (y, x, channel) "
                "= (1, 1, 1)");
  values[3] = -std::numeric_limits<float>::infinity();
  file = write(values, {2, 3, 4});
  EXPECT_EQ(user_error([&] { read_spectrum_image(file); }),
            file +
                ": 2 pixels hold counts that are not finite (NaN or infinite), the first at (y, x, channel) "
                "= (0, 0, 3)");
}

}  // namespace
}  // namespace eelsvae
