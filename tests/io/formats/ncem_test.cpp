#include "io/formats/ncem.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/hdf5_writer.h"

namespace eelsvae {
namespace {

using nlohmann::json;

struct Dim {
  std::string name, units;
  std::vector<double> positions;
};

std::vector<double> uniform(double first, double step, size_t size) {
  std::vector<double> positions;
  for (size_t i = 0; i < size; ++i) positions.push_back(first + step * static_cast<double>(i));
  return positions;
}

class NcemTest : public FileTest {
 protected:
  // The i-th value in the file's order is i.
  std::string write(const std::string& group, const std::vector<int64_t>& shape, const std::vector<Dim>& dims,
                    int first_dim = 1) {
    Hdf5Writer writer(path("a.emd"));
    add(writer, group, shape, dims, first_dim);
    if (first_dim == 0)
      writer.attribute(group, "emd_group_type", "array");
    else
      writer.attribute(group, "emd_group_type", 1);
    writer.group("microscope");
    writer.attribute("microscope", "voltage", 200);
    return path("a.emd");
  }
  static void add(Hdf5Writer& writer, const std::string& group, const std::vector<int64_t>& shape,
                  const std::vector<Dim>& dims, int first_dim = 1) {
    writer.dataset(group + "/data", shape, {}, [](int64_t i) { return static_cast<double>(i); });
    for (size_t d = 0; d < dims.size(); ++d) {
      const std::string name = group + "/dim" + std::to_string(first_dim + static_cast<int>(d));
      writer.dataset(name, dims[d].positions);
      writer.attribute(name, "name", dims[d].name);
      writer.attribute(name, "units", dims[d].units);
    }
  }
};

TEST_F(NcemTest, SpectrumImageWithEnergyLast) {
  const std::string file = write("experiment/scan 1/eels", {2, 3, 20},
                                 {{"", "[n_m]", uniform(1, 0.5, 2)},
                                  {"", "[\u00b5_m]", uniform(0.25, 0.125, 3)},
                                  {"E", "[e_V]", uniform(400, 0.5, 20)}});
  EXPECT_EQ(image_format_name(file), "NCEM");
  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.title, "eels");
  EXPECT_EQ(image.y, (Axis{"", "nm", 1, 0.5, 2}));
  EXPECT_EQ(image.x, (Axis{"", "nm", 250, 125, 3}));
  EXPECT_EQ(image.energy, (Axis{"E", "eV", 400, 0.5, 20}));
  for (size_t i = 0; i < image.counts.size(); ++i) ASSERT_EQ(image.counts[i], static_cast<float>(i));
  EXPECT_EQ(json::parse(image.metadata).at("original_metadata"), (json{{"microscope", {{"voltage", 200}}}}));
}

// (E, x, y), as HyperSpy has it, with and without names, and in EMD 1.0.
TEST_F(NcemTest, SpectrumImageWithEnergyFirst) {
  for (const bool named : {true, false}) {
    for (const int first_dim : {0, 1}) {
      const std::string file = write("signals/a", {20, 3, 2},
                                     {{"Energy loss", "eV", {400, 400.5}},
                                      {named ? "x" : "", "nm", {0, 2}},
                                      {named ? "y" : "", "nm", {5, 8}}},
                                     first_dim);
      const SpectrumImage image = read_spectrum_image(file);
      EXPECT_EQ(image.y, (Axis{named ? "y" : "", "nm", 5, 3, 2}));
      EXPECT_EQ(image.x, (Axis{named ? "x" : "", "nm", 0, 2, 3}));
      EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 400, 0.5, 20}));
      EXPECT_EQ(list_images(file).at(0).signal, "EELS");
      for (int64_t y = 0; y < 2; ++y)
        for (int64_t x = 0; x < 3; ++x)
          for (int64_t e = 0; e < 20; ++e)
            ASSERT_EQ(image.spectrum(y * 3 + x)[e], static_cast<float>((e * 3 + x) * 2 + y));
    }
  }
}

