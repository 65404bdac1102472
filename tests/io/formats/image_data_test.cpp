#include "io/formats/image_data.h"

#include <limits>

#include "io/files/npy.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class ImageDataTest : public FileTest {
 protected:
  // image.npy: (y, x, E) = (3, 4, 2), one count chosen.
  void write_image(float count = 1, size_t pixel = 0) const {
    std::vector<float> counts(24);
    for (size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<float>(i);
    counts[2 * pixel + 1] = count;
    write_npy(path("image.npy"), {3, 4, 2}, counts.data());
  }
  std::string write_mask(const std::vector<int64_t>& shape, const std::vector<uint8_t>& mask) const {
    write_npy(path("mask.npy"), shape, mask.data());
    return path("mask.npy");
  }
  SpectrumImage read(const DataConfig& data) const {
    Config config;
    config.data = data;
    return open_image_data(path("image.npy"), config).image;
  }
  std::string mistake(const DataConfig& data) const {
    return user_error([&] { read(data); });
  }
};

TEST_F(ImageDataTest, WithoutExclusionsThereIsNoMask) {
  write_image();
  const SpectrumImage image = read({});
  EXPECT_TRUE(image.excluded.empty());
  EXPECT_EQ(image.y.size, 3);
  EXPECT_EQ(image.x.size, 4);
}

TEST_F(ImageDataTest, MaskRectanglesAndWhatTheImageBringsAddUp) {
  write_image();
  DataConfig data;
  data.exclude_path = write_mask({3, 4}, {1, 0, 0, 0,  //
                                          0, 0, 0, 0,  //
                                          0, 0, 0, 0});
  data.exclude = {{0, 3, 2, 4}, {1, 2, 2, 4}};
  SpectrumImage image = read(data);
  EXPECT_EQ(image.excluded, (std::vector<uint8_t>{1, 0, 0, 1,  //
                                                  0, 0, 1, 1,  //
                                                  0, 0, 0, 0}));
  data = {};
  data.exclude = {{2, 0, 3, 2}};
  exclude_pixels(image, data);
  EXPECT_EQ(image.excluded, (std::vector<uint8_t>{1, 0, 0, 1,  //
                                                  0, 0, 1, 1,  //
                                                  1, 1, 0, 0}));
}

TEST_F(ImageDataTest, ExclusionsMeanTheImageAfterItsAxesAreSwapped) {
  write_image();
  DataConfig data;
  data.swap_axes = true;
  data.exclude = {{3, 0, 4, 2}};
  data.exclude_path = write_mask({4, 3}, std::vector<uint8_t>(12));
  const SpectrumImage image = read(data);
  EXPECT_EQ(image.y.size, 4);
  EXPECT_EQ(image.excluded, (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0}));
}

TEST_F(ImageDataTest, NamesTheMistake) {
  write_image();
  DataConfig data;
  data.exclude = {{0, 0, 1, 1}, {2, 1, 4, 2}};
  EXPECT_EQ(
      mistake(data),
      "data.exclude: the rectangle [2, 1, 4, 2] reaches beyond the image, which has (y, x) = (3, 4) pixels");
  data.exclude = {{0, 1, 2, std::numeric_limits<int64_t>::max()}};
  EXPECT_NE(mistake(data).find("reaches beyond"), std::string::npos);
  data.exclude = {{0, 0, 3, 4}};
  EXPECT_EQ(mistake(data), "data.exclude_path and data.exclude leave none of the image's 12 pixels");
  data.exclude = {{1, 0, 3, 4}};
  data.exclude_path = write_mask({3, 4}, {1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_NE(mistake(data).find("leave none of the image's 12 pixels"), std::string::npos);
  data.exclude = {};
  data.exclude_path = write_mask({4, 3}, std::vector<uint8_t>(12));
  EXPECT_EQ(mistake(data), path("mask.npy") + ": the mask has shape (4, 3), the image has (y, x) = (3, 4)");
  data.exclude_path = path("image.npy");
  EXPECT_NE(mistake(data).find("booleans or integers"), std::string::npos);
  data.exclude_path = path("missing.npy");
  EXPECT_NE(mistake(data).find("missing.npy"), std::string::npos);
}

}  // namespace
}  // namespace eelsvae
