#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "kernels/backend.h"

namespace eelsvae {
namespace {

std::string error_of(const std::string& device, const std::string& precision) {
  try {
    make_backend(device, precision);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(MakeBackend, NamesTheChoicesWhenADeviceIsUnknown) {
  std::string error = error_of("abacus", "auto");
  EXPECT_NE(error.find("abacus"), std::string::npos) << error;
  EXPECT_NE(error.find("reference"), std::string::npos) << error;
}

TEST(MakeBackend, ChecksTheDeviceNumber) {
  for (const char* device :
       {"reference:", "reference:x", "reference:-1", "reference:1", "reference:0x", "reference:99999999999"})
    EXPECT_FALSE(error_of(device, "auto").empty()) << device;
  EXPECT_EQ(make_backend("reference:0", "auto")->device(), "reference");
  for (const BackendFactory* factory : backend_factories())
    EXPECT_TRUE(factory->probe(1000)) << factory->kind << ": nobody has so many";
}

TEST(MakeBackend, EachBackendChecksThePrecision) {
  for (const BackendFactory* factory : backend_factories()) {
    if (factory->probe(0)) continue;
    std::string error = error_of(factory->kind, "fp17");
    EXPECT_NE(error.find("fp17"), std::string::npos) << factory->kind << ": " << error;
  }
  EXPECT_FALSE(error_of("reference", "fp32").empty());
  EXPECT_EQ(make_backend("reference", "fp64")->precision(), "fp64");
}

TEST(MakeBackend, AutoNeverTakesTheReference) {
  auto is_automatic = [](const BackendFactory* factory) { return factory->automatic; };
  const auto& factories = backend_factories();
  if (std::none_of(factories.begin(), factories.end(), is_automatic)) {
    EXPECT_FALSE(error_of("auto", "auto").empty());
    return;
  }
  EXPECT_NE(make_backend("auto", "auto")->device(), "reference");
}

}  // namespace
}  // namespace eelsvae
