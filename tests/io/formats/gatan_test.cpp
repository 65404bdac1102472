#include "io/formats/gatan.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "io/formats/gatan_tags.h"
#include "io/formats/gatan_write.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/file_test.h"
#include "tests/io/formats/gatan_file.h"

namespace eelsvae {
namespace {

using nlohmann::json;
using Shape = std::vector<int64_t>;

class GatanTest : public FileTest {
 protected:
  std::string write(const std::string& bytes, const std::string& name = "image.dm4") {
    write_bytes(path(name), bytes);
    return path(name);
  }
};

// Both versions, both byte orders of the values.
const GatanFile variants[] = {{3, false}, {3, true}, {4, false}, {4, true}};

std::string variant_name(const GatanFile& f) {
  return "DM" + std::to_string(f.version) + (f.big_endian ? " big" : " little");
}

// A small picture of the display, as DigitalMicrograph keeps one.
std::string thumbnail(const GatanFile& f) {
  return f.image(u"Image Of test", 23, {{2}, {2}}, f.value("Data", {20, 3, 4}, std::string(16, '\x7f')));
}

// The first n numbers of a type: all bits differ, so that a wrong byte order or place shows.
template <class T>
std::vector<T> numbers(size_t n) {
  std::vector<T> values(n);
  for (size_t i = 0; i < n; ++i) {
    if constexpr (std::is_floating_point_v<T>)
      values[i] = static_cast<T>(std::sin(0.7 * static_cast<double>(i)) * 1e3);
    else
      values[i] = static_cast<T>(0x0102030405060708ull * (i + 1) + i);
  }
  return values;
}

template <class T>
std::string data_tag(const GatanFile& f, uint64_t element, const std::vector<T>& values) {
  std::string content;
  for (const T value : values) content += f.bytes(value);
  return f.value("Data", {20, element, values.size()}, content);
}

// A spectrum image [x, y, E] = [4, 3, 5] with calibrated axes.
template <class T>
std::string cube_tag(const GatanFile& f, uint32_t data_type, uint64_t element, const std::vector<T>& values) {
  return f.image(u"cube \u00b5", data_type,
                 {{4, 2.5f, 0.5f, u"nm"}, {3, -1.25f, 0.002f, u"\u00b5m"}, {5, -420, 0.25f, u"eV"}},
                 data_tag(f, element, values), {f.meta_data(u"Spectrum image", u"EELS")});
}

template <class T>
void expect_type_is_read(const std::string& file, const GatanFile& f, uint32_t data_type, uint64_t element,
                         const std::string& dtype) {
  const std::vector<T> values = numbers<T>(60);
  const std::string cube = cube_tag(f, data_type, element, values);
  for (const int place : {0, 1, -1}) {  // of the thumbnail; -1: there is none
    SCOPED_TRACE(variant_name(f) + " " + dtype + ", thumbnail at " + std::to_string(place));
    std::vector<std::string> images = {cube};
    std::vector<std::string> root;
    if (place >= 0) {
      images.insert(images.begin() + place, thumbnail(f));
      root.push_back(
          f.group("Thumbnails", {f.group("", {f.u32("ImageIndex", static_cast<uint32_t>(place))})}));
    }
    root.insert(root.begin(), {f.group("A", gatan_junk(f, 2)), f.group("ImageList", images)});
    write_bytes(file, f.file(root));

    const std::vector<ImageInfo> infos = list_images(file);
    ASSERT_EQ(infos.size(), 1u);
    EXPECT_EQ(infos[0].dtype, dtype);
    EXPECT_EQ(infos[0].kind, "spectrum image");
    EXPECT_EQ(infos[0].shape, (Shape{3, 4, 5}));
    const SpectrumImage image = read_spectrum_image(file);
    EXPECT_EQ(image.title, "cube \xc2\xb5");
    EXPECT_EQ(image.y, (Axis{"y", "nm", 1.25 * double(0.002f) * 1e3, double(0.002f) * 1e3, 3}));
    EXPECT_EQ(image.x, (Axis{"x", "nm", -1.25, 0.5, 4}));
    EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 105, 0.25, 5}));
    for (size_t y = 0; y < 3; ++y)
      for (size_t x = 0; x < 4; ++x)
        for (size_t e = 0; e < 5; ++e)
          ASSERT_EQ(image.counts[(y * 4 + x) * 5 + e], static_cast<float>(values[(e * 3 + y) * 4 + x]));
  }
}

