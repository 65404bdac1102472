#include "io/formats/hspy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "io/formats/spectrum_image_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class HspyTest : public FileTest {};

// Value of the fixtures: 100 y + 10 x + E.
void expect_cube(const SpectrumImage& image, int64_t y_size, int64_t x_size, int64_t e_size) {
  ASSERT_EQ(image.y.size, y_size);
  ASSERT_EQ(image.x.size, x_size);
  ASSERT_EQ(image.energy.size, e_size);
  ASSERT_EQ(static_cast<int64_t>(image.counts.size()), y_size * x_size * e_size);
  for (int64_t y = 0; y < y_size; ++y)
    for (int64_t x = 0; x < x_size; ++x)
      for (int64_t e = 0; e < e_size; ++e)
        ASSERT_EQ(image.spectrum(y * x_size + x)[e], static_cast<float>(100 * y + 10 * x + e))
            << y << ' ' << x << ' ' << e;
}

SpectrumImage example() {
  SpectrumImage image;
  image.title = "Film / substrate \xc2\xb5";
  image.y = {"y", "nm", -3.5, 0.92, 7};
  image.x = {"x", "nm", 12, 0.5, 5};
  image.energy = {"Energy loss", "eV", 420, 0.3, 130};
  image.counts.resize(7 * 5 * 130);
  for (size_t i = 0; i < image.counts.size(); ++i)
    image.counts[i] = static_cast<float>(std::sin(0.1 * double(i)) * 1e3);
  image.metadata = R"({
    "metadata": {"Acquisition_instrument": {"TEM": {"beam_energy": 200.5, "microscope": "JEOL \u00b5", "live": true,
                 "nothing": null, "frames": 3, "angles": [1.5, 2], "counts": [1, 2], "names": ["a", "b"], "none": [],
                 "mixed": [1, "x", [2, 3], {"deep": 1}, null]}},
                 "Signal": {"quantity": "Counts", "record_by": "image"}, "General": {"title": "another"}},
    "original_metadata": {"ImageList": {"TagGroup0": {"a/b": {"c": 1}, "a-b": {"c": 2}, "": {"d": 3}, "large": 18446744073709551615}}}
  })";
  return image;
}

double checksum(std::span<const float> values) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += double(values[i]) * double(i % 1009);
  return sum;
}

TEST_F(HspyTest, MeasuredCuZnMap) {
  const std::string file = shared_data("CuZn_EELS_mapping.hspy");
  if (file.empty()) GTEST_SKIP() << "shared/data is missing";
  const std::vector<ImageInfo> images = list_images(file);
  ASSERT_EQ(images.size(), 1u);
  EXPECT_EQ(images[0].title, "EELS Spectrum Image");
  EXPECT_EQ(images[0].signal, "EELS");
  EXPECT_EQ(images[0].kind, "spectrum image");
  EXPECT_EQ(images[0].dtype, "int16");
  EXPECT_EQ(images[0].shape, (std::vector<int64_t>{50, 40, 162}));

  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.y, (Axis{"y", "nm", 0, 0.9213861227035522, 50}));
  EXPECT_EQ(image.x, (Axis{"x", "nm", 0, 0.9213861227035522, 40}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 700, 8, 162}));
  // As h5py reads them.
  const std::vector<float> first(image.counts.begin(), image.counts.begin() + 5);
  EXPECT_EQ(first, (std::vector<float>{6080, 5699, 5625, 5676, 5352}));
  EXPECT_EQ(image.spectrum(10 * 40 + 20)[100], 1889);
  EXPECT_EQ(image.counts.back(), 624);
  EXPECT_EQ(std::accumulate(image.counts.begin(), image.counts.end(), 0.0), 1235733020);
  const json metadata = json::parse(image.metadata);
  const json& tem = metadata.at("metadata").at("Acquisition_instrument").at("TEM");
  EXPECT_EQ(tem.at("beam_energy"), 200.0);
  EXPECT_EQ(tem.at("Detector").at("EELS").at("frame_number"), 1);
  EXPECT_EQ(tem.at("microscope"), "JEOL ARM200F");
  EXPECT_FALSE(metadata.at("metadata").contains("_HyperSpy"));
}

