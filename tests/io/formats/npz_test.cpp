#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class NpzTest : public FileTest {
 protected:
  std::string write(const std::vector<ZipFileMember>& members) {
    write_bytes(path("a.npz"), zip_file(members));
    return path("a.npz");
  }

  std::string error_of(const std::vector<ZipFileMember>& members) {
    write(members);
    const std::string error = user_error([&] { read_spectrum_image(path("a.npz")); });
    return error.rfind(path("a.npz"), 0) == 0 ? error.substr(path("a.npz").size()) : error;
  }
};

std::string floats(const std::string& shape, size_t count, bool fortran_order = false) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.f);
  return npy_file("<f4", shape, raw_bytes(values), fortran_order);
}

std::string doubles(const std::vector<double>& values) {
  return npy_file("<f8", "(" + std::to_string(values.size()) + ",)", raw_bytes(values));
}

CountArray counted(size_t size) {
  CountArray values(size);
  std::iota(values.begin(), values.end(), 0.f);
  return values;
}

TEST_F(NpzTest, ImageAndItsAxes) {
  for (const bool packed : {false, true}) {
    const std::string file = write({{"y.npy", doubles({0, 2}), packed},
                                    {"x.npy", doubles({1, 1.5, 2}), packed},
                                    {"data.npy", floats("(2, 3, 4)", 24), packed},
                                    {"energy.npy", doubles({100.1, 100.4, 100.7, 101}), packed}});
    EXPECT_EQ(image_format_name(file), "NumPy archive");
    const std::vector<ImageInfo> infos = list_images(file);
    ASSERT_EQ(infos.size(), 1u);
    EXPECT_EQ(infos[0].title, "a");
    EXPECT_EQ(infos[0].kind, "spectrum image");
    EXPECT_EQ(infos[0].dtype, "float32");
    const SpectrumImage image = read_spectrum_image(file);
    EXPECT_EQ(image.y, (Axis{"y", "nm", 0, 2, 2}));
    EXPECT_EQ(image.x, (Axis{"x", "nm", 1, 0.5, 3}));
    EXPECT_EQ(image.energy.units, "eV");
    EXPECT_EQ(image.energy.offset, 100.1) << "a double stays one";
    EXPECT_NEAR(image.energy.scale, 0.3, 1e-14);
    EXPECT_EQ(image.counts, counted(24));
  }
}

TEST_F(NpzTest, SeveralArraysAreSeveralImages) {
  const std::string file = write({{"first.npy", floats("(1, 2, 4)", 8)},
                                  {"eels/low.npy", floats("(2, 3, 4)", 24)},
                                  {"data.npy", floats("(2, 2, 5)", 20), true},
                                  {"spectrum.npy", floats("(4,)", 4)},
                                  {"number.npy", floats("()", 1)},
                                  {"notes.txt", "no array"},
                                  {"ENERGY.npy", doubles({1, 2, 3, 4})}});
  const std::vector<ImageInfo> infos = list_images(file);
  ASSERT_EQ(infos.size(), 4u);
  EXPECT_EQ(infos[0].title, "data");
  EXPECT_EQ(infos[0].axes[2], (Axis{"Energy loss", "", 0, 1, 5}));
  EXPECT_EQ(infos[1].title, "first");
  EXPECT_EQ(infos[1].axes[2], (Axis{"Energy loss", "eV", 1, 1, 4}));
  EXPECT_EQ(infos[2].title, "eels/low");
  EXPECT_EQ(infos[3].kind, "single spectrum");
  EXPECT_EQ(infos[3].axes[0].units, "eV");
  EXPECT_EQ(read_spectrum_image(file).energy.size, 5) << "the one called data";
}

TEST_F(NpzTest, EnergyMayBeAnyAxis) {
  const std::string file = write({{"X.npy", floats("(4, 2, 3)", 24)}, {"ev.npy", doubles({5, 7, 9, 11})}});
  EXPECT_EQ(list_images(file)[0].shape, (std::vector<int64_t>{2, 3, 4}));
  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 5, 2, 4}));
  for (int64_t pixel = 0; pixel < 6; ++pixel)
    for (int64_t e = 0; e < 4; ++e) EXPECT_EQ(image.spectrum(pixel)[e], float(e * 6 + pixel));
  // The last one if the length does not decide.
  write({{"X.npy", floats("(4, 2, 4)", 32)}, {"ev.npy", doubles({5, 7, 9, 11})}});
  EXPECT_EQ(read_spectrum_image(file).counts, counted(32));
  // A line scan.
  write({{"X.npy", floats("(4, 2)", 8)}, {"ev.npy", doubles({5, 7, 9, 11})}, {"x.npy", doubles({0, 3})}});
  EXPECT_EQ(list_images(file)[0].kind, "line scan");
  EXPECT_EQ(list_images(file)[0].axes[0], (Axis{"x", "nm", 0, 3, 2}));
}

TEST_F(NpzTest, EnergiesMustBeEvenToATenthOfAChannel) {
  const std::string cube = floats("(1, 2, 4)", 8);
  EXPECT_EQ(error_of({{"X.npy", cube}, {"ev.npy", doubles({10, 12.19, 14, 16})}}), "");
  EXPECT_EQ(error_of({{"X.npy", cube}, {"ev.npy", doubles({10, 12.5, 14, 16})}}),
            ": member 'ev.npy' is not even: number 1 is 12.5, 12 was expected, more than 0.1 of a step off; "
            "interpolate the data first, in HyperSpy by s.interpolate_on_axis(\"uniform\", -1)");
  EXPECT_NE(error_of({{"X.npy", cube}, {"ev.npy", doubles({10, 12, std::nan(""), 16})}}), "");
  EXPECT_EQ(error_of({{"X.npy", cube}, {"ev.npy", doubles({3, 3, 3, 3})}}),
            ": axis E has offset 3 and scale 0; both must be finite and the scale not 0");
  EXPECT_EQ(error_of({{"X.npy", cube}, {"ev.npy", doubles({1, 2, 3, 4, 5, 6})}}),
            ": member 'ev.npy': 6 energies, but no array has one axis of that length: X (1, 2, 4), ev (6,)");
}