TEST_F(GatanTest, EveryTypeOfNumberInBothByteOrders) {
  for (const GatanFile& f : variants) {
    const auto check = [&]<class T>(T, uint32_t data_type, uint64_t element, const char* dtype) {
      expect_type_is_read<T>(path("image.dm4"), f, data_type, element, dtype);
    };
    check(int16_t{}, 1, 2, "int16");
    check(float{}, 2, 6, "float32");
    check(uint8_t{}, 6, 10, "uint8");
    check(int32_t{}, 7, 3, "int32");
    check(int8_t{}, 9, 9, "int8");
    check(uint16_t{}, 10, 4, "uint16");
    check(uint32_t{}, 11, 5, "uint32");
    check(double{}, 12, 7, "float64");
    check(int64_t{}, 39, 11, "int64");
    check(uint64_t{}, 40, 12, "uint64");
  }
}

TEST_F(GatanTest, OtherTypesAreListed) {
  const std::tuple<uint32_t, const char*> types[] = {
      {3, "complex64"}, {13, "complex128"},      {23, "RGBA"},
      {8, "RGBA"},      {5, "packed complex64"}, {77, "Gatan type 77"}};
  for (const auto& [code, dtype] : types) {
    const GatanFile f;
    const std::string image = f.image(u"", code, {{2}, {2}, {1}},
                                      f.value("Data", {20, 15, 0, 2, 0, 6, 0, 6, 4}, std::string(32, 'x')));
    const std::string file = write(f.file({f.group("ImageList", {image})}));
    EXPECT_EQ(list_images(file).at(0).dtype, dtype);
    EXPECT_EQ(user_error([&] { read_spectrum_image(file); }),
              file + ": the spectrum image holds data of type " + dtype +
                  ", integers or floats are needed; save the real part, or the field that holds the counts");
  }
}

struct Case {
  std::vector<GatanFile::Dimension> dimensions;
  std::u16string format, signal;
  std::string kind, signal_type;
  Shape shape;
  std::string names;
};

TEST_F(GatanTest, TagsAndUnitsTellWhatAnImageIs) {
  const GatanFile::Dimension x{4, 0, 1, u"nm"}, y{3, 0, 1, u"nm"}, e{5, 0, 1, u"eV"}, plain{5};
  const Case cases[] = {
      {{x, y, e}, u"Spectrum image", u"EELS", "spectrum image", "EELS", {3, 4, 5}, "y x Energy loss "},
      {{x, y, e}, u"", u"", "spectrum image", "", {3, 4, 5}, "y x Energy loss "},
      {{x, y, plain}, u"Spectrum image", u"EELS", "spectrum image", "EELS", {3, 4, 5}, "y x Energy loss "},
      {{x, y, plain}, u"", u"", "spectrum image", "", {3, 4, 5}, "y x Energy loss "},
      {{x, y, {5, 0, 1, u"keV"}},
       u"Spectrum image",
       u"X-ray",
       "spectrum image",
       "EDS_TEM",
       {3, 4, 5},
       "y x Energy "},
      {{x, y, {5, 0, 1, u"nm"}},
       u"Spectrum image",
       u"CL",
       "spectrum image",
       "CL",
       {3, 4, 5},
       "y x Wavelength "},
      {{e, x, y}, u"Spectrum image", u"EELS", "spectrum image", "EELS", {3, 4, 5}, "y x Energy loss "},
      {{x, e, y}, u"Spectrum image", u"EELS", "spectrum image", "EELS", {3, 4, 5}, "y x Energy loss "},
      {{x, y, {5, 0, 1, u"s"}}, u"", u"", "stack of images", "", {5, 3, 4}, "z y x "},
      {{x, y, plain}, u"Image", u"", "stack of images", "", {5, 3, 4}, "z y x "},
      {{x, y}, u"", u"", "image", "", {3, 4}, "y x "},
      {{x, y}, u"Image", u"EELS", "image", "EELS", {3, 4}, "y x "},
      {{e, x}, u"Spectrum image", u"EELS", "line scan", "EELS", {4, 5}, "x Energy loss "},
      {{x, e}, u"Spectrum image", u"EELS", "line scan", "EELS", {4, 5}, "x Energy loss "},
      {{plain, x}, u"Spectrum image", u"EELS", "line scan", "EELS", {4, 5}, "x Energy loss "},
      {{plain, x}, u"Spectrum", u"EELS", "line scan", "EELS", {4, 5}, "x Energy loss "},
      {{x, e}, u"Line scan", u"EELS", "line scan", "EELS", {4, 5}, "x Energy loss "},
      {{e, {1}}, u"Spectrum", u"EELS", "single spectrum", "EELS", {5}, "Energy loss "},
      {{e}, u"Spectrum", u"EELS", "single spectrum", "EELS", {5}, "Energy loss "},
      {{x, y, e, {2}},
       u"Spectrum image",
       u"EELS",
       "4-dimensional data set",
       "EELS",
       {2, 3, 4, 5},
       "z y x Energy loss "},
      {{x, y, {2}, {2}},
       u"Diffraction image",
       u"",
       "4-dimensional data set",
       "",
       {2, 2, 3, 4},
       "axis-3 z y x "},
  };
  for (const Case& c : cases) {
    const GatanFile f;
    size_t size = 1;
    for (const auto& d : c.dimensions) size *= d.size;
    std::vector<std::string> tags;
    if (!c.format.empty()) tags = {f.meta_data(c.format, c.signal)};
    const std::vector<float> values = numbers<float>(size);
    const std::string file =
        write(f.file({f.group("ImageList", {f.image(u"", 2, c.dimensions, data_tag(f, 6, values), tags)})}));
    const ImageInfo info = list_images(file).at(0);
    SCOPED_TRACE(&c - cases);
    EXPECT_EQ(info.kind, c.kind);
    EXPECT_EQ(info.signal, c.signal_type);
    EXPECT_EQ(info.shape, c.shape);
    std::string names;
    for (const Axis& axis : info.axes) names += axis.name + " ";
    EXPECT_EQ(names, c.names);
    if (c.kind != "spectrum image" || c.signal == u"X-ray" || c.signal == u"CL") continue;
    // Strides of the dimensions that x, y and E have in the file.
    const size_t stride_x = c.dimensions[0].size == 5 ? 5 : 1;
    const size_t stride_y = c.dimensions[2].size == 3 ? 20 : 4;
    const size_t stride_e = c.dimensions[0].size == 5 ? 1 : c.dimensions[1].size == 5 ? 4 : 12;
    const SpectrumImage image = read_spectrum_image(file);
    for (size_t iy = 0; iy < 3; ++iy)
      for (size_t ix = 0; ix < 4; ++ix)
        for (size_t ie = 0; ie < 5; ++ie)
          ASSERT_EQ(image.counts[(iy * 4 + ix) * 5 + ie],
                    values[iy * stride_y + ix * stride_x + ie * stride_e]);
  }
}

