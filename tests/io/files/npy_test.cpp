#include "io/files/npy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "io/files/atomic_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class NpyTest : public FileTest {
 protected:
  // A file with this header text and these data.
  std::string write(const std::string& header, const std::string& data, int version = 1) {
    std::string content = "\x93NUMPY";
    content += static_cast<char>(version);
    content += '\0';
    const size_t length = header.size();
    for (int byte = 0; byte < (version == 1 ? 2 : 4); ++byte)
      content += static_cast<char>(length >> 8 * byte & 255);
    const std::string file = path("a.npy");
    write_bytes(file, content + header + data);
    return file;
  }
};

template <class T>
std::string bytes_of(std::vector<T> values, bool big_endian = false) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  if (big_endian) {
    for (size_t i = 0; i < bytes.size(); i += sizeof(T))
      std::reverse(bytes.begin() + static_cast<ptrdiff_t>(i),
                   bytes.begin() + static_cast<ptrdiff_t>(i + sizeof(T)));
  }
  return bytes;
}

std::string header(const std::string& descr, bool fortran_order, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran_order ? "True" : "False") +
         ", 'shape': " + shape + ", }\n";
}

TEST_F(NpyTest, ReadsEveryTypeInBothByteOrders) {
  const auto expect_values = [&](const std::string& descr, const std::string& data,
                                 std::vector<float> expected) {
    const NpyArray array = read_npy(write(header(descr, false, "(3,)"), data));
    EXPECT_EQ(array.shape, std::vector<int64_t>{3}) << descr;
    EXPECT_EQ(array.values, expected) << descr;
  };
  expect_values("|b1", std::string("\0\1\1", 3), {0, 1, 1});
  expect_values("|i1", bytes_of<int8_t>({-128, 0, 127}), {-128, 0, 127});
  expect_values("|u1", bytes_of<uint8_t>({0, 128, 255}), {0, 128, 255});
  for (const bool big : {false, true}) {
    const std::string order = big ? ">" : "<";
    expect_values(order + "i2", bytes_of<int16_t>({-32768, 258, 32767}, big), {-32768, 258, 32767});
    expect_values(order + "u2", bytes_of<uint16_t>({0, 258, 65535}, big), {0, 258, 65535});
    expect_values(order + "i4", bytes_of<int32_t>({INT32_MIN, 16777217, 66051}, big),
                  {-2147483648.f, 16777216, 66051});
    expect_values(order + "u4", bytes_of<uint32_t>({0, 66051, 4294967295u}, big), {0, 66051, 4294967296.f});
    expect_values(order + "i8", bytes_of<int64_t>({INT64_MIN, -3, 1LL << 40}, big), {-0x1p63f, -3, 0x1p40f});
    expect_values(order + "u8", bytes_of<uint64_t>({0, 3, UINT64_MAX}, big), {0, 3, 0x1p64f});
    expect_values(order + "f2", bytes_of<uint16_t>({0x3c01, 0xfbff, 0x0001}, big),
                  {1.0009765625f, -65504, 0x1p-24f});
    expect_values(order + "f4", bytes_of<float>({1.5f, -0x1p-149f, 3e38f}, big), {1.5f, -0x1p-149f, 3e38f});
    expect_values(order + "f8", bytes_of<double>({0.1, -1e-50, 1e30}, big), {0.1f, -0.0f, 1e30f});
  }
}

TEST_F(NpyTest, SpecialHalfAndDoubleValues) {
  const NpyArray half =
      read_npy(write(header("<f2", false, "(3,)"), bytes_of<uint16_t>({0x7c00, 0xfc00, 0x7e00})));
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(half.values[0], infinity);
  EXPECT_EQ(half.values[1], -infinity);
  EXPECT_TRUE(std::isnan(half.values[2]));
}

TEST_F(NpyTest, FortranOrderBecomesCOrder) {
  // value = 100 i + 10 j + k, first index fastest
  std::vector<int16_t> data;
  for (int16_t k = 0; k < 4; ++k)
    for (int16_t j = 0; j < 3; ++j)
      for (int16_t i = 0; i < 2; ++i) data.push_back(static_cast<int16_t>(100 * i + 10 * j + k));
  const NpyArray array = read_npy(write(header(">i2", true, "(2, 3, 4)"), bytes_of(data, true)));
  ASSERT_EQ(array.values.size(), 24u);
  for (size_t n = 0; n < 24; ++n)
    EXPECT_EQ(array.values[n], 100.f * (n / 12) + 10.f * (n / 4 % 3) + n % 4) << n;
}

