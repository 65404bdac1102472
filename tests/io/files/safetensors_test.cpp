#include "io/files/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class SafetensorsTest : public FileTest {
 protected:
  // A file with this header text and so many bytes of data.
  std::string write(const std::string& header, size_t data_bytes) {
    const uint64_t length = header.size();
    std::string content(sizeof length, '\0');
    std::memcpy(content.data(), &length, sizeof length);
    write_bytes(path("a.safetensors"), content + header + std::string(data_bytes, 'd'));
    return path("a.safetensors");
  }

  std::string message(const std::string& header, size_t data_bytes) {
    const std::string file = write(header, data_bytes), error = user_error([&] { SafetensorsFile{file}; });
    EXPECT_EQ(error.rfind(file + ": ", 0), 0u) << error;
    return error.substr(std::min(error.size(), file.size() + 2));
  }
};

// Hands over the values in blocks of `block` bytes.
template <class T>
SafetensorsEntry entry(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                       std::vector<T> values, size_t block = 3) {
  return {name, dtype, std::move(shape), [=](const ByteSink& sink) {
            const char* bytes = reinterpret_cast<const char*>(values.data());
            for (size_t at = 0, size = values.size() * sizeof(T); at < size; at += block)
              sink(bytes + at, std::min(block, size - at));
          }};
}

template <class T>
std::vector<T> values_of(const TensorView& tensor) {
  std::vector<T> values(tensor.bytes / sizeof(T));
  if (tensor.bytes) std::memcpy(values.data(), tensor.data, tensor.bytes);
  return values;
}

std::vector<SafetensorsEntry> example() {
  return {entry<float>("encoder.0.weight", "F32", {2, 1, 3}, {1, -2, 3.5f, 4, 5, 1e-40f}),
          entry<uint16_t>("shadow", "BF16", {3}, {0x3f80, 0xbf80, 0x7f7f}),
          entry<int64_t>("step", "I64", {}, {int64_t{1} << 40}),
          entry<double>("norm", "F64", {1, 2}, {0.1, -1e300}),
          entry<float>("empty", "F32", {0, 4}, {}),
          entry<float>("decoder.0.bias", "F32", {2}, {7, 8})};
}

TEST_F(SafetensorsTest, WritesWhatItReads) {
  const std::map<std::string, std::string> metadata = {{"config", "{\"a\": \"\xc2\xb5\\n\"}"},
                                                       {"energy", ""}};
  write_safetensors(path("a.safetensors"), example(), metadata);
  const SafetensorsFile file(path("a.safetensors"));
  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"step", "norm", "encoder.0.weight", "empty",
                                                    "decoder.0.bias", "shadow"}));
  EXPECT_EQ(file.tensor("encoder.0.weight").shape, (std::vector<int64_t>{2, 1, 3}));
  EXPECT_EQ(values_of<float>(file.tensor("encoder.0.weight")),
            (std::vector<float>{1, -2, 3.5f, 4, 5, 1e-40f}));
  EXPECT_EQ(values_of<uint16_t>(file.tensor("shadow")), (std::vector<uint16_t>{0x3f80, 0xbf80, 0x7f7f}));
  EXPECT_EQ(values_of<int64_t>(file.tensor("step")), std::vector<int64_t>{int64_t{1} << 40});
  EXPECT_EQ(values_of<double>(file.tensor("norm")), (std::vector<double>{0.1, -1e300}));
  EXPECT_EQ(file.tensor("step").shape, std::vector<int64_t>{});
  EXPECT_EQ(file.tensor("step").elements(), 1);
  EXPECT_EQ(file.tensor("empty").elements(), 0);
  for (const std::string& name : file.names())
    EXPECT_EQ(reinterpret_cast<uintptr_t>(file.tensor(name).data) % (name == "shadow" ? 2 : 4), 0u) << name;
  EXPECT_TRUE(file.contains("norm"));
  EXPECT_FALSE(file.contains("__metadata__"));
  EXPECT_EQ(user_error([&] { file.tensor("x"); }), path("a.safetensors") + ": holds no tensor \"x\"");
  EXPECT_TRUE(looks_like_safetensors(path("a.safetensors")));
  EXPECT_EQ(files_in_folder(), 1u);
}