TEST_F(GatanTest, OrsaysTagsMakeASpectrumImage) {
  const GatanFile f;
  const std::string spim = f.group("spim", {f.group("eels", {})});
  const std::string image = f.image(u"", 2, {{4}, {3}, {5}}, data_tag(f, 6, numbers<float>(60)), {spim});
  const std::string file = write(f.file({f.group("ImageList", {image})}));
  EXPECT_EQ(list_images(file).at(0).signal, "EELS");
  EXPECT_EQ(list_images(file).at(0).kind, "spectrum image");
}

TEST_F(GatanTest, SeveralImagesInAnyOrder) {
  const GatanFile f;
  const std::string survey = f.image(u"survey", 10, {{4}, {4}}, data_tag(f, 4, numbers<uint16_t>(16)));
  const std::string xray =
      f.image(u"X-rays", 1, {{2}, {2}, {3, 0, 1, u"keV"}}, data_tag(f, 2, numbers<int16_t>(12)),
              {f.meta_data(u"Spectrum image", u"X-ray")});
  const std::string cube = cube_tag(f, 2, 6, numbers<float>(60));
  std::vector<std::string> images = {survey, thumbnail(f), xray, cube};
  const std::string thumbnails = f.group("Thumbnails", {f.group("", {f.u32("ImageIndex", 1)})});
  const std::string file = write(f.file({f.group("ImageList", images), thumbnails}));
  std::string titles;
  for (const ImageInfo& info : list_images(file)) titles += info.title + "; ";
  EXPECT_EQ(titles, "survey; X-rays; cube \xc2\xb5; ");
  EXPECT_EQ(read_spectrum_image(file).energy.size, 5);
  EXPECT_EQ(read_spectrum_image(file, {.dataset = 1}).energy, (Axis{"Energy", "eV", 0, 1000, 3}));
  EXPECT_EQ(user_error([&] { read_spectrum_image(file, {.dataset = 0}); }),
            file + ": holds an image (4, 4), a spectrum image (y, x, E) or a line scan (x, E) is needed");
}

