#include "engine/image/finite.h"

#include <limits>

#include <gtest/gtest.h>

namespace eelsvae {
namespace {

TEST(NotFinite, CountsPixelsAndNamesTheFirst) {
  SpectrumImage image;
  image.y.size = 3, image.x.size = 4, image.energy.size = 50;
  image.counts.assign(600, 1.0f);
  EXPECT_EQ(not_finite_text(image), "");
  image.spectrum(7)[49] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(not_finite_text(image),
            "1 pixel holds counts that are not finite (NaN or infinite), the first at (y, x, channel) = (1, "
            "3, 49)");
  image.spectrum(2)[11] = image.spectrum(2)[30] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(not_finite_text(image),
            "2 pixels hold counts that are not finite (NaN or infinite), the first at (y, x, channel) = (0, "
            "2, 11)");
  image.excluded.assign(12, 0);
  image.excluded[2] = image.excluded[7] = 1;
  EXPECT_EQ(not_finite_text(image), "");
}

}  // namespace
}  // namespace eelsvae
