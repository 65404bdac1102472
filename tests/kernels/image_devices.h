#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace eelsvae {

inline std::vector<std::string> image_devices() {
  std::vector<std::string> devices;
  for (const BackendFactory* factory : backend_factories()) devices.push_back(factory->kind);
  return devices;
}

// A test on each device of this build: images are worked on in f32, whatever the precision.
class ImageDeviceTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    try {
      backend_ = make_backend(GetParam(), "auto");
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
  }
  Backend& backend() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

#define EELSVAE_FOR_EACH_IMAGE_DEVICE(suite)                                   \
  INSTANTIATE_TEST_SUITE_P(Devices, suite, testing::ValuesIn(image_devices()), \
                           [](const auto& device) { return device.param; })

}  // namespace eelsvae
