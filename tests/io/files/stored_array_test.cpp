#include "io/files/stored_array.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/error.h"
#include "tests/io/file_test.h"
#include "tests/io/parts.h"

namespace eelsvae {
namespace {

constexpr ElementType types[] = {ElementType::boolean, ElementType::int8,    ElementType::uint8,
                                 ElementType::int16,   ElementType::uint16,  ElementType::int32,
                                 ElementType::uint32,  ElementType::int64,   ElementType::uint64,
                                 ElementType::float16, ElementType::float32, ElementType::float64};

template <class T>
void put(std::byte* place, T value, bool big_endian) {
  std::memcpy(place, &value, sizeof value);
  if (big_endian) std::reverse(place, place + sizeof value);
}

// Small whole numbers, which every type holds: 0 or 1, or up to 127.
void put(ElementType type, std::byte* place, int value, bool big_endian) {
  switch (type) {
    case ElementType::boolean:
      return put(place, static_cast<uint8_t>(value ? 0x80 : 0), big_endian);  // any bit means true
    case ElementType::int8:
    case ElementType::uint8:
      return put(place, static_cast<uint8_t>(value), big_endian);
    case ElementType::int16:
    case ElementType::uint16:
      return put(place, static_cast<uint16_t>(value), big_endian);
    case ElementType::int32:
    case ElementType::uint32:
      return put(place, static_cast<uint32_t>(value), big_endian);
    case ElementType::int64:
    case ElementType::uint64:
      return put(place, static_cast<uint64_t>(value), big_endian);
    case ElementType::float16: {
      uint16_t bits = 0;
      if (value > 0) {
        const int exponent = std::bit_width(static_cast<unsigned>(value)) - 1;
        bits = static_cast<uint16_t>((exponent + 15) << 10 | (value << (10 - exponent) & 1023));
      }
      return put(place, bits, big_endian);
    }
    case ElementType::float32:
      return put(place, static_cast<float>(value), big_endian);
    case ElementType::float64:
      return put(place, static_cast<double>(value), big_endian);
  }
}

// Value of the element with this C-order index.
int value_of(ElementType type, int64_t index) {
  return static_cast<int>(index * 31 % (type == ElementType::boolean ? 2 : 127));
}

// Writes an array as `stored` tells, reads it back in C order and compares every element.
void expect_read_back(const StoredArray& stored, size_t misalignment) {
  const int64_t elements = element_count(stored.shape, element_size(stored.type));
  const std::vector<int64_t> strides = dense_strides(stored.shape);
  const auto for_each = [&](const auto& visit) {
    for (int64_t i = 0; i < elements; ++i) {
      int64_t place = 0;
      for (size_t d = 0; d < strides.size(); ++d)
        place += i / strides[d] % stored.shape[d] * stored.stride[d];
      visit(i, place);
    }
  };
  size_t size = misalignment;
  for_each([&](int64_t, int64_t place) {
    size = std::max(size, misalignment + static_cast<size_t>(place) + element_size(stored.type));
  });
  std::vector<std::byte> source(size);
  for_each([&](int64_t i, int64_t place) {
    put(stored.type, source.data() + misalignment + place, value_of(stored.type, i), stored.big_endian);
  });
  std::vector<float> out(static_cast<size_t>(elements) + 32, -1);
  ASSERT_TRUE(convert_array(source.data() + misalignment, stored, strides, out.data() + 5));
  for (int64_t i = 0; i < elements; ++i)
    ASSERT_EQ(out[static_cast<size_t>(i) + 5], static_cast<float>(value_of(stored.type, i))) << "at " << i;
  for (size_t i = 0; i < 5; ++i) ASSERT_EQ(out[i], -1) << "written before the target";
  for (size_t i = static_cast<size_t>(elements) + 5; i < out.size(); ++i)
    ASSERT_EQ(out[i], -1) << "written behind the target";
}

TEST(StoredArray, EveryTypeOrderOfBytesAndOrderOfAxes) {
  const std::vector<std::vector<int64_t>> shapes = {{1, 1, 1},   {3, 1, 5},   {2, 3, 4},  {1, 40, 17},
                                                    {17, 33, 1}, {5, 16, 64}, {7, 19, 81}};
  for (const ElementType type : types) {
    for (const bool big_endian : {false, true}) {
      for (const std::vector<int64_t>& shape : shapes) {
        std::vector<size_t> order = {0, 1, 2};
        do {
          const StoredArray stored = StoredArray::dense(type, big_endian, shape, order);
          SCOPED_TRACE(std::string(element_name(type)) + (big_endian ? " big" : " little") +
                       "-endian, order " + testing::PrintToString(order) + ", shape " +
                       testing::PrintToString(shape));
          expect_read_back(stored, 3);
          if (testing::Test::HasFatalFailure()) return;
        } while (std::next_permutation(order.begin(), order.end()));
      }
    }
  }
}

TEST(StoredArray, LongAxesInEveryOrder) {
  // Rows and columns beyond the blocks in which they are transposed, and not multiples of them.
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{2, 2100, 131}, {1, 3, 1340}, {300, 4, 129}, {1, 2100, 1}}) {
    std::vector<size_t> order = {0, 1, 2};
    do {
      for (const ElementType type : {ElementType::uint16, ElementType::float32, ElementType::float64}) {
        SCOPED_TRACE(testing::PrintToString(order) + testing::PrintToString(shape));
        expect_read_back(StoredArray::dense(type, false, shape, order), 0);
      }
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

// Of energy planes that make more than 256 MiB of spectra, some pixels are done at a time.
TEST(StoredArray, SpectraOfMoreThanASlice) {
  const int64_t energies = 64, rows = 1200, columns = 1100;
  std::vector<uint8_t> source(static_cast<size_t>(energies * rows * columns));
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<uint8_t>(i % 251);
  const StoredArray stored =
      StoredArray::dense(ElementType::uint8, false, {rows, columns, energies}, {2, 0, 1});
  std::vector<float> out(source.size());
  std::vector<int64_t> released(static_cast<size_t>(energies));
  const auto* bytes = reinterpret_cast<const std::byte*>(source.data());
  ASSERT_TRUE(convert_array(bytes, stored, dense_strides(stored.shape), out.data(),
                            [&](const std::byte* begin, const std::byte* end) {
                              const int64_t plane = (begin - bytes) / (rows * columns);
                              released[static_cast<size_t>(plane)] += end - begin;
                            }));
  for (int64_t pixel = 0; pixel < rows * columns; ++pixel)
    for (int64_t e = 0; e < energies; ++e)
      ASSERT_EQ(out[static_cast<size_t>(pixel * energies + e)],
                source[static_cast<size_t>(e * rows * columns + pixel)]);
  for (int64_t count : released) EXPECT_EQ(count, rows * columns);
}

// Whichever way the array is converted, also with a task for each thread.
TEST(StoredArray, WhatFollowsTheReadingCanEndIt) {
  const std::vector<int64_t> shape = {int64_t{4} * omp_get_max_threads(), 5, 7};
  const std::vector<std::byte> source(static_cast<size_t>(shape[0]) * 5 * 7);
  std::vector<float> out(source.size());
  for (const std::vector<size_t>& order : std::vector<std::vector<size_t>>{{0, 1, 2}, {2, 0, 1}, {0, 2, 1}})
    EXPECT_THROW(convert_array(source.data(), StoredArray::dense(ElementType::uint8, false, shape, order),
                               dense_strides(shape), out.data(),
                               [](const std::byte*, const std::byte*) { throw UserError("enough"); }),
                 UserError)
        << testing::PrintToString(order);
}

TEST(StoredArray, GapsBetweenElementsAndRows) {
  StoredArray stored{ElementType::int32, false, {3, 50, 70}, {40000, 8, 400}};  // pairs, padded planes
  expect_read_back(stored, 1);
  stored = {ElementType::float32, true, {3, 5, 7}, {1000, 100, 4}};
  expect_read_back(stored, 2);
}

TEST(StoredArray, AnyOrderOfAxesAtTheTarget) {
  const std::vector<int64_t> shape = {3, 20, 37};
  std::vector<float> source(3 * 20 * 37);
  std::iota(source.begin(), source.end(), 0.f);
  const auto* bytes = reinterpret_cast<const std::byte*>(source.data());
  const StoredArray stored = StoredArray::dense(ElementType::float32, false, shape, {0, 1, 2});
  std::vector<float> out(source.size());
  ASSERT_TRUE(convert_array(bytes, stored, std::vector<int64_t>{1, 3 * 37, 3}, out.data()));  // (x, E, y)
  for (int64_t y = 0; y < 3; ++y)
    for (int64_t x = 0; x < 20; ++x)
      for (int64_t e = 0; e < 37; ++e)
        ASSERT_EQ(out[static_cast<size_t>((x * 37 + e) * 3 + y)],
                  source[static_cast<size_t>((y * 20 + x) * 37 + e)]);
}

TEST(StoredArray, RoundsToTheNearestFloat) {
  const std::vector<double> source = {0.1, 16777217.0, -1e-50, 1e38};
  std::vector<float> out(4);
  ASSERT_TRUE(convert_array(reinterpret_cast<const std::byte*>(source.data()),
                            StoredArray::dense(ElementType::float64, false, {4}, {0}),
                            std::vector<int64_t>{1}, out.data()));
  EXPECT_EQ(out, (std::vector<float>{0.1f, 16777216.f, -0.f, 1e38f}));
}

TEST(StoredArray, FindsEveryValueThatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  for (const std::vector<size_t>& order : std::vector<std::vector<size_t>>{{0, 1, 2}, {2, 0, 1}}) {
    const StoredArray stored = StoredArray::dense(ElementType::float32, false, {2, 19, 83}, order);
    std::vector<float> source(2 * 19 * 83, 1.5f), out(source.size());
    const auto finite = [&] {
      return convert_array(reinterpret_cast<const std::byte*>(source.data()), stored,
                           dense_strides(stored.shape), out.data());
    };
    EXPECT_TRUE(finite());
    for (const float value : {nan, infinity, -infinity}) {
      for (size_t i = 0; i < source.size(); i += 97) {
        source[i] = value;
        ASSERT_FALSE(finite()) << value << " at " << i;
        source[i] = 1.5f;
      }
    }
  }
  const double too_large = 1e300;
  float out;
  EXPECT_FALSE(convert_array(reinterpret_cast<const std::byte*>(&too_large),
                             StoredArray::dense(ElementType::float64, false, {1}, {0}),
                             std::vector<int64_t>{1}, &out));
}

TEST(StoredArray, CountsElementsWithoutOverflow) {
  EXPECT_EQ(element_count(std::vector<int64_t>{2, 3, 4}, 8), 24);
  EXPECT_EQ(element_count(std::vector<int64_t>{}, 8), 1);
  EXPECT_EQ(element_count(std::vector<int64_t>{int64_t{1} << 31, int64_t{1} << 31}, 2), -1);
  EXPECT_EQ(element_count(std::vector<int64_t>{int64_t{1} << 31, int64_t{1} << 31}, 1), int64_t{1} << 62);
  EXPECT_EQ(element_count(std::vector<int64_t>{0, int64_t{1} << 62}, 1), 0);
  EXPECT_EQ(element_count(std::vector<int64_t>{0, int64_t{1} << 62, 4}, 1), -1) << "hidden by the zero";
  EXPECT_EQ(element_count(std::vector<int64_t>{3, -1}, 1), -1);
}

class MappedValuesTest : public FileTest {};

TEST_F(MappedValuesTest, ReadsFromAByteOnAndLetsGoOfThePages) {
  // Longer than what is read between two releases, at an odd place.
  const std::vector<int64_t> shape = {3, 1700, 900};
  std::vector<uint16_t> numbers(3 * 1700 * 900);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint16_t>(i * 7);
  write_bytes(path("raw"), std::string(9, 'x') + std::string(reinterpret_cast<const char*>(numbers.data()),
                                                             numbers.size() * sizeof(uint16_t)));
  const auto file = std::make_shared<const MappedFile>(path("raw"));
  for (const std::vector<size_t>& order : std::vector<std::vector<size_t>>{{0, 1, 2}, {2, 0, 1}, {1, 2, 0}}) {
    const StoredArray stored = StoredArray::dense(ElementType::uint16, false, shape, order);
    std::vector<float> out(numbers.size());
    const auto values = mapped_values(file, 9, stored, "raw");
    ASSERT_TRUE(values->read(whole_of(shape), dense_strides(shape), out.data()));
    expect_parts(*values, shape, out.data());
    for (int64_t y = 0; y < shape[0]; ++y)
      for (int64_t x = 0; x < shape[1]; ++x)
        for (int64_t e = 0; e < shape[2]; ++e) {
          const int64_t place = (y * stored.stride[0] + x * stored.stride[1] + e * stored.stride[2]) /
                                int64_t{sizeof(uint16_t)};
          ASSERT_EQ(out[static_cast<size_t>((y * shape[1] + x) * shape[2] + e)],
                    static_cast<float>(numbers[static_cast<size_t>(place)]));
        }
  }
}

TEST_F(MappedValuesTest, RefusesAFileThatEndsEarly) {
  write_bytes(path("raw"), std::string(100, 'x'));
  const auto file = std::make_shared<const MappedFile>(path("raw"));
  const auto message = [&](uint64_t offset, std::vector<int64_t> shape) {
    return user_error([&] {
      mapped_values(file, offset, StoredArray::dense(ElementType::int16, false, shape, {0, 1}),
                    "raw: image 1");
    });
  };
  EXPECT_EQ(message(0, {5, 10}), "");
  EXPECT_EQ(message(1, {5, 10}),
            "raw: image 1: cut off: 100 bytes of data are needed from byte 1, the file has 100 bytes");
  EXPECT_NE(message(UINT64_MAX, {5, 1}), "");
  EXPECT_EQ(message(UINT64_MAX, {5, 0}), "") << "nothing is read";
}

}  // namespace
}  // namespace eelsvae