TEST_F(GatanTest, TagsOfEveryKind) {
  json level = {{"i16", -2},
                {"i32", -3},
                {"u16", 65535},
                {"u32", 4294967295},
                {"f32", 0.25},
                {"f64", 0.1},
                {"bool", true},
                {"i8", -9},
                {"u8", 200},
                {"i64", -11},
                {"u64", ~uint64_t{0}},
                {"string", "bytes"},
                {"structure", {5, 2.5, false}},
                {"structures", {{1, 2}, {3, 4}}},
                {"strings", {"aa", "bb", "cc"}},
                {"arrays", {{1, 2}, {3, 4}}},
                {"no text", {0xd800, 5}},
                {"Data0", json::array()},
                {"Data1", {6, 7}},
                {"\xc2\xb5 Latin-1 name", "\xc2\xb5m \xe2\x82\xac \xf0\x9f\x94\xac"},
                {"empty", json::object()}};
  json expected = level;
  expected["nested"] = level;
  for (const GatanFile& f : variants) {
    const std::string bytes = f.file(gatan_junk(f, 1));
    const GatanTags tags = parse_gatan_tags(std::as_bytes(std::span(bytes)), "file");
    EXPECT_EQ(tags.tree, expected) << variant_name(f);
    EXPECT_EQ(tags.arrays.size(), 2u);
    const TagArray& large = tags.arrays.at("nested.large");
    EXPECT_EQ(large.bytes, 5000u);
    EXPECT_EQ(bytes.substr(large.offset - 1, 5002).find_first_not_of('x', 1), 5001u);
  }
}

TEST_F(GatanTest, MeasuredSpectrumImage) {
  const std::string file = shared_data("EELS_SI.dm4");
  if (file.empty()) GTEST_SKIP() << "shared/data is missing";
  EXPECT_EQ(image_format_name(file), "Gatan DigitalMicrograph");
  const std::vector<ImageInfo> infos = list_images(file);
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].signal, "EELS");
  const SpectrumImage image = read_spectrum_image(file);
  // As HyperSpy reads them.
  EXPECT_EQ(image.title, "EELS_SI");
  const double step = 0.0019920736085623503 * 1e3;
  EXPECT_EQ(image.y, (Axis{"y", "nm", 0, step, 2}));
  EXPECT_EQ(image.x, (Axis{"x", "nm", 0, step, 2}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 300, 1, 2048}));
  const std::vector<float> first(image.counts.begin(), image.counts.begin() + 3);
  EXPECT_EQ(first, (std::vector<float>{8473.005859375f, 8634.40234375f, 8471.6513671875f}));
  const json metadata = json::parse(image.metadata);
  const json expected = json::parse(R"({
    "beam_energy": 200.0, "beam_current": 0.0, "acquisition_mode": "STEM", "camera_length": 550.0,
    "magnification": 225000.0, "microscope": "FEI Titan", "convergence_angle": 21.0,
    "Stage": {"tilt_alpha": 0.002439998066344124, "tilt_beta": 0.0, "x": -0.308049, "y": -0.318151,
              "z": -0.013430399999999999},
    "Detector": {"EELS": {"collection_angle": 62.0, "dwell_time": 0.0199501246882793, "frame_number": 1,
                          "aperture_size": 5.0, "spectrometer": "GIF Quantum ER"}}})");
  EXPECT_EQ(metadata["metadata"]["Acquisition_instrument"]["TEM"], expected);
  const json signal = {
      {"signal_type", "EELS"},
      {"quantity", "Electrons (Counts)"},
      {"Noise_properties",
       {{"Variance_linear_model", {{"gain_factor", 0.1285347044467926}, {"gain_offset", 0.0}}}}}};
  EXPECT_EQ(metadata["metadata"]["Signal"], signal);
  const json& tags = metadata["original_metadata"]["ImageList"]["TagGroup0"]["ImageTags"];
  EXPECT_EQ(tags["SI"]["Acquisition"]["Spatial Sampling"]["Width (pixels)"], 132);
  EXPECT_EQ(tags["Acquisition"]["Parameters"]["High Level"]["Binning"], (json{1, 26}));
  EXPECT_TRUE(metadata["original_metadata"].contains("DocumentObjectList"));
  EXPECT_FALSE(metadata["original_metadata"]["ImageList"].contains("TagGroup1"));
}

TEST_F(GatanTest, CountedCubes) {
  for (const char* name : {"test-1.dm3", "test-1.dm4", "test-2.dm3", "test-2.dm4"}) {
    const std::string file = shared_data(name);
    if (file.empty()) GTEST_SKIP() << "shared/data is missing";
    const SpectrumImage image = read_spectrum_image(file);
    EXPECT_EQ(list_images(file)[0].dtype, name[5] == '1' ? "int16" : "float32");
    EXPECT_EQ(image.counts, (CountArray{1, 5, 2, 6, 3, 7, 4, 8})) << name;  // 1 + x + 2 y + 4 E
  }
}

std::string parse_error(const GatanFile& f, const std::vector<std::string>& root) {
  const std::string bytes = f.file(root);
  return user_error([&] { list_gatan_images(std::as_bytes(std::span(bytes)), "f"); });
}

