#include <gtest/gtest.h>

#include <numeric>

#include "io/files/npy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

const std::string good =
    "; as Lispix writes it\r\nkey\tvalue\r\nwidth\t3\r\nheight\t2\r\ndepth\t4\r\noffset\t0\r\n"
    "data-type\tunsigned\r\ndata-length\t2\r\nbyte-order\tlittle-endian\r\nrecord-by\tvector\r\n";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return text.replace(place, from.size(), to);
}

class RippleTest : public FileTest {
 protected:
  std::string write(const std::string& header, const std::string& raw) {
    write_bytes(path("a.rpl"), header);
    write_bytes(path("a.raw"), raw);
    return path("a.rpl");
  }

  // Without the folder.
  std::string error_of(const std::string& header, const std::string& raw) {
    const std::string file = write(header, raw);
    std::string error = user_error([&] { read_spectrum_image(file); });
    for (size_t at; (at = error.find(path(""))) != std::string::npos;) error.erase(at, path("").size());
    return error;
  }
};

std::vector<uint16_t> numbers(size_t count) {
  std::vector<uint16_t> values(count);
  std::iota(values.begin(), values.end(), uint16_t{0});
  return values;
}

CountArray counted(size_t size) {
  CountArray values(size);
  std::iota(values.begin(), values.end(), 0.f);
  return values;
}

TEST_F(RippleTest, SpectrumBySpectrum) {
  const std::string file = write(good, raw_bytes(numbers(24)));
  EXPECT_EQ(image_format_name(file), "Ripple");
  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.title, "a");
  EXPECT_EQ(image.y, (Axis{"y", "", 0, 1, 2}));
  EXPECT_EQ(image.x, (Axis{"x", "", 0, 1, 3}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "", 0, 1, 4}));
  EXPECT_EQ(image.counts, counted(24));
  EXPECT_EQ(read_spectrum_image(path("a.raw")).counts, image.counts) << "either file can be named";
}

TEST_F(RippleTest, EnergyPlaneByPlaneBehindAHeader) {
  std::string raw;
  for (uint16_t value : numbers(24)) raw += {static_cast<char>(value >> 8), static_cast<char>(value & 255)};
  std::string header = replaced(replaced(good, "vector", "IMAGE ; planes"), "offset\t0", "Offset \t 7");
  const SpectrumImage image = read_spectrum_image(
      write(replaced(header, "little-endian", "big-endian") + "ev-per-chan\t10", "7 bytes" + raw));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 0, 10, 4}));
  for (int64_t pixel = 0; pixel < 6; ++pixel)
    for (int64_t e = 0; e < 4; ++e) EXPECT_EQ(image.spectrum(pixel)[e], float(e * 6 + pixel));
}

TEST_F(RippleTest, SaysWhatIsWrong) {
  const std::string raw = raw_bytes(numbers(24));
  EXPECT_EQ(error_of(good, raw.substr(1)),
            "a.raw: cut off: (2, 3, 4) of uint16 and an offset of 0 need 48 bytes, the file has 47");
  EXPECT_EQ(error_of(good, raw + "x"),
            "a.raw: (2, 3, 4) of uint16 and an offset of 0 need 48 bytes, the file has 49");
  EXPECT_EQ(error_of(replaced(good, "offset\t0", "offset\t9223372036854775807"), raw),
            "a.raw: cut off: (2, 3, 4) of uint16 and an offset of 9223372036854775807 need "
            "9223372036854775855 bytes, the file has 48");
  EXPECT_EQ(error_of(replaced(good, "offset\t0", "offset\t-1"), raw),
            "a.rpl: offset must be a whole number from 0 on, not '-1'");
  for (const char* size : {"0", "-3", "3.0", "3 4", "99999999999999999999", "three"})
    EXPECT_EQ(error_of(replaced(good, "width\t3", std::string("width\t") + size), raw),
              "a.rpl: width must be a whole number from 1 on, not '" + std::string(size) + "'");
  const std::string wide = replaced(good, "width\t3", "width\t4611686018427387904");
  EXPECT_EQ(error_of(wide, raw), "a.rpl: height, width and depth (2, 4611686018427387904, 4) are too large");
  EXPECT_EQ(error_of(replaced(good, "width\t3\r\n", ""), raw), "a.rpl: width is missing");
  EXPECT_EQ(error_of(good + "Width\t3", raw), "a.rpl, line 11: 'width' is given twice");
  EXPECT_EQ(error_of(good + "depth-scale", raw),
            "a.rpl, line 11: 'depth-scale' has no value; 'key', a tab and a value are needed");
  EXPECT_EQ(error_of(good + "depth-scale\tfine", raw), "a.rpl: depth-scale must be a number, not 'fine'");
  EXPECT_EQ(error_of(good + "depth-scale\tnan", raw),
            "a.rpl: axis E has offset 0 and scale nan; both must be finite and the scale not 0");
  EXPECT_EQ(error_of(replaced(good, "unsigned", "float"), raw),
            "a.rpl: data-length must be 4 or 8 for floats, not '2'");
  EXPECT_EQ(error_of(replaced(good, "unsigned", "complex"), raw),
            "a.rpl: data-type must be one of signed, unsigned, float, not 'complex'");
  EXPECT_EQ(error_of(replaced(good, "vector", "dont-care"), raw),
            "a.rpl: record-by must be vector or image where depth is not 1, not 'dont-care'");
  EXPECT_EQ(error_of(replaced(good, "little-endian", "middle"), raw),
            "a.rpl: byte-order must be one of big-endian, little-endian, dont-care, not 'middle'");
  EXPECT_EQ(
      error_of(good + ";" + std::string(1 << 20, ' '), raw),
      "a.rpl: has " + std::to_string(good.size() + 1 + (1 << 20)) + " bytes, a .rpl file is a short text");
  write(good, raw);
  std::filesystem::remove(path("a.rpl"));
  EXPECT_EQ(user_error([&] { list_images(path("a.raw")); }),
            path("a.raw") + ": only numbers; the .rpl file that says how they lie is missing beside it");
  write(good, raw);
  std::filesystem::remove(path("a.raw"));
  EXPECT_EQ(user_error([&] { list_images(path("a.rpl")); }),
            path("a.rpl") + ": the .raw file with the numbers is missing beside it");
}

