#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "io/formats/spectrum_image_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class TruncationTest : public FileTest {};

bool same_image(const ImageInfo& a, const ImageInfo& b) {
  return a.title == b.title && a.kind == b.kind && a.shape == b.shape && a.dtype == b.dtype &&
         a.axes == b.axes;
}

// Every measured file that can be opened, cut at every 64th of its length: what is listed must be there in
// the whole file too, what is read must be right, anything else a UserError, and no hang.
TEST_F(TruncationTest, MeasuredFiles) {
  const std::string folder = shared_data("");
  if (folder.empty()) GTEST_SKIP() << "shared/data is not there";
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string whole_path = entry.path().string();
    std::vector<ImageInfo> whole_list;
    SpectrumImage whole_image;
    if (!user_error([&] { whole_list = list_images(whole_path); }).empty()) continue;
    user_error([&] { whole_image = read_spectrum_image(whole_path); });
    const std::string bytes = read_bytes(whole_path);
    const std::string part = path("part" + entry.path().extension().string());
    for (size_t i = 0; i < 64; ++i) {
      SCOPED_TRACE(whole_path + " cut at " + std::to_string(i) + "/64");
      write_bytes(part, bytes.substr(0, bytes.size() * i / 64));
      const auto start = std::chrono::steady_clock::now();
      const std::string listing_error = user_error([&] {
        const std::vector<ImageInfo> list = list_images(part);
        ASSERT_LE(list.size(), whole_list.size());
        for (const ImageInfo& image : list) {
          const auto same = [&](ImageInfo other) {
            // The title can be the file's own name.
            if (other.title == entry.path().stem()) other.title = "part";
            return same_image(image, other);
          };
          EXPECT_TRUE(std::any_of(whole_list.begin(), whole_list.end(), same)) << image.title;
        }
      });
      const std::string reading_error = user_error([&] {
        const SpectrumImage image = read_spectrum_image(part);
        EXPECT_EQ(image.energy, whole_image.energy);
        EXPECT_TRUE(image.counts == whole_image.counts) << "other numbers";
      });
      EXPECT_TRUE(listing_error.empty() || !reading_error.empty());
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 10);  // milliseconds, but machines can be busy
    }
    ++files;
  }
  EXPECT_GE(files, 3);
}

}  // namespace
}  // namespace eelsvae