TEST_F(HspyTest, AttributesOfEveryKind) {
  const SpectrumImage image = read_spectrum_image(fixture("hspy/attributes.hspy"));
  expect_cube(image, 2, 3, 4);
  EXPECT_EQ(image.y, (Axis{"axis0", "", 0, 1, 2}));
  EXPECT_EQ(image.x, (Axis{"axis1", "nm", 500, 250, 3}));  // 0.5 and 0.25 µm
  EXPECT_EQ(image.energy.name, "Energy loss");
  EXPECT_EQ(image.energy.units, "eV");
  EXPECT_DOUBLE_EQ(image.energy.scale, 0.5);
  EXPECT_DOUBLE_EQ(image.energy.offset, 500);
  const json metadata = json::parse(image.metadata);
  json expected = {{"beam_energy", 200}, {"microscope", "Nion \u00b5"}, {"live", true},
                   {"nothing", nullptr}, {"detectors", json::array()},  {"angles", {1.5, 2.5}},
                   {"names", {"a", "b"}}};
  for (int i = 0; i < 11; ++i)
    expected["mixed"].push_back(i % 2 ? json("text " + std::to_string(i)) : json(i));
  EXPECT_EQ(metadata.at("metadata").at("Acquisition_instrument").at("TEM"), expected);
  EXPECT_EQ(metadata.at("original_metadata"), json::object());  // a large array and binary are left out
}

TEST_F(HspyTest, SignalAxisAnywhere) {
  const SpectrumImage first = read_spectrum_image(fixture("hspy/signal_first.hspy"), {.dataset = 0});
  expect_cube(first, 3, 5, 4);
  EXPECT_EQ(first.y.name, "axis1");
  EXPECT_EQ(first.x.name, "axis2");
  EXPECT_EQ(first.energy.name, "axis0");
  const SpectrumImage middle = read_spectrum_image(fixture("hspy/signal_first.hspy"), {.dataset = 1});
  expect_cube(middle, 3, 5, 4);
  EXPECT_EQ(middle.x.name, "axis2");
  expect_cube(read_spectrum_image(fixture("hspy/unmarked_axes.hspy")), 2, 3, 4);
}

TEST_F(HspyTest, EveryNumberType) {
  const std::vector<ImageInfo> images = list_images(fixture("hspy/dtypes.hspy"));
  ASSERT_EQ(images.size(), 9u);
  for (size_t i = 0; i < 7; ++i) {
    const bool is_unsigned = images[i].dtype.rfind("uint", 0) == 0;
    const SpectrumImage image =
        read_spectrum_image(fixture("hspy/dtypes.hspy"), {.dataset = static_cast<int64_t>(i)});
    const CountArray expected = is_unsigned ? CountArray{0, 0, 0, 0, 1, 2} : CountArray{-10, -9, -8, 0, 1, 2};
    EXPECT_EQ(image.counts, expected) << images[i].dtype;
  }
  EXPECT_EQ(images[7].dtype, "bool");
  EXPECT_EQ(read_spectrum_image(fixture("hspy/dtypes.hspy"), {.dataset = 7}).counts,
            (CountArray{0, 0, 1, 1, 1, 1}));
  EXPECT_NE(user_error([] {
              read_spectrum_image(fixture("hspy/dtypes.hspy"), {.dataset = 8});
            }).find("holds data of type compound, integers or floats are needed"),
            std::string::npos);
}

