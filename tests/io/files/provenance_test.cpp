#include "io/files/provenance.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace eelsvae {
namespace {

TEST(Provenance, WhatJsonLeavesOutIsEmpty) {
  EXPECT_EQ(provenance_from(nlohmann::json::object()), Provenance{});
  const Provenance all = {{{"eelsvae", "0.1.0"}}, {{"scan.dm4", 5, "ab"}}, {"fp32"}};
  EXPECT_EQ(provenance_from(to_json(all)), all);
}

}  // namespace
}  // namespace eelsvae