TEST_F(GatanTest, SaysWhatIsWrongWithATag) {
  const GatanFile f;
  std::string deep = f.group("g", {});
  for (int i = 0; i < 70; ++i) deep = f.group("g", {deep});
  const auto message = [&](const std::string& tag) { return parse_error(f, {f.group("A", {tag})}); };
  EXPECT_EQ(message(deep).substr(message(deep).find(", ")), ", byte 1446: groups nest deeper than 64");
  EXPECT_EQ(message(f.value("b", {1}, "x")), "f: tag A.b, byte 80: a value of unknown type 1");
  EXPECT_EQ(message(f.value("b", {20, 3, 1ull << 62}, "x")),
            "f: tag A.b, byte 96: an array of 4611686018427387904 elements cannot be");
  EXPECT_EQ(message(f.value("b", {20, 3, 1ull << 40}, "x")),
            "f: tag A.b, byte 96: cut off: 4398046511104 more bytes are needed, the file has 105 bytes");
  EXPECT_EQ(message(f.value("b", {15, 0, 3, 0, 2}, "x")),
            "f: tag A.b, byte 96: a structure of 3 fields is cut short");
  EXPECT_EQ(message(f.value("b", {20}, "x")), "f: tag A.b, byte 80: a type that is cut short");
  EXPECT_EQ(message(f.value("b", {2, 2}, "x")), "f: tag A.b, byte 80: a type with 1 words too many");
  EXPECT_EQ(message(f.value("b", std::vector<uint64_t>(12, 20), "x")),
            "f: tag A.b, byte 144: types nest deeper than 8");
  EXPECT_EQ(message(f.tag(21, "b", "$$$$")), "f: tag A.b, byte 60: no '%%%%' before a value");
  EXPECT_EQ(message(f.tag(7, "b", "")), "f: tag A, byte 49: a tag of kind 7, 20 or 21 is needed");
  EXPECT_EQ(message(f.tag(20, "b", std::string(2, '\1') + f.count(1ull << 60))),
            "f: tag A.b, byte 70: cut off: a group of 1152921504606846976 tags, but only 8 bytes follow");
  // Nothing of no bytes may be repeated without end.
  EXPECT_EQ(message(f.value("b", {20, 15, 0, 0, 1ull << 60}, "")), "");
  EXPECT_EQ(message(f.value("b", {20, 20, 20, 15, 0, 0, 1ull << 30, 1ull << 30, 1ull << 30}, "")),
            "f: tag A.b, byte 144: an array of 1073741824 elements cannot be");
}

TEST_F(GatanTest, SaysWhatIsWrongWithAnImage) {
  const GatanFile f;
  const std::string data = data_tag(f, 6, numbers<float>(8));
  const auto message = [&](uint32_t type, const std::vector<GatanFile::Dimension>& dimensions,
                           const std::string& tag) {
    write(f.file({f.group("ImageList", {f.image(u"", type, dimensions, tag)})}));
    return user_error([&] { read_spectrum_image(path("image.dm4")); });
  };
  const std::string tag = path("image.dm4") + ": tag ImageList.TagGroup0";
  EXPECT_EQ(message(2, {{2}, {2}, {2}}, data), "");
  EXPECT_EQ(message(2, {{2}, {2}, {3}}, data),
            tag + ".ImageData.Data has 32 bytes, (2, 2, 3) float32 needs 48");
  EXPECT_EQ(message(12, {{2}, {2}, {2}}, data),
            tag + ".ImageData.Data has 32 bytes, (2, 2, 2) float64 needs 64");
  EXPECT_TRUE(message(2, {{2}, {2}, {2}}, f.u32("no data", 1))
                  .starts_with(tag + ": the tag ImageData.Data is missing; "));
  EXPECT_EQ(message(2, {}, data), tag + ": the tag ImageData.Dimensions is missing");
  EXPECT_EQ(message(2, {{~0u}, {~0u}, {~0u}}, data),
            tag + ".ImageData.Dimensions: an image (4294967295, 4294967295, 4294967295) cannot be");
  EXPECT_EQ(message(2, std::vector<GatanFile::Dimension>(9), data),
            tag + " has 9 dimensions, 1 to 8 are possible");
  EXPECT_EQ(message(2, {{2}, {2}, {0}}, data),
            path("image.dm4") + ": the spectrum image is empty: E has size 0");
  write(f.file({f.group("A", {})}));
  EXPECT_EQ(user_error([&] { read_spectrum_image(path("image.dm4")); }),
            path("image.dm4") + ": holds no image");
}