TEST_F(HspyTest, ChoosesAmongSeveralImages) {
  const std::string file = fixture("hspy/several.hspy");
  std::vector<std::string> kinds;
  for (const ImageInfo& image : list_images(file)) kinds.push_back(image.title + ": " + image.kind);
  EXPECT_EQ(kinds, (std::vector<std::string>{"a map: image", "b dispersive: spectrum image",
                                             "c line: line scan", "d loss: spectrum image",
                                             "e second loss: spectrum image", "f stack: stack of images"}));
  EXPECT_EQ(read_spectrum_image(file).title, "d loss");
  EXPECT_EQ(read_spectrum_image(file, {.dataset = 1}).title, "b dispersive");
  EXPECT_EQ(read_spectrum_image(file, {.dataset = 4}).title, "e second loss");
  EXPECT_EQ(user_error([&] { read_spectrum_image(file, {.dataset = 6}); }),
            file + ": has no image 6, it holds 0 to 5");
  EXPECT_EQ(user_error([&] { read_spectrum_image(file, {.dataset = -2}); }),
            file + ": has no image -2, it holds 0 to 5");
  EXPECT_EQ(user_error([&] { read_spectrum_image(file, {.dataset = 5}); }),
            file +
                ": holds a stack of images (2, 3, 4), a spectrum image (y, x, E) or a line scan (x, E) is "
                "needed; if the "
                "first axis listed is energy, give data.axes=Eyx, if another, data.axes too");
  EXPECT_EQ(user_error([&] { read_spectrum_image(fixture("hspy/only_eds.hspy")); }),
            fixture("hspy/only_eds.hspy") +
                ": holds no spectrum image (y, x, E) of EELS (0 'a', a spectrum image (2, 2, 3) of "
                "EDS_TEM, 2 to 8 eV; 1 'b', an image (2, 3), 1 to 5 eV); choose one by data.dataset");
}

TEST_F(HspyTest, RefusesWhatCannotBeUsed) {
  const auto message = [](const std::string& name) {
    const std::string file = fixture("hspy/" + name), error = user_error([&] { read_spectrum_image(file); });
    EXPECT_EQ(error.rfind(file + ": ", 0), 0u) << error;
    return error.substr(std::min(error.size(), file.size() + 2));
  };
  EXPECT_EQ(
      message("bad_nan.hspy"),
      "2 pixels hold counts that are not finite (NaN or infinite), the first at (y, x, channel) = (1, 0, 2)");
  EXPECT_EQ(message("bad_empty.hspy"), "the spectrum image is empty: x has size 0");
  for (const char* fragment : {"no room for 8192000.00 GB", "data.energy_range, preprocess.crop_y"})
    EXPECT_NE(message("bad_huge.hspy").find(fragment), std::string::npos) << message("bad_huge.hspy");
  EXPECT_EQ(message("bad_axis_missing.hspy"), "image 't', axis-1 is missing");
  EXPECT_EQ(message("bad_axis_size.hspy"), "image 't', axis-1: size is 4, but the data have 3");
  EXPECT_EQ(message("bad_axis_text.hspy"), "image 't', axis-2: scale is not a number");
  EXPECT_EQ(message("bad_axis_scale.hspy"),
            "axis E has offset 2 and scale 0; both must be finite and the scale not 0");
  EXPECT_EQ(
      message("bad_axis_vector.hspy"),
      "image 't', axis-2 is not even: number 1 is 2, 3.333333 was expected, more than 0.1 of a step off; "
      "interpolate the data first, in HyperSpy by s.interpolate_on_axis(\"uniform\", -1)");
  EXPECT_EQ(message("bad_cycle.hspy"), "image 't', original_metadata: groups nest deeper than 32");
  EXPECT_EQ(message("bad_no_images.hspy"), "holds no image");
  EXPECT_EQ(message("other_hdf5.h5")
                .rfind("an HDF5 file, but not of HyperSpy, Velox, NCEM, Nion Swift or Gatan", 0),
            0u);
}

