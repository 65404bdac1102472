#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace eelsvae {

// The backends of this build that may have image operations.
inline std::vector<std::string> image_devices() {
  std::vector<std::string> devices;
  for (const BackendFactory* factory : backend_factories())
    if (const std::string kind = factory->kind; kind != "cpu" && kind != "reference") devices.push_back(kind);
  return devices;
}

// A test on each of them.
class ImageDeviceTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    try {
      backend_ = make_backend(GetParam(), "fp32");
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
    ASSERT_NE(backend_->image_operations(), nullptr);
  }
  Backend& backend() { return *backend_; }
  ImageOperations& operations() { return *backend_->image_operations(); }

 private:
  std::unique_ptr<Backend> backend_;
};

// A build may have none of them.
#define EELSVAE_FOR_EACH_IMAGE_DEVICE(suite)                                   \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(suite);                        \
  INSTANTIATE_TEST_SUITE_P(Devices, suite, testing::ValuesIn(image_devices()), \
                           [](const auto& device) { return device.param; })

}  // namespace eelsvae
