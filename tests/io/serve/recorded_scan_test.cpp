// Spectra of a running scan on disk.

#include "io/serve/recorded_scan.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <numeric>

#include "io/files/npy.h"
#include "kernels/error.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

constexpr int64_t height = 5, width = 4, channels = 3;

class RecordedScanTest : public FileTest {
 protected:
  RecordedScanTest() { plan = {height, width, {"Energy loss", "eV", 400, 1, channels}, {}}; }

  // What tells a pixel's spectrum from others.
  static std::vector<float> spectra_of(int64_t first, int64_t count, float more = 0) {
    std::vector<float> spectra(static_cast<size_t>(count * channels));
    std::iota(spectra.begin(), spectra.end(), static_cast<float>(first * channels) + more);
    return spectra;
  }

  const std::string folder = path("");
  ScanPlan plan;
};

TEST_F(RecordedScanTest, GivesBackWhatCameInOrder) {
  for (const int64_t rows : {int64_t{0}, int64_t{2}, height}) {
    std::filesystem::remove(folder + "/scan.npy");
    RecordedScan scan(folder, plan, rows);
    scan.write(6, 5, spectra_of(6, 5, 1000));  // over the end of the first two rows, and then again
    scan.write(6, 5, spectra_of(6, 5));
    scan.write(19, 1, spectra_of(19, 1));
    scan.write(0, 1, spectra_of(0, 1));
    std::vector<int64_t> pixels;
    scan.replay(0, height * width, [&](int64_t first, int64_t count, std::span<const float> spectra) {
      EXPECT_EQ(std::vector<float>(spectra.begin(), spectra.end()), spectra_of(first, count));
      EXPECT_EQ(first / width, (first + count - 1) / width) << "more than a row";
      for (int64_t i = 0; i < count; ++i) pixels.push_back(first + i);
    });
    EXPECT_EQ(pixels, (std::vector<int64_t>{0, 6, 7, 8, 9, 10, 19})) << rows;
    pixels.clear();
    scan.replay(7, 9, [&](int64_t first, int64_t count, std::span<const float>) {
      for (int64_t i = 0; i < count; ++i) pixels.push_back(first + i);
    });
    EXPECT_EQ(pixels, (std::vector<int64_t>{7, 8}));
    EXPECT_EQ(std::filesystem::exists(scan.path()), rows > 0);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1) << "the rest stays nowhere";
}

TEST_F(RecordedScanTest, ItsFirstRowsAreAFileWithAMask) {
  plan.excluded.assign(height * width, 0);
  plan.excluded[1] = 1;
  RecordedScan scan(folder, plan, 2);
  scan.write(0, 6, spectra_of(0, 6));
  scan.write(12, 2, spectra_of(12, 2));
  const NpyArray first = read_npy(scan.path());
  EXPECT_EQ(first.shape, (std::vector<int64_t>{2, width, channels}));
  std::vector<float> expected = spectra_of(0, 6);
  expected.resize(2 * width * channels, 0);
  EXPECT_EQ(first.values, expected);
  scan.write_mask(folder + "/mask.npy");
  EXPECT_EQ(read_npy_mask(folder + "/mask.npy", 2, width), (std::vector<uint8_t>{0, 1, 0, 0, 0, 0, 1, 1}));
}

TEST_F(RecordedScanTest, SaysWhatCannotBeWritten) {
  EXPECT_THROW(RecordedScan(folder + "/nowhere", plan, 1), UserError);
  RecordedScan scan(folder, plan, 1);
  EXPECT_THROW(RecordedScan(folder, plan, 1), UserError) << "a file of another scan is there";
  // As a disk that is full: the system lets files become no longer.
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {sizeof(float) * channels, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string said;
  try {
    scan.write(2 * width, 2, spectra_of(2 * width, 2));
  } catch (const UserError& error) {
    said = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(said.find("cannot write"), std::string::npos) << said;
}

}  // namespace
}  // namespace eelsvae
