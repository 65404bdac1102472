// What the command line says of a detector.

#include "io/serve/serve_job.h"

#include <gtest/gtest.h>

#include "kernels/error.h"

namespace eelsvae {
namespace {

TEST(ParseRegion, RowsAndColumns) {
  DetectorRegion region = parse_region("");
  EXPECT_EQ(region.first_row, 0);
  EXPECT_FALSE(region.last_row);
  region = parse_region("100:150");
  EXPECT_EQ(region.first_row, 100);
  EXPECT_EQ(region.last_row, 150);
  EXPECT_EQ(region.first_column, 0);
  EXPECT_FALSE(region.last_column);
  region = parse_region(":150,12:");
  EXPECT_EQ(region.first_row, 0);
  EXPECT_EQ(region.last_row, 150);
  EXPECT_EQ(region.first_column, 12);
  EXPECT_FALSE(region.last_column);
  for (const char* wrong : {"100", "100-150", "150:100", "5:5", "-1:5", "1:2,3", "1:2,3:4,5:6", ",1:2",
                            "1:2,", "1: 2", "0x1:5", "99999999999999999999:"})
    EXPECT_THROW(parse_region(wrong), UserError) << wrong;
}

TEST(ParseScanShape, HeightAndWidth) {
  EXPECT_EQ(parse_scan_shape("210,180"), (std::array<int64_t, 2>{210, 180}));
  for (const char* wrong : {"", "210", "210,", ",210", "210x180", "210,180,3", "210, 180", "-1,5"})
    EXPECT_THROW(parse_scan_shape(wrong), UserError) << wrong;
}

TEST(RunServe, TakesNoMaskOfAnImageForEveryScan) {
  ServeRequest request;
  request.baseline = "mean";
  request.listen = "nowhere";  // nothing is listened at
  request.settings = {"data.exclude_path=mask.npy"};
  try {
    run_serve(request);
    ADD_FAILURE() << "served";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("data.exclude_path"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace eelsvae
