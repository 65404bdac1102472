#include "io/files/provenance.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class ProvenanceTest : public FileTest {};

// The digests that FIPS 180-4 gives for these messages.
TEST_F(ProvenanceTest, InputsAreKnownByTheirBytes) {
  std::ofstream(path("empty"), std::ios::binary);
  std::ofstream(path("abc"), std::ios::binary) << "abc";
  std::ofstream(path("million"), std::ios::binary) << std::string(1'000'000, 'a');
  const std::vector<InputFile> inputs = record_inputs({path("empty"), path("abc"), path("million")});
  ASSERT_EQ(inputs.size(), 3u);
  EXPECT_EQ(inputs[0].sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(inputs[1].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(inputs[2].sha256, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(inputs[2].bytes, 1'000'000u);
  EXPECT_EQ(inputs[1].path, path("abc"));
  EXPECT_THROW(record_inputs({path("missing")}), std::runtime_error);
}

TEST_F(ProvenanceTest, WhatJsonLeavesOutIsEmpty) {
  EXPECT_EQ(provenance_from(nlohmann::json::object()), Provenance{});
  const Provenance all = {{{"eelsvae", "0.1.0"}}, {{"scan.dm4", 5, "ab"}}, {"fp32"}};
  EXPECT_EQ(provenance_from(to_json(all)), all);
}

}  // namespace
}  // namespace eelsvae