TEST_F(SafetensorsTest, ReadsWhatLiesInMemory) {
  write_safetensors(path("a"), example(), {{"key", "value"}});
  const std::string bytes = read_bytes(path("a"));
  const auto content = std::as_bytes(std::span(bytes));
  const SafetensorsFile file(content, "the model");
  EXPECT_EQ(file.metadata().at("key"), "value");
  EXPECT_EQ(values_of<double>(file.tensor("norm")), (std::vector<double>{0.1, -1e300}));
  EXPECT_GE(file.tensor("norm").data, content.data());
  EXPECT_EQ(user_error([&] { file.tensor("x"); }), "the model: holds no tensor \"x\"");
  EXPECT_EQ(user_error([&] { SafetensorsFile(content.first(7), "the model"); }),
            "the model: not a safetensors file, or cut off in its first bytes");
}

TEST_F(SafetensorsTest, HeaderIsPaddedToEightBytes) {
  for (int length = 0; length < 9; ++length) {
    write_safetensors(path("a"),
                      {entry<float>(std::string(static_cast<size_t>(length), 'n'), "F32", {1}, {1})}, {});
    const std::string bytes = read_bytes(path("a"));
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    EXPECT_EQ(header % 8, 0u);
    EXPECT_EQ(bytes.size(), 8 + header + 4);
    EXPECT_EQ(bytes[8], '{');
  }
}

TEST_F(SafetensorsTest, AnEmptyFileOfTensors) {
  write_safetensors(path("a"), {}, {});
  EXPECT_TRUE(SafetensorsFile(path("a")).names().empty());
  EXPECT_TRUE(looks_like_safetensors(path("a")));
}

TEST_F(SafetensorsTest, AProducerMustKeepItsWord) {
  EXPECT_THROW(write_safetensors(path("a"), {entry<float>("x", "F32", {3}, {1, 2})}, {}), std::logic_error);
  EXPECT_THROW(write_safetensors(path("a"), {entry<float>("x", "F32", {1}, {1, 2})}, {}), std::logic_error);
  EXPECT_THROW(write_safetensors(path("a"), {entry<float>("x", "F31", {1}, {1})}, {}), std::logic_error);
  EXPECT_THROW(write_safetensors(
                   path("a"), {entry<float>("x", "F32", {1}, {1}), entry<float>("x", "F32", {1}, {1})}, {}),
               std::logic_error);
  EXPECT_EQ(files_in_folder(), 0u);
}

TEST_F(SafetensorsTest, AFullDiskLeavesNothingBehind) {
  const std::vector<SafetensorsEntry> entries = {
      entry<float>("x", "F32", {1 << 20}, std::vector<float>(1 << 20), 1 << 16)};
  const FullDisk full(3 << 20);
  EXPECT_EQ(user_error([&] { write_safetensors(path("a"), entries, {}); }),
            "cannot write " + path("a") + ": File too large");
  EXPECT_EQ(files_in_folder(), 0u);
}

TEST_F(SafetensorsTest, RefusesHostileHeaders) {
  const auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  ASSERT_EQ(user_error([&] { SafetensorsFile{write(tensor("F32", "[2]", "[0,8]"), 8)}; }), "");
  EXPECT_EQ(message(tensor("F32", "[2]", "[0,8]"), 7),
            "tensor \"t\" should lie at bytes 0 to 8, the file has 7 bytes of data");
  EXPECT_EQ(message(tensor("F32", "[2]", "[0,8]"), 9), "1 bytes after the last tensor");
  EXPECT_EQ(message(tensor("F32", "[1]", "[4,8]"), 8), "tensor \"t\" leaves a gap before it");
  EXPECT_EQ(message(tensor("F32", "[3]", "[0,8]"), 8), "tensor \"t\": F32 (3,) does not fit its 8 bytes");
  EXPECT_EQ(message(tensor("F32", "[4611686018427387904,4611686018427387904]", "[0,8]"), 8),
            "tensor \"t\": F32 (4611686018427387904, 4611686018427387904) does not fit its 8 bytes");
  EXPECT_EQ(message(tensor("F32", "[0]", "[8,0]"), 8),
            "tensor \"t\" should lie at bytes 8 to 0, the file has 8 bytes of data");
  EXPECT_EQ(message(tensor("Q4", "[2]", "[0,8]"), 8), "tensor \"t\" has the unknown dtype \"Q4\"");
  for (const char* shape : {"[-2]", "2", "[2.0]", "[\"2\"]", "[18446744073709551615]", "null"})
    EXPECT_EQ(message(tensor("F32", shape, "[0,8]"), 8),
              "tensor \"t\" must have a dtype, a shape and two data_offsets");
  for (const char* offsets : {"[0]", "[0,8,8]", "[-1,7]", "8"})
    EXPECT_EQ(message(tensor("F32", "[2]", offsets), 8),
              "tensor \"t\" must have a dtype, a shape and two data_offsets");
  EXPECT_EQ(
      message(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
          6),
      "tensor \"b\" overlaps another tensor");
  EXPECT_EQ(
      message(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          1),
      "the header names \"a\" twice");
  EXPECT_EQ(message(R"({"__metadata__":{"a":1}})", 0), "__metadata__ must hold texts only");
  EXPECT_EQ(message(R"({"__metadata__":"a"})", 0), "__metadata__ must hold texts only");
  EXPECT_EQ(message("[]", 0), "the header is not a JSON object");
  EXPECT_EQ(message("", 0), "the header is not a JSON object");
  EXPECT_EQ(message("{\"a\xff\": 1}", 0), "the header is not a JSON object");
  EXPECT_EQ(message(std::string(1'000'000, '['), 0), "the header nests too deep");
  EXPECT_EQ(message("{\"line\nbreak\": 1}", 0), "the header is not a JSON object");
  EXPECT_EQ(message("{\"line\\nbreak\": 1}", 0),
            "tensor \"line\\nbreak\" must have a dtype, a shape and two data_offsets");

  write_bytes(path("b"), std::string(8, '\xff') + "{}");
  EXPECT_EQ(user_error([&] { SafetensorsFile{path("b")}; }),
            path("b") + ": not a safetensors file: its header would have 18446744073709551615 bytes");
  write_bytes(path("b"), std::string("\x10\0\0\0\0\0\0\0{}", 10));
  EXPECT_EQ(user_error([&] { SafetensorsFile{path("b")}; }),
            path("b") + ": cut off: the header should have 16 bytes, 2 are there");
}

