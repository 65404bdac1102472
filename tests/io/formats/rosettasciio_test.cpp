// Real files, against what RosettaSciIO reads from them: tests/fixtures/rosettasciio/expected.json.

#include <zlib.h>

#include <nlohmann/json.hpp>

#include "engine/image/units.h"
#include "io/files/message_text.h"
#include "io/files/npy.h"
#include "io/formats/image_format.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

json expected_files() {
  return json::parse(read_bytes(fixture("rosettasciio/expected.json")))["files"];
}

std::vector<std::string> file_names() {
  std::vector<std::string> names;
  const json files = expected_files();
  for (const auto& [name, entry] : files.items()) names.push_back(name);
  return names;
}

// Of the numbers in C order, or, where RosettaSciIO has them as a stack of images, with the last axis first.
std::optional<uint32_t> crc_of(const StoredImage& image, bool stack = false) {
  if (!image.values) return std::nullopt;
  std::vector<int64_t> shape = image.info.shape;
  if (stack) std::rotate(shape.begin(), shape.end() - 1, shape.end());
  std::vector<int64_t> strides = dense_strides(shape);
  if (stack) std::rotate(strides.begin(), strides.begin() + 1, strides.end());
  std::vector<float> values(static_cast<size_t>(element_count(shape, sizeof(float))));
  image.values->read(whole_of(image.info.shape), strides, values.data());
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(values.data()), values.size() * sizeof(float)));
}

// Units are converted to eV and nm on both sides; an axis without units keeps its numbers.
bool same_axis(const Axis& found, const json& stated) {
  Axis expected{"", stated["units"], stated["offset"], stated["scale"], stated["size"]};
  convert_units(expected);
  const double tolerance = 1e-9 * std::abs(expected.scale);
  return found.size == expected.size && found.units == expected.units &&
         std::abs(found.scale - expected.scale) <= tolerance &&
         std::abs(found.offset - expected.offset) <= std::max(tolerance, 1e-12 * std::abs(expected.offset));
}

// Cubes of Gatan files without a tag or a unit that tells where the energy is are stacks of images for
// RosettaSciIO; here they are spectrum images with the energy where Gatan has it.
bool is_untold_stack(const json& expected) {
  return expected["shape"].size() == 3 && expected["navigation_axes"] == 1 &&
         expected["axes"][0]["units"] == "";
}

// Besides spectrum images of EELS, files hold what is of no use here and is listed only.
bool signal_is_optional(const json& expected) {
  return expected["signal"] != "EELS";
}

bool same_image(const StoredImage& image, json expected) {
  const ImageInfo& info = image.info;
  if (info.signal != expected["signal"] || info.dtype != expected["dtype"]) return false;
  const bool stack = is_untold_stack(expected);
  if (stack) {
    for (const char* key : {"shape", "axes"})
      std::rotate(expected[key].begin(), expected[key].begin() + 1, expected[key].end());
    expected["navigation_axes"] = 2;
  }
  if (json(info.shape) != expected["shape"] || info.axes.size() != expected["axes"].size()) return false;
  const size_t navigation = expected["navigation_axes"];
  if (info.kind != image_kind(navigation, info.shape.size() - navigation)) return false;
  for (size_t i = 0; i < info.axes.size(); ++i) {
    if (!same_axis(info.axes[i], expected["axes"][i])) return false;
  }
  return !expected.contains("crc32") || crc_of(image, stack) == expected["crc32"].get<uint32_t>();
}

// For messages.
std::string text_of(const std::vector<StoredImage>& images) {
  std::string text;
  for (const StoredImage& image : images) {
    text += "\n  " + image.info.title + ": " + image.info.signal + " " + image.info.kind + " " +
            shape_text(image.info.shape) + " " + image.info.dtype;
    for (const Axis& axis : image.info.axes)
      text +=
          " [" + std::to_string(axis.offset) + " + i " + std::to_string(axis.scale) + " " + axis.units + "]";
    text += " crc32 " + std::to_string(crc_of(image).value_or(0));
  }
  return text;
}

class RosettaSciIOTest : public FileTest, public testing::WithParamInterface<std::string> {
 protected:
  // The file itself, or the member of an archive, unpacked; "" if it is not there.
  std::string file() {
    const std::string name = GetParam();
    const size_t slash = name.find('/');
    const std::string shared = shared_data(name.substr(0, slash));
    if (shared.empty() || slash == std::string::npos) return shared;
    const ProgramResult unpacked = run({"/usr/bin/python3", "-m", "zipfile", "-e", shared, path("")});
    return unpacked.status == 0 ? path(name.substr(slash + 1)) : "";
  }
};

TEST_P(RosettaSciIOTest, ReadsTheSame) {
  const std::string name = file();
  if (name.empty()) GTEST_SKIP() << "shared/data or Python is missing";
  const std::vector<StoredImage> images = open_images(name);
  const json expected = expected_files()[GetParam()];
  if (expected.contains("arrays")) {
    ASSERT_EQ(images.size(), 1u) << text_of(images);  // the energies are its axis
    const json& array = expected["arrays"]["X"];
    EXPECT_EQ(json(images[0].info.shape), array["shape"]);
    EXPECT_EQ(images[0].info.dtype, array["dtype"]);
    EXPECT_EQ(crc_of(images[0]), array["crc32"].get<uint32_t>());
    return;
  }
  for (const json& signal : expected["signals"]) {
    const bool found = std::any_of(images.begin(), images.end(),
                                   [&](const StoredImage& image) { return same_image(image, signal); });
    EXPECT_TRUE(found || (signal_is_optional(signal) && expected["signals"].size() > 1))
        << signal.dump() << "\nfound" << text_of(images);
  }
  for (const StoredImage& image : images) {
    if (!image.values) continue;  // listed only, and some, such as Velox's event streams, not by RosettaSciIO
    EXPECT_TRUE(std::any_of(expected["signals"].begin(), expected["signals"].end(),
                            [&](const json& signal) { return same_image(image, signal); }))
        << "not in the table:" << text_of({image});
  }
}

INSTANTIATE_TEST_SUITE_P(SharedData, RosettaSciIOTest, testing::ValuesIn(file_names()),
                         [](const testing::TestParamInfo<std::string>& test) {
                           std::string name = test.param;
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace eelsvae