// An image whose data are the last thing in the file.
std::string data_last(const GatanFile& f) {
  const std::string data = data_tag(f, 6, numbers<float>(60));
  const std::string sizes = f.group("Dimensions", {f.u32("", 4), f.u32("", 3), f.u32("", 5)});
  const std::string image = f.group("", {f.group("ImageData", {f.u32("DataType", 2), sizes, data})});
  const std::string bytes = f.file({f.group("ImageList", {cube_tag(f, 2, 6, numbers<float>(60)), image})});
  return bytes.substr(0, bytes.size() - 8);
}

TEST_F(GatanTest, ListsWhatIsWholeBeforeACut) {
  for (const GatanFile& f : variants) {
    const std::string whole = data_last(f);
    const std::string file = write(whole.substr(0, whole.size() - 1));
    EXPECT_EQ(list_images(file).size(), 2u);
    EXPECT_EQ(read_spectrum_image(file, {.dataset = 0}).counts[1], numbers<float>(60)[12]);
    EXPECT_EQ(user_error([&] { read_spectrum_image(file, {.dataset = 1}); }),
              file + ": tag ImageList.TagGroup1.ImageData.Data, byte " + std::to_string(whole.size() - 240) +
                  ": cut off: the image has 240 bytes, the file ends after 239");
  }
}

// Every image as the whole file lists it, and its numbers too, unless reading says what is wrong.
void expect_part_of(const std::vector<GatanMemoryImage>& images, const std::vector<GatanMemoryImage>& whole,
                    std::span<const std::byte> content) {
  ASSERT_LE(images.size(), whole.size() + 1);  // without the tag Thumbnails a thumbnail is an image
  for (const GatanMemoryImage& image : images) {
    if (!image.array || !image.info.fault.empty()) continue;
    std::vector<float> values(static_cast<size_t>(element_count(image.info.shape, 1)));
    convert_array(content.data() + image.offset, *image.array, dense_strides(image.info.shape),
                  values.data());
    EXPECT_TRUE(std::any_of(whole.begin(), whole.end(), [&](const GatanMemoryImage& other) {
      return other.offset == image.offset && other.info.shape == image.info.shape &&
             other.info.title == image.info.title;
    }));
  }
}

void cut_everywhere(const std::string& bytes, size_t steps) {
  const auto list = [](std::span<const std::byte> content) { return list_gatan_images(content, "cut"); };
  const std::vector<GatanMemoryImage> whole = list(std::as_bytes(std::span(bytes)));
  size_t errors = 0;
  for (size_t i = 0; i < steps; ++i) {
    // Memory that ends where the file ends, so that the sanitizers see a step too far.
    const std::vector<char> part(bytes.begin(),
                                 bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() * i / steps));
    const auto content = std::as_bytes(std::span(part));
    const std::string message = user_error([&] { expect_part_of(list(content), whole, content); });
    if (message.empty()) continue;
    ++errors;
    EXPECT_NE(message.find("cut off: "), std::string::npos) << message;
  }
  EXPECT_GE(errors, steps * 3 / 4);
}

TEST_F(GatanTest, FilesCutAnywhere) {
  for (const GatanFile& f : variants) {
    std::vector<std::string> root = gatan_junk(f, 1);
    root.push_back(f.group("ImageList", {thumbnail(f), cube_tag(f, 2, 6, numbers<float>(60))}));
    root.push_back(f.group("Thumbnails", {f.group("", {f.u32("ImageIndex", 0)})}));
    cut_everywhere(f.file(root), 640);
    cut_everywhere(data_last(f), 640);
  }
  for (const char* name : {"test-1.dm3", "test-1.dm4", "test-2.dm3", "test-2.dm4", "EELS_SI.dm4"}) {
    if (shared_data(name).empty()) GTEST_SKIP() << "shared/data is missing";
    cut_everywhere(read_bytes(shared_data(name)), 64);
  }
}

TEST_F(GatanTest, SurvivesChangedBytes) {
  std::mt19937 random(20240501);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  int listed = 0, refused = 0;
  for (const GatanFile& f : variants) {
    std::vector<std::string> root = gatan_junk(f, 1);
    root.push_back(f.group("ImageList", {cube_tag(f, 2, 6, numbers<float>(60)), thumbnail(f)}));
    root.push_back(f.group("Thumbnails", {f.group("", {f.u32("ImageIndex", 1)})}));
    const std::string original = f.file(root);
    for (int i = 0; i < 1500; ++i) {
      std::vector<char> bytes(original.begin(), original.end());
      for (size_t k = 1 + below(4); k > 0; --k)
        bytes[below(bytes.size())] = static_cast<char>(std::array{0, 1, 127, 255, int(below(256))}[below(5)]);
      const auto content = std::as_bytes(std::span(bytes));
      const std::string message = user_error([&] {
        for (const GatanMemoryImage& image : list_gatan_images(content, "f")) {
          if (!image.array || !image.info.fault.empty()) continue;
          const size_t element = element_size(image.array->type);
          const int64_t elements = element_count(image.info.shape, element);
          ASSERT_GE(elements, 0);
          ASSERT_LE(image.offset, bytes.size());
          ASSERT_LE(static_cast<uint64_t>(elements) * element, bytes.size() - image.offset);
        }
      });
      ++(message.empty() ? listed : refused);
    }
  }
  EXPECT_GT(listed, 1000);
  EXPECT_GT(refused, 1000);
}