TEST_F(NpyTest, ReadsEveryVersionAndHeaderStyle) {
  const std::string data = bytes_of<float>({1, 2});
  for (const int version : {1, 2, 3})
    EXPECT_EQ(read_npy(write(header("<f4", false, "(2,)"), data, version)).values,
              (std::vector<float>{1, 2}));
  // Any order of keys, double quotes, Python 2's long integers, no trailing comma.
  EXPECT_EQ(read_npy(write("{\"shape\":(1L, 2L),'fortran_order':False,'descr':'<f4'}   \n", data)).shape,
            (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(read_npy(write(header("<f4", false, "()"), bytes_of<float>({7}))).values, std::vector<float>{7});
  EXPECT_TRUE(read_npy(write(header("<f4", false, "(0, 5)"), "")).values.empty());
}

TEST_F(NpyTest, RefusesDamagedHeaders) {
  const std::string good = bytes_of<float>({1, 2});
  const auto message = [&](const std::string& text, const std::string& data, int version = 1) {
    const std::string file = write(text, data, version);
    const std::string error = user_error([&] { read_npy(file); });
    EXPECT_EQ(error.rfind(file, 0), 0u) << error;
    return error.substr(std::min(error.size(), file.size() + 2));
  };
  EXPECT_EQ(message(header("<f4", false, "(2,)"), good.substr(1)),
            "cut off: (2,) of float32 needs 8 bytes of data, 7 are there");
  EXPECT_EQ(message(header("<f4", false, "(2,)"), good + "x"),
            "(2,) of float32 needs 8 bytes of data, 9 are there");
  EXPECT_EQ(message(header("|O", false, "(2,)"), good),
            "holds elements of type '|O'; bool, integers of 1 to 8 bytes and floats of 2, 4 or 8 bytes can "
            "be read; save it with astype('float32'), of complex numbers the real part");
  EXPECT_EQ(
      message("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", good),
      "holds a structured array, an array of plain numbers is needed; save the field that holds the counts");
  EXPECT_EQ(message(header("<f4", false, "(4294967296, 4294967296, 4294967296)"), good),
            "shape (4294967296, 4294967296, 4294967296) is too large");
  EXPECT_EQ(message(header("<f4", false, "(99999999999999999999,)"), good),
            "damaged .npy header: a size in 'shape' is too large");
  EXPECT_EQ(message(header("<f4", false, "(2,)"), good, 4), ".npy version 4 is unknown, 1 to 3 can be read");
  for (const char* text : {"", "{", "{}", "{'descr'", "{'descr': ", "{'descr': '<f4",
                           "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': 2}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (2)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x",
                           "{'descr': '<f4', 'fortran_order': False}",
                           "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'extra\n': 1}"})
    EXPECT_EQ(message(text, good).rfind("damaged .npy header: ", 0), 0u) << text;
}

TEST_F(NpyTest, RefusesEveryTruncation) {
  std::vector<float> values(60);
  write_npy(path("whole.npy"), {3, 4, 5}, values.data());
  const std::string whole = read_bytes(path("whole.npy"));
  for (size_t length = 0; length < whole.size(); ++length) {
    write_bytes(path("part.npy"), whole.substr(0, length));
    ASSERT_NE(user_error([&] { read_npy(path("part.npy")); }), "") << length;
  }
}

TEST_F(NpyTest, RandomDamageIsReadOrRefused) {
  std::vector<float> values(6);
  write_npy(path("whole.npy"), {1, 2, 3}, values.data());
  const std::string whole = read_bytes(path("whole.npy"));
  uint32_t state = 1;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (int changes = 0; changes < 3; ++changes) {
      state = state * 1664525u + 1013904223u;
      damaged[(state >> 8) % damaged.size()] = static_cast<char>(state >> 24);
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(damaged.data());
    user_error([&] { decode_npy({bytes, damaged.size()}, "damaged.npy"); });
  }
}

TEST_F(NpyTest, Masks) {
  const std::string file = write(header("<i4", true, "(2, 3)"), bytes_of<int32_t>({0, 256, -1, 0, 0, 2}));
  EXPECT_EQ(read_npy_mask(file, 2, 3), (std::vector<uint8_t>{0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(user_error([&] { read_npy_mask(file, 3, 2); }),
            file + ": the mask has shape (2, 3), the image has (y, x) = (3, 2)");
  write_npy(file, {1, 1}, std::vector<float>{1}.data());
  EXPECT_EQ(user_error([&] { read_npy_mask(file, 1, 1); }),
            file + ": a mask must hold booleans or integers, not float32");
}

TEST_F(NpyTest, TruthMayBeUndecided) {
  const Truth truth = {{0, 1, 0, 1, 0, 0}, {1, 0, 0, 0, 1, 0}};
  write_npy_truth(path("t.npy"), {2, 3}, truth);
  EXPECT_EQ(read_npy_header(path("t.npy")).type, ElementType::int8);
  EXPECT_EQ(read_npy(path("t.npy")).values, (std::vector<float>{-1, 1, 0, 1, -1, 0}));
  EXPECT_EQ(read_npy_truth(path("t.npy"), 2, 3).anomalous, truth.anomalous);
  EXPECT_EQ(read_npy_truth(path("t.npy"), 2, 3).undecided, truth.undecided);
  const std::string bytes = read_bytes(path("t.npy"));
  EXPECT_EQ(decode_npy_truth(std::as_bytes(std::span(bytes)), "t", 2, 3).undecided, truth.undecided);
  write_npy_truth(path("b.npy"), {2, 3}, {truth.anomalous, {}});
  EXPECT_EQ(read_npy_header(path("b.npy")).type, ElementType::boolean);
  EXPECT_EQ(read_npy_truth(path("b.npy"), 2, 3).anomalous, truth.anomalous);
  EXPECT_TRUE(read_npy_truth(path("b.npy"), 2, 3).undecided.empty());
}

TEST_F(NpyTest, WritesWhatItReads) {
  const std::vector<float> values = {1, -2.5f, 3e-30f, 4, 5, std::numeric_limits<float>::infinity()};
  write_npy(path("f.npy"), {2, 3}, values.data());
  const NpyArray array = read_npy(path("f.npy"));
  EXPECT_EQ(array.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(array.values, values);
  const std::vector<uint8_t> mask = {0, 1, 7, 0};
  write_npy(path("m.npy"), {2, 2}, mask.data());
  EXPECT_EQ(read_npy_header(path("m.npy")).type, ElementType::boolean);
  EXPECT_EQ(read_npy_mask(path("m.npy"), 2, 2), (std::vector<uint8_t>{0, 1, 1, 0}));
  write_npy_labels(path("l.npy"), {2, 2}, mask.data());
  EXPECT_EQ(read_npy_header(path("l.npy")).type, ElementType::uint8);
  EXPECT_EQ(read_npy(path("l.npy")).values, (std::vector<float>{0, 1, 7, 0}));
}

TEST_F(NpyTest, AFullDiskLeavesNothingBehind) {
  const std::vector<float> values(100000);
  const FullDisk full(200000);
  EXPECT_EQ(user_error([&] { write_npy(path("f.npy"), {100000}, values.data()); }),
            "cannot write " + path("f.npy") + ": File too large");
  EXPECT_EQ(files_in_folder(), 0u);
}

// NumPy itself writes every type, order and version for us to read, and reads what we write.
TEST_F(NpyTest, AgreesWithNumPy) {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  const std::vector<uint8_t> mask = {1, 0, 1};
  write_npy(path("ours_f4.npy"), {1, 2, 3}, values.data());
  write_npy(path("ours_b1.npy"), {3, 1}, mask.data());
  const ProgramResult python = run_python("check_npy.py", {path("")});
  if (python.status == 77) GTEST_SKIP() << "python3 with numpy is not installed";
  ASSERT_EQ(python.status, 0) << python.err;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path(""))) {
    if (entry.path().filename().string().rfind("theirs", 0) != 0) continue;
    const NpyArray array = read_npy(entry.path().string());
    EXPECT_EQ(array.shape, (std::vector<int64_t>{2, 3, 4})) << entry.path();
    for (size_t i = 0; i < array.values.size(); ++i) {
      const bool boolean = entry.path().string().find("b1") != std::string::npos;
      ASSERT_EQ(array.values[i], boolean ? float(i % 2) : float(i)) << entry.path();
    }
    ++files;
  }
  EXPECT_EQ(files, 70);
}

}  // namespace
}  // namespace eelsvae