TEST_F(HspyTest, WrittenCubeReadsBackExactly) {
  const SpectrumImage image = example();
  write_hspy(path("a.hspy"), image);
  const SpectrumImage back = read_spectrum_image(path("a.hspy"));
  EXPECT_EQ(back.title, image.title);
  EXPECT_EQ(back.y, image.y);
  EXPECT_EQ(back.x, image.x);
  EXPECT_EQ(back.energy, image.energy);
  EXPECT_EQ(back.counts, image.counts);
  EXPECT_EQ(files_in_folder(), 1u);

  json expected = json::parse(image.metadata), got = json::parse(back.metadata);
  expected["metadata"]["General"]["title"] = image.title;
  expected["metadata"]["Signal"] = {{"quantity", "Counts"}, {"signal_type", "EELS"}};
  EXPECT_EQ(got["metadata"], expected["metadata"]);
  // HDF5 has no member names with '/' and none that are empty, and no integers beyond 64 bits with sign here.
  const json tags = got["original_metadata"]["ImageList"]["TagGroup0"];
  EXPECT_EQ(
      tags,
      (json{
          {"a-b", {{"c", 2}}}, {"a-b_", {{"c", 1}}}, {"_", {{"d", 3}}}, {"large", 18446744073709551615.0}}));
}

TEST_F(HspyTest, SameImageSameBytes) {
  write_hspy(path("a.hspy"), example());
  write_hspy(path("b.hspy"), example());
  EXPECT_TRUE(read_bytes(path("a.hspy")) == read_bytes(path("b.hspy")));
}

TEST_F(HspyTest, LongSpectraAndLargeMapsReadBack) {
  SpectrumImage image;
  image.y.size = 1;
  image.x.size = 3;
  image.energy.size = 300000;  // more than a chunk aims at
  image.counts.assign(900000, 1);
  image.counts[899999] = 2;
  write_hspy(path("a.hspy"), image);
  EXPECT_EQ(read_spectrum_image(path("a.hspy")).counts, image.counts);
}

TEST_F(HspyTest, HyperSpyOpensACube) {
  const SpectrumImage image = example();
  write_hspy(path("a.hspy"), image);
  const ProgramResult python = run_python("check_hspy.py", {path("a.hspy")});
  if (python.status == 77) GTEST_SKIP() << "python3-hyperspy is not installed";
  ASSERT_EQ(python.status, 0) << python.err;
  const json seen = json::parse(python.out);
  EXPECT_EQ(seen["complaints"], json::array());
  EXPECT_EQ(seen["class"], "EELSSpectrum");
  EXPECT_EQ(seen["title"], image.title);
  EXPECT_EQ(seen["signal_type"], "EELS");
  EXPECT_EQ(seen["dtype"], "float32");
  EXPECT_EQ(seen["shape"], (json{7, 5, 130}));
  const auto axis = [](const Axis& a, bool navigate) {
    return json{{"name", a.name}, {"units", a.units},     {"offset", a.offset}, {"scale", a.scale},
                {"size", a.size}, {"navigate", navigate}, {"binned", !navigate}};
  };
  EXPECT_EQ(seen["axes"], (json{axis(image.y, true), axis(image.x, true), axis(image.energy, false)}));
  EXPECT_NEAR(seen["checksum"].get<double>(), checksum(image.counts), 1e-3);
  json tem = json::parse(image.metadata)["metadata"]["Acquisition_instrument"]["TEM"];
  EXPECT_EQ(seen["metadata"]["Acquisition_instrument"]["TEM"], tem);
  EXPECT_EQ(seen["original_metadata"]["ImageList"]["TagGroup0"]["a-b"]["c"], 2);
}

// Debian's HyperSpy 1.7, as HDF5 and as a folder of Zarr; writers_test.cpp has later ones.
TEST_F(HspyTest, ReadsWhatHyperSpyWrites) {
  for (const std::string name : {"a.hspy", "a.zspy"}) {
    const ProgramResult python = run_python("write_with_hyperspy.py", {path(name)});
    if (python.status == 77) GTEST_SKIP() << "python3-hyperspy is not installed";
    ASSERT_EQ(python.status, 0) << python.err;
    const SpectrumImage image = read_spectrum_image(path(name));
    EXPECT_EQ(image.title, "made by HyperSpy");
    EXPECT_EQ(image.y, (Axis{"y", "nm", 1, 0.5, 3}));
    EXPECT_EQ(image.x, (Axis{"x", "nm", -2, 0.25, 4}));
    EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 420, 0.3, 50}));
    for (size_t i = 0; i < image.counts.size(); ++i) ASSERT_EQ(image.counts[i], static_cast<float>(i));
    EXPECT_EQ(json::parse(image.metadata).at("original_metadata"),
              (json{{"microscope", {{"voltage", 300.0}, {"name", "TEM"}, {"edges", {"Fe", "O", ""}}}}}));
  }
}

