#include "io/formats/nion.h"

#include <gtest/gtest.h>

#include "io/files/json_text.h"
#include "io/formats/nion_h5.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/hdf5_writer.h"

namespace eelsvae {
namespace {

using nlohmann::json;

json calibration(double offset, double scale, const std::string& units) {
  return {{"offset", offset}, {"scale", scale}, {"units", units}};
}

json spectrum_image_properties() {
  return {{"title", "SI \u00b5"},
          {"is_sequence", false},
          {"collection_dimension_count", 2},
          {"datum_dimension_count", 1},
          {"dimensional_calibrations",
           {calibration(-1, 0.5, "nm"), calibration(2, 0.25, "nm"), calibration(-20, 0.125, "eV")}},
          {"metadata", {{"hardware_source", {{"signal_type", "eels"}, {"exposure", 0.1}}}}},
          {"session", {{"microscopist", "someone"}}}};
}

class NionTest : public FileTest {
 protected:
  std::string write(const std::vector<int64_t>& shape, const std::string& properties,
                    const Hdf5Storage& storage = {}) {
    Hdf5Writer writer(path("a.h5"));
    writer.dataset("data", shape, storage, [](int64_t i) { return static_cast<double>(i); });
    writer.attribute("data", "properties", properties);
    return path("a.h5");
  }
};

TEST_F(NionTest, SpectrumImage) {
  for (const Hdf5Storage& storage : {Hdf5Storage{}, Hdf5Storage{.chunk = {1, 3, 1024}}}) {
    const std::string file = write({2, 3, 1024}, spectrum_image_properties().dump(), storage);
    EXPECT_EQ(image_format_name(file), "Nion Swift");
    EXPECT_EQ(list_images(file).at(0).signal, "EELS");
    const SpectrumImage image = read_spectrum_image(file);
    EXPECT_EQ(image.title, "SI \u00b5");
    EXPECT_EQ(image.y, (Axis{"y", "nm", -1, 0.5, 2}));
    EXPECT_EQ(image.x, (Axis{"x", "nm", 2, 0.25, 3}));
    EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", -20, 0.125, 1024}));
    for (size_t i = 0; i < image.counts.size(); ++i) ASSERT_EQ(image.counts[i], static_cast<float>(i));
    const json original = json::parse(image.metadata).at("original_metadata");
    EXPECT_EQ(original.at("session").at("microscopist"), "someone");
  }
}

TEST_F(NionTest, ExportedFileOfSeveral) {
  {
    Hdf5Writer writer(path("a.nhdf"));
    const auto number = [](int64_t i) { return static_cast<double>(i); };
    writer.dataset("data/0", {4, 5}, {}, number);
    writer.attribute("data/0", "properties", R"({"title": "survey", "datum_dimension_count": 2})");
    writer.dataset("data/1", {2, 3, 8}, {}, number);
    writer.attribute("data/1", "properties", spectrum_image_properties().dump());
    writer.group("index");
  }
  const std::vector<ImageInfo> images = list_images(path("a.nhdf"));
  ASSERT_EQ(images.size(), 2u);
  EXPECT_EQ(images[0].title + ": " + images[0].kind, "survey: image");
  EXPECT_EQ(read_spectrum_image(path("a.nhdf")).counts.back(), 47);
}

TEST_F(NionTest, KindsFollowTheDimensionCounts) {
  const auto describe = [](std::vector<int64_t> shape, const json& properties,
                           const char* dtype = "float32") {
    const ImageInfo info = nion_image_info(properties, std::move(shape), dtype, "a");
    std::string axes;
    for (const Axis& axis : info.axes) axes += " " + axis.name;
    return info.kind + ":" + axes + (info.signal.empty() ? "" : " of " + info.signal);
  };
  const auto counts = [](int sequence, int collection, int datum) {
    return json{{"is_sequence", sequence != 0},
                {"collection_dimension_count", collection},
                {"datum_dimension_count", datum}};
  };
  EXPECT_EQ(describe({4}, counts(0, 0, 1)), "single spectrum: x");
  EXPECT_EQ(describe({4, 5}, counts(0, 0, 2)), "image: y x");
  EXPECT_EQ(describe({4, 5}, counts(0, 1, 1)), "line scan: x x");
  EXPECT_EQ(describe({4, 5}, counts(1, 0, 1)), "line scan: Sequence x");
  EXPECT_EQ(describe({4, 5, 6}, counts(1, 0, 2)), "stack of images: Sequence y x");
  EXPECT_EQ(describe({2, 3, 4, 5}, counts(0, 2, 2)), "4-dimensional data set: y x y x");
  EXPECT_EQ(describe({2, 3, 4}, json::object()), "spectrum image: y x x");
  EXPECT_EQ(describe({2, 3}, json::object()), "image: y x");
  EXPECT_EQ(describe({4, 5, 3}, counts(0, 0, 2), "uint8"), "colour image: y x");
  // Older files keep the description one level down; exported ones name the calibrations differently.
  const json old = {{"data_sources", {spectrum_image_properties()}}};
  EXPECT_EQ(describe({2, 3, 4}, old), "spectrum image: y x Energy loss of EELS");
  EXPECT_EQ(describe({4}, {{"spatial_calibrations", {calibration(0, 1, "eV")}}}),
            "single spectrum: Energy loss of EELS");
  EXPECT_EQ(user_error([&] {
              describe({4, 5}, counts(0, 2, 1));
            }),
            "a: the properties describe 3 dimensions, the array has 2");
  EXPECT_EQ(user_error([&] {
              describe({4, 5}, counts(0, -1, 1));
            }),
            "a: collection_dimension_count is not a number of dimensions");
  EXPECT_EQ(user_error([&] {
              describe({4}, {{"spatial_calibrations", {{{"scale", "1"}}}}});
            }),
            "a: calibration 0: scale is not a number");
}

TEST_F(NionTest, JsonAsPythonWritesIt) {
  EXPECT_EQ(parse_json_object(R"({"a": NaN, "b": [-Infinity, Infinity, 1], "NaN \" c": "NaN"})", "a"),
            (json{{"a", nullptr}, {"b", {nullptr, nullptr, 1}}, {"NaN \" c", "NaN"}}));
  for (const std::string text : {"", "[]", "{", "{\"a\": 1} x", "\"", "{\"a\": \"\\"})
    EXPECT_EQ(user_error([&] { parse_json_object(text, "a"); }), "a: not a JSON object") << text;
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  EXPECT_EQ(user_error([&] { parse_json_object(deep, "a"); }), "a: JSON nested deeper than 100");
  const std::string file = write({2, 3, 4}, "{\"title\": ");
  EXPECT_EQ(user_error([&] { list_images(file); }), file + ": dataset 'data', properties: not a JSON object");
}

TEST_F(NionTest, RefusesEveryTruncation) {
  expect_truncations_refused(write({2, 3, 1024}, spectrum_image_properties().dump()), path("part.h5"));
}

}  // namespace
}  // namespace eelsvae