TEST_F(NcemTest, KindsOfData) {
  {
    Hdf5Writer writer(path("a.emd"));
    const Dim length{"", "nm", {0, 1}}, energy{"", "eV", {0, 1}}, plain{"", "", {0, 1}};
    int count = 0;
    for (const std::vector<Dim>& dims : {std::vector<Dim>{length, length},
                                         {length, energy},
                                         {length, length, length},
                                         {plain, plain, plain},
                                         {energy},
                                         {length, length, length, length}}) {
      const std::string group = "g/" + std::to_string(count++);
      add(writer, group, std::vector<int64_t>(dims.size(), 2), dims);
      writer.attribute(group, "emd_group_type", 1);
    }
    add(writer, "not marked", {2}, {energy});
  }
  std::vector<std::string> kinds;
  for (const ImageInfo& image : list_images(path("a.emd"))) kinds.push_back(image.kind);
  EXPECT_EQ(kinds, (std::vector<std::string>{"image", "line scan", "stack of images", "spectrum image",
                                             "single spectrum", "4-dimensional data set"}));
}

TEST_F(NcemTest, RefusesAxesThatAreNotUniform) {
  std::vector<double> energies = uniform(400, 0.5, 20);
  const auto dims = [&] {
    return std::vector<Dim>{{"", "nm", {0, 1}}, {"", "nm", {0, 1}}, {"", "eV", energies}};
  };
  energies[7] += 0.005;  // within what rounding does
  EXPECT_EQ(user_error([&] { read_spectrum_image(write("g", {2, 3, 20}, dims())); }), "");
  energies[7] += 0.1;
  EXPECT_EQ(user_error([&] {
              read_spectrum_image(write("g", {2, 3, 20}, dims()));
            }),
            path("a.emd") +
                ": group '/g', dim3 is not even: number 7 is 403.605, 403.5 was expected, more than 0.1 of a "
                "step off; "
                "interpolate the data first, in HyperSpy by s.interpolate_on_axis(\"uniform\", -1)");
  energies.pop_back();
  EXPECT_EQ(user_error([&] {
              read_spectrum_image(write("g", {2, 3, 20}, dims()));
            }),
            path("a.emd") + ": group '/g', dim3: the vector has the shape (19,), 20 or 2 numbers are needed");
  energies.resize(21);
  EXPECT_NE(user_error([&] {
              read_spectrum_image(write("g", {2, 3, 20}, dims()));
            }).find("; of the edges of channels save the centres, (e[1:] + e[:-1]) / 2"),
            std::string::npos);
}

TEST_F(NcemTest, RefusesEveryTruncation) {
  const std::string file = write("g", {2, 3, 20}, {});
  EXPECT_EQ(read_spectrum_image(file).energy, (Axis{"", "", 0, 1, 20}));
  expect_truncations_refused(file, path("part.emd"));
}

TEST_F(NcemTest, ReadsWhatHyperSpyWrites) {
  const ProgramResult python = run_python("write_with_hyperspy.py", {path("a.emd")});
  if (python.status == 77) GTEST_SKIP() << "python3-hyperspy is not installed";
  ASSERT_EQ(python.status, 0) << python.err;
  EXPECT_EQ(image_format_name(path("a.emd")), "NCEM");
  const SpectrumImage image = read_spectrum_image(path("a.emd"));
  EXPECT_EQ(image.title, "made by HyperSpy");
  EXPECT_EQ(image.y, (Axis{"y", "nm", 1, 0.5, 3}));
  EXPECT_EQ(image.x, (Axis{"x", "nm", -2, 0.25, 4}));
  EXPECT_EQ(image.energy.units, "eV");
  EXPECT_NEAR(image.energy.scale, 0.3, 1e-12);
  EXPECT_EQ(list_images(path("a.emd")).at(0).signal, "EELS");
  for (size_t i = 0; i < image.counts.size(); ++i) ASSERT_EQ(image.counts[i], static_cast<float>(i));
}

}  // namespace
}  // namespace eelsvae