TEST_F(NpzTest, SaysWhatIsWrong) {
  EXPECT_EQ(
      error_of({{"X.npy", npy_file("|O", "(2,)", "pickle")}}),
      ": member 'X.npy': holds elements of type '|O'; bool, integers of 1 to 8 bytes and floats of 2, 4 "
      "or 8 bytes can be read; save it with astype('float32'), of complex numbers the real part");
  EXPECT_EQ(error_of({{"X.npy", floats("(6,)", 6)}}),
            ": holds an array (6,), a spectrum image (y, x, E) or a line scan (x, E) is needed");
  EXPECT_EQ(error_of({{"X.npy", floats("(1, 2, 3)", 6), true, false, 1}}),
            ": member 'X.npy' is encrypted, which cannot be read");
  EXPECT_EQ(error_of({{"X.npy", floats("(1, 2, 3)", 6)}, {"X.npy", floats("(1, 2, 3)", 6)}}),
            ": member 'X.npy' appears twice");
  ZipFileMember member{"X.npy", floats("(1, 2, 3)", 6), true};
  member.wrong_crc = true;
  EXPECT_EQ(error_of({member}), ": member 'X.npy' is damaged: CRC error");
  member.deflated = false;
  EXPECT_EQ(error_of({member}), ": member 'X.npy' is damaged: its checksum is wrong");
  EXPECT_EQ(error_of({{"X.npy", floats("(1, 2, 3)", 5)}}),
            ": member 'X.npy': cut off: (1, 2, 3) of float32 needs 24 bytes of data, 20 are there");
  EXPECT_NE(error_of({{"X.txt", "x"}, {"X.npy", floats("(1, 2, 3)", 6)}}), "");
}

// The directory agrees with a header that wants an exabyte, and a gigabyte of zeros fits a megabyte.
TEST_F(NpzTest, RefusesBombs) {
  ZipFileMember member{"X.npy", npy_file("<f4", "(1048576, 1048576, 262144)", std::string(100000, 'x')), true,
                       true};
  member.size =
      (int64_t{1} << 60) + static_cast<int64_t>(npy_file("<f4", "(1048576, 1048576, 262144)", "").size());
  EXPECT_NE(error_of({member}).find("cannot hold the 1152921504606847"), std::string::npos);
  member.deflated = false;
  EXPECT_NE(error_of({member}).find("cannot hold the 1152921504606847"), std::string::npos);
  const std::string axis = npy_file("<f8", "(4000000,)", std::string(32000000, '\0'));
  const std::string cube = npy_file("|u1", "(1, 1, 4000000)", std::string(4000000, '\0'));
  EXPECT_EQ(error_of({{"X.npy", cube, true}, {"ev.npy", axis, true}}),
            ": member 'ev.npy' has " + std::to_string(axis.size()) + " bytes, at most 16777216 make sense");
}

TEST_F(NpzTest, RefusesEveryTruncation) {
  const std::string whole =
      zip_file({{"data.npy", floats("(2, 3, 4)", 24), true}, {"energy.npy", doubles({1, 2, 3, 4})}});
  for (size_t length = 0; length < whole.size(); ++length) {
    write_bytes(path("part.npz"), whole.substr(0, length));
    ASSERT_NE(user_error([&] { list_images(path("part.npz")); }), "") << length;
  }
}

TEST_F(NpzTest, AgreesWithNumPy) {
  const ProgramResult python = run_python("check_npz.py", {path("")});
  if (python.status == 77) GTEST_SKIP() << "python3 with numpy is not installed";
  ASSERT_EQ(python.status, 0) << python.err;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path(""))) {
    const std::string file = entry.path().string();
    SCOPED_TRACE(file);
    EXPECT_EQ(list_images(file).size(), 1u);
    const SpectrumImage image = read_spectrum_image(file);
    EXPECT_EQ(image.y.size, 2);
    EXPECT_EQ(image.x.size, 3);
    EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 100, 0.25, 4}));
    EXPECT_EQ(image.counts, counted(24));
    ++files;
    const std::string whole = read_bytes(file);
    for (size_t i = 0; i < 64; ++i) {
      write_bytes(path("part"), whole.substr(0, whole.size() * i / 64));
      ASSERT_NE(user_error([&] { read_spectrum_image(path("part")); }), "") << i;
      std::filesystem::remove(path("part"));
    }
  }
  EXPECT_EQ(files, 16);
}

TEST_F(NpzTest, MeasuredImage) {
  const std::string file = shared_data("Mn3O4_SI.npz");
  if (file.empty()) GTEST_SKIP() << "shared/data is not there";
  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.y.size, 24);
  EXPECT_EQ(image.x.size, 22);
  EXPECT_EQ(image.energy.size, 138);
  EXPECT_EQ(image.energy.offset, 10);
  EXPECT_NEAR(image.energy.scale, 190. / 137, 1e-12);
  EXPECT_EQ(image.title, "Mn3O4_SI");
}

}  // namespace
}  // namespace eelsvae