TEST_F(GatanTest, BeyondFourGigabytes) {
  const GatanFile f;
  const uint64_t hole = (uint64_t{1} << 32) + (uint64_t{1} << 28);
  // The hole is an array of bytes whose data are never written.
  std::string start = f.file({f.value("A", {20, 10, hole}, "")});
  start.erase(start.size() - 8);
  start[16 + 9] = 2;  // tags of the root
  const std::string rest = f.group("ImageList", {cube_tag(f, 2, 6, numbers<float>(60))});
  const std::string file = path("large.dm4");
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_GE(descriptor, 0);
  const auto end = static_cast<off_t>(start.size() + hole);
  const bool written = ftruncate(descriptor, end + static_cast<off_t>(rest.size())) == 0 &&
                       pwrite(descriptor, start.data(), start.size(), 0) == ssize_t(start.size()) &&
                       pwrite(descriptor, rest.data(), rest.size(), end) == ssize_t(rest.size());
  close(descriptor);
  if (!written) GTEST_SKIP() << "this file system holds no sparse file of 4.6 GB";
  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.spectrum(0)[1], numbers<float>(60)[12]);
  EXPECT_EQ(image.title, "cube \xc2\xb5");
}

TEST_F(GatanTest, Dm5IsTheSameTreeInHdf5) {
  const std::string file = fixture("gatan/spectrum_image.dm5");
  EXPECT_EQ(image_format_name(file), "Gatan DigitalMicrograph HDF5");
  const std::vector<ImageInfo> infos = list_images(file);
  ASSERT_EQ(infos.size(), 4u);  // without the thumbnail
  EXPECT_EQ(infos[0].kind, "spectrum image");
  EXPECT_EQ(infos[0].dtype, "uint16");
  EXPECT_EQ(infos[1].kind, "image");
  EXPECT_EQ(infos[2].kind, "single spectrum");
  EXPECT_EQ(infos[2].shape, (Shape{4}));
  EXPECT_EQ(infos[3].dtype, "RGBA");
  const SpectrumImage image = read_spectrum_image(file);
  EXPECT_EQ(image.title, "cube \xc2\xb5");
  EXPECT_EQ(image.y, (Axis{"y", "nm", -1000, 500, 2}));
  EXPECT_EQ(image.x, (Axis{"x", "nm", 0, 250, 3}));
  EXPECT_EQ(image.energy, (Axis{"Energy loss", "eV", 420, 0.5, 4}));
  for (size_t y = 0; y < 2; ++y)
    for (size_t x = 0; x < 3; ++x)
      for (size_t e = 0; e < 4; ++e)
        EXPECT_EQ(image.counts[(y * 3 + x) * 4 + e], static_cast<float>(100 * y + 10 * x + e));
  const json metadata = json::parse(image.metadata);
  const json& tem = metadata["metadata"]["Acquisition_instrument"]["TEM"];
  EXPECT_EQ(tem["beam_energy"], 300);
  EXPECT_EQ(tem["microscope"], "Titan \xc2\xb5");
  EXPECT_EQ(metadata["original_metadata"]["ImageList"]["TagGroup0"]["ImageTags"]["list"]["Data1"], 2);
}

// Spectra that a wrong place or a changed bit would show.
SpectrumImage example() {
  SpectrumImage image;
  image.title = "Film / substrate \xc2\xb5 \xf0\x9f\x94\xac";
  image.y = {"y", "nm", -3.5, 0.92, 7};
  image.x = {"x", "nm", 12.1, 0.3, 5};
  image.energy = {"Energy loss", "eV", 420, 0.3, 130};
  image.counts.resize(7 * 5 * 130);
  for (size_t i = 0; i < image.counts.size(); ++i)
    image.counts[i] = static_cast<float>(std::sin(0.1 * double(i)) * 1e3);
  image.metadata =
      R"({"metadata": {"Acquisition_instrument": {"TEM": {"beam_energy": 300.0, "microscope": "Nion \u00b5",
    "acquisition_mode": "STEM", "magnification": 225000.0, "camera_length": 550.0, "convergence_angle": 21.5,
    "Stage": {"tilt_alpha": 1.5, "x": 0.25},
    "Detector": {"EELS": {"collection_angle": 62.0, "dwell_time": 0.02, "frame_number": 3.0}}}}}})";
  return image;
}

