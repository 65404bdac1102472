#include "io/formats/input_digest.h"

#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class InputDigestTest : public FileTest {};

// The digests that FIPS 180-4 gives for these messages.
TEST_F(InputDigestTest, InputsAreKnownByTheirBytes) {
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

}  // namespace
}  // namespace eelsvae