TEST_F(RippleTest, OtherTextIsNotRipple) {
  write_bytes(path("a.txt"), "width 3\nheight 4\nsome text about depth\n");
  EXPECT_NE(user_error([&] { list_images(path("a.txt")); }).find("not in a known format"), std::string::npos);
}

TEST_F(RippleTest, EveryTruncationIsReadRightOrRefused) {
  const std::string raw = raw_bytes(numbers(24));
  for (size_t length = 0; length < good.size(); ++length) {
    const std::string file = write(good.substr(0, length), raw);
    const std::string error = user_error([&] { EXPECT_EQ(read_spectrum_image(file).counts, counted(24)); });
    EXPECT_TRUE(!error.empty() || length >= good.size() - 2) << length;
  }
}

TEST_F(RippleTest, AgreesWithHyperSpy) {
  const ProgramResult python = run_python("check_ripple.py", {path("")});
  if (python.status == 77) GTEST_SKIP() << "python3 with hyperspy is not installed";
  ASSERT_EQ(python.status, 0) << python.err;
  int images = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path(""))) {
    const std::string file = entry.path().string();
    if (entry.path().extension() != ".rpl" || !entry.path().stem().string().starts_with("si_")) continue;
    SCOPED_TRACE(file);
    EXPECT_EQ(list_images(file)[0].signal, "EELS");
    const SpectrumImage image = read_spectrum_image(file);
    EXPECT_EQ(image.title, "a title");
    EXPECT_EQ(image.y, (Axis{"y", "nm", -3, 2, 2}));
    EXPECT_EQ(image.x, (Axis{"x", "nm", 1, 0.5, 3}));
    EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 420.5, 0.25, 4}));
    EXPECT_EQ(image.counts, counted(24));
    const auto metadata = nlohmann::json::parse(image.metadata);
    EXPECT_EQ(metadata["metadata"]["General"]["title"], "a title");
    EXPECT_EQ(metadata["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"], 200.0);
    EXPECT_EQ(metadata["original_metadata"]["data-length"].get<std::string>().size(), 1u);
    ++images;
  }
  EXPECT_EQ(images, 6);
  const ImageInfo line = list_images(path("line.rpl")).at(0);
  EXPECT_EQ(line.kind, "line scan");
  EXPECT_EQ(line.axes, (std::vector<Axis>{{"x", "nm", 1, 0.5, 3}, {"Energy loss", "eV", 420.5, 0.25, 4}}));
  EXPECT_EQ(list_images(path("spectrum.rpl")).at(0).kind, "single spectrum");
  const ImageInfo plane = list_images(path("image.rpl")).at(0);
  EXPECT_EQ(plane.kind, "image");
  EXPECT_EQ(plane.axes, (std::vector<Axis>{{"y", "", 0, 1, 2}, {"x", "", 0, 1, 3}}));
  EXPECT_EQ(read_spectrum_image(path("line.rpl")).x, line.axes[0]);
}

}  // namespace
}  // namespace eelsvae