TEST_F(HspyTest, HyperSpyOpensAMap) {
  std::vector<float> values(20 * 30);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 7;
  const Axis y{"y", "nm", 1, 0.5, 20}, x{"x", "", 0, 1, 30};
  write_hspy_map(path("scores.hspy"), "", y, x, values.data(),
                 R"({"eelsvae": {"score": "pearson", "threshold": 0.25}})");
  const std::vector<ImageInfo> images = list_images(path("scores.hspy"));
  EXPECT_EQ(images.at(0).kind, "image");
  EXPECT_EQ(images.at(0).axes, (std::vector<Axis>{y, x}));

  const ProgramResult python = run_python("check_hspy.py", {path("scores.hspy")});
  if (python.status == 77) GTEST_SKIP() << "python3-hyperspy is not installed";
  ASSERT_EQ(python.status, 0) << python.err;
  const json seen = json::parse(python.out);
  EXPECT_EQ(seen["complaints"], json::array());
  EXPECT_EQ(seen["class"], "Signal2D");
  EXPECT_EQ(seen["title"], "");
  EXPECT_EQ(seen["signal_type"], "");
  EXPECT_EQ(seen["shape"], (json{20, 30}));
  EXPECT_EQ(seen["axes"][0], (json{{"name", "y"},
                                   {"units", "nm"},
                                   {"offset", 1.0},
                                   {"scale", 0.5},
                                   {"size", 20},
                                   {"navigate", false},
                                   {"binned", false}}));
  EXPECT_EQ(seen["axes"][1]["units"], "<undefined>");
  EXPECT_NEAR(seen["checksum"].get<double>(), checksum(values), 1e-3);
  EXPECT_EQ(seen["original_metadata"], (json{{"eelsvae", {{"score", "pearson"}, {"threshold", 0.25}}}}));
}

TEST_F(HspyTest, RefusesEveryTruncation) {
  write_hspy(path("whole.hspy"), example());
  const std::string whole = read_bytes(path("whole.hspy"));
  for (size_t length = 0; length < whole.size(); length += length < 2048 ? 61 : whole.size() / 97) {
    write_bytes(path("part.hspy"), whole.substr(0, length));
    ASSERT_NE(user_error([&] { read_spectrum_image(path("part.hspy")); }), "") << length;
  }
  write_bytes(path("part.hspy"), whole.substr(0, 5000));
  const std::string cut = user_error([&] { read_spectrum_image(path("part.hspy")); });
  EXPECT_NE(cut.find("part.hspy: cut off: the file should have "), std::string::npos) << cut;
  EXPECT_NE(cut.find(" bytes, 5000 are there"), std::string::npos) << cut;
}

TEST_F(HspyTest, AFullDiskLeavesNothingBehind) {
  const SpectrumImage image = example();
  write_hspy(path("whole.hspy"), image);
  const size_t size = std::filesystem::file_size(path("whole.hspy"));
  for (size_t part = 0; part < 16; ++part) {
    const FullDisk full(size * part / 16);
    EXPECT_EQ(user_error([&] { write_hspy(path("a.hspy"), image); }),
              "cannot write " + path("a.hspy") + ": File too large");
    EXPECT_EQ(files_in_folder(), 1u);
  }
  // HDF5 goes on working afterwards.
  write_hspy(path("a.hspy"), image);
  EXPECT_EQ(read_spectrum_image(path("a.hspy")).counts, image.counts);
}

}  // namespace
}  // namespace eelsvae