TEST_F(GatanTest, ReadsBackWhatItWrites) {
  const SpectrumImage image = example();
  write_dm4(path("a.dm4"), image);
  const SpectrumImage back = read_spectrum_image(path("a.dm4"));
  EXPECT_EQ(back.title, image.title);
  EXPECT_EQ(back.y, image.y);
  EXPECT_EQ(back.x, image.x);
  EXPECT_EQ(back.energy, image.energy);
  EXPECT_EQ(back.counts, image.counts);
  EXPECT_EQ(list_images(path("a.dm4")).at(0).signal, "EELS");
  EXPECT_EQ(files_in_folder(), 1u);
  const json before = json::parse(image.metadata), after = json::parse(back.metadata);
  EXPECT_EQ(after["metadata"]["Acquisition_instrument"], before["metadata"]["Acquisition_instrument"]);

  // What came from a Gatan file keeps its tags.
  SpectrumImage again = back;
  json metadata = after;
  metadata["original_metadata"]["ImageList"]["TagGroup0"]["ImageTags"]["more"] =
      json::parse(R"({"TagGroup0": {"a": -1}, "TagGroup1": {"a": true}, "Data0": 0.1, "Data1": 3000000000,
                      "list": [1, 2], "numbers": [0.5, 2], "text": "\u00b5", "large": 18446744073709551615})");
  again.metadata = metadata.dump();
  write_dm4(path("a.dm4"), again);
  const json tags = json::parse(read_spectrum_image(path("a.dm4")).metadata);
  EXPECT_EQ(tags["original_metadata"]["ImageList"]["TagGroup0"]["ImageTags"],
            metadata["original_metadata"]["ImageList"]["TagGroup0"]["ImageTags"]);
}

TEST_F(GatanTest, WritesInBlocks) {
  SpectrumImage image;
  image.y.size = 700;
  image.x.size = 601;
  image.energy.size = 47;  // more than fit into a block of energy planes
  image.counts.resize(size_t{700} * 601 * 47);
  for (size_t i = 0; i < image.counts.size(); ++i)
    image.counts[i] = static_cast<float>(i * 2654435761u % 100003);
  write_dm4(path("a.dm4"), image);
  EXPECT_TRUE(read_spectrum_image(path("a.dm4")).counts == image.counts);
}

TEST_F(GatanTest, AFullDiskLeavesNothingBehind) {
  write_bytes(path("a.dm4"), "before");
  const FullDisk full(10000);
  EXPECT_EQ(user_error([&] { write_dm4(path("a.dm4"), example()); }),
            "cannot write " + path("a.dm4") + ": File too large");
  EXPECT_EQ(read_bytes(path("a.dm4")), "before");
  EXPECT_EQ(files_in_folder(), 1u);
}

double checksum(std::span<const float> values) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += double(values[i]) * double(i % 1009);
  return sum;
}

TEST_F(GatanTest, HyperSpyOpensWhatItWrites) {
  SpectrumImage image = example();
  image.title = "Film / substrate \xc2\xb5";  // HyperSpy takes UTF-16 for UCS-2
  write_dm4(path("a.dm4"), image);
  const ProgramResult result = run_python("check_gatan.py", {path("a.dm4")});
  if (result.status == 77) GTEST_SKIP() << "HyperSpy is not installed";
  ASSERT_EQ(result.status, 0) << result.err;
  const json signals = json::parse(result.out);
  ASSERT_EQ(signals.size(), 1u);
  const json& signal = signals[0];
  EXPECT_EQ(signal["class"], "EELSSpectrum");
  EXPECT_EQ(signal["title"], image.title);
  EXPECT_EQ(signal["signal_type"], "EELS");
  EXPECT_EQ(signal["dtype"], "float32");
  EXPECT_EQ(signal["shape"], (json{7, 5, 130}));
  const Axis* axes[] = {&image.y, &image.x, &image.energy};
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(signal["axes"][i], (json{{"name", axes[i]->name},
                                       {"units", axes[i]->units},
                                       {"offset", axes[i]->offset},
                                       {"scale", axes[i]->scale},
                                       {"size", axes[i]->size},
                                       {"navigate", i < 2}}));
  EXPECT_EQ(signal["checksum"], checksum(image.counts));
  const json& tem = signal["metadata"]["Acquisition_instrument"]["TEM"];
  EXPECT_EQ(tem["beam_energy"], 300);
  EXPECT_EQ(tem["Detector"]["EELS"]["collection_angle"], 62);
  EXPECT_EQ(tem["convergence_angle"], 21.5);
}

}  // namespace
}  // namespace eelsvae
