#include "io/reports/png.h"

#include <filesystem>
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <png.h>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// What libpng's reader makes of a PNG file's bytes.
Image decoded(const std::string& bytes, int64_t channels) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  EXPECT_TRUE(png_image_begin_read_from_memory(&header, bytes.data(), bytes.size())) << header.message;
  header.format = channels == 4 ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
  Image image(header.width, header.height, {0, 0, 0});
  image.channels = channels;
  image.samples.resize(PNG_IMAGE_SIZE(header));
  EXPECT_TRUE(png_image_finish_read(&header, nullptr, image.samples.data(), 0, nullptr)) << header.message;
  return image;
}

Image noise(int64_t width, int64_t height, int64_t channels) {
  Image image(width, height, {0, 0, 0});
  image.channels = channels;
  image.samples.resize(static_cast<size_t>(width * height * channels));
  std::mt19937 random(7);
  for (uint8_t& sample : image.samples) sample = static_cast<uint8_t>(random());
  return image;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class PngTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }
  const std::string folder = ::testing::TempDir() + "eelsvae_png_test";
};

TEST_F(PngTest, SamplesSurvive) {
  for (int64_t channels : {3, 4}) {
    for (auto [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {37, 5}, {5, 37}, {300, 200}}) {
      const Image image = noise(width, height, channels);
      const Image back = decoded(encode_png(image), channels);
      EXPECT_EQ(back.width, width);
      EXPECT_EQ(back.height, height);
      EXPECT_EQ(back.samples, image.samples) << width << " x " << height << " x " << channels;
    }
  }
}

TEST_F(PngTest, FileHoldsTheBytesAndReplacesAnOlderOne) {
  const std::string path = folder + "/map.png";
  write_png(path, noise(40, 30, 3));
  const Image image = noise(4, 3, 4);
  write_png(path, image);
  EXPECT_EQ(contents(path), encode_png(image));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1)
      << "something was left beside it";
}

TEST_F(PngTest, ErrorNamesThePathAndLeavesNothing) {
  const std::string path = folder + "/missing/map.png";
  try {
    write_png(path, noise(4, 3, 3));
    FAIL() << "written into a folder that does not exist";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()), "cannot write " + path + ": No such file or directory");
  }
  // The bytes can be written beside it, but a folder does not give up its name.
  std::filesystem::create_directories(folder + "/taken/inside");
  EXPECT_THROW(write_png(folder + "/taken", noise(4, 3, 3)), UserError);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST_F(PngTest, SamplesThatDoNotMatchTheSizeAreRefused) {
  Image image = noise(4, 3, 3);
  image.samples.pop_back();
  EXPECT_THROW(encode_png(image), std::logic_error);
}

TEST_F(PngTest, FillStaysInsideOfTheImage) {
  Image image(4, 3, {0, 0, 0});
  image.fill(-2, -2, 4, 4, {255, 0, 0});
  image.fill(3, 2, 10, 10, {0, 255, 0});
  EXPECT_EQ(image.at(1, 1), (Colour{255, 0, 0}));
  EXPECT_EQ(image.at(2, 1), (Colour{0, 0, 0}));
  EXPECT_EQ(image.at(3, 2), (Colour{0, 255, 0}));
  EXPECT_EQ(image.samples.size(), 36u);
}

}  // namespace
}  // namespace eelsvae