TEST_F(SafetensorsTest, RefusesEveryTruncation) {
  write_safetensors(path("whole"), example(), {{"k", "v"}});
  const std::string whole = read_bytes(path("whole"));
  for (size_t length = 0; length < whole.size(); ++length) {
    write_bytes(path("part"), whole.substr(0, length));
    ASSERT_NE(user_error([&] { SafetensorsFile{path("part")}; }), "") << length;
  }
}

TEST_F(SafetensorsTest, RandomDamageIsReadOrRefused) {
  write_safetensors(path("whole"), example(), {{"k", "v"}});
  const std::string whole = read_bytes(path("whole"));
  uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = whole;
    for (int changes = 0; changes < 2; ++changes) {
      state = state * 1664525u + 1013904223u;
      damaged[(state >> 8) % damaged.size()] = static_cast<char>(state >> 24);
    }
    write_bytes(path("damaged"), damaged);
    user_error([&] {
      const SafetensorsFile file(path("damaged"));
      for (const std::string& name : file.names())
        values_of<char>(file.tensor(name));  // every byte can be read
    });
  }
}

// The format's own Python package where it is installed, an independent parser of forty lines where not.
TEST_F(SafetensorsTest, PythonReadsTheFile) {
  write_safetensors(path("a.safetensors"), example(), {{"config", "{\"a\": \"\xc2\xb5\"}"}});
  const ProgramResult python = run_python("check_safetensors.py", {path("a.safetensors")});
  if (python.status == 77) GTEST_SKIP() << "python3 with numpy is not installed";
  ASSERT_EQ(python.status, 0) << python.err;
  const json seen = json::parse(python.out);
  EXPECT_EQ(seen["metadata"], (json{{"config", "{\"a\": \"\xc2\xb5\"}"}}));
  EXPECT_EQ(seen["tensors"]["encoder.0.weight"]["shape"], (json{2, 1, 3}));
  EXPECT_EQ(seen["tensors"]["encoder.0.weight"]["dtype"], "F32");
  EXPECT_EQ(seen["tensors"]["encoder.0.weight"]["values"][2], 3.5);
  EXPECT_EQ(seen["tensors"]["decoder.0.bias"]["values"], (json{7.0, 8.0}));
  EXPECT_EQ(seen["tensors"]["shadow"]["values"], (json{0x3f80, 0xbf80, 0x7f7f}));  // as bit patterns
  EXPECT_EQ(seen["tensors"]["step"]["values"], (json{int64_t{1} << 40}));
  EXPECT_EQ(seen["tensors"]["norm"]["values"], (json{0.1, -1e300}));
  EXPECT_EQ(seen["tensors"]["empty"]["shape"], (json{0, 4}));
}

}  // namespace
}  // namespace eelsvae
