#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "io/files/stored_array.h"
#include "io/formats/spectrum_image_file.h"

namespace eelsvae {

// The middle, the end, and a slice of each axis.
inline std::vector<ArrayPart> some_parts(const std::vector<int64_t>& shape) {
  ArrayPart middle, end;
  for (const int64_t size : shape) {
    middle.first.push_back(size / 3);
    middle.size.push_back(std::max<int64_t>(size / 2, 1));
    end.first.push_back(size - size / 4 - 1);
    end.size.push_back(size / 4 + 1);
  }
  std::vector<ArrayPart> parts = {middle, end};
  for (size_t d = 0; d < shape.size(); ++d) {
    parts.push_back(whole_of(shape));
    parts.back().first[d] = shape[d] / 2;
    parts.back().size[d] = 1;
  }
  return parts;
}

// A part of an array in C order, cut out of it.
inline std::vector<float> cut(const float* all, const std::vector<int64_t>& shape, const ArrayPart& part) {
  const std::vector<int64_t> stride = dense_strides(shape), inner = dense_strides(part.size);
  std::vector<float> values(static_cast<size_t>(element_count(part.size, 1)));
  for (int64_t i = 0; i < std::ssize(values); ++i) {
    int64_t place = 0;
    for (size_t d = 0; d < shape.size(); ++d)
      place += (part.first[d] + i / inner[d] % part.size[d]) * stride[d];
    values[static_cast<size_t>(i)] = all[place];
  }
  return values;
}

inline bool same_bits(const float* a, const std::vector<float>& b) {
  return std::memcmp(a, b.data(), b.size() * sizeof(float)) == 0;
}

// Parts that are read alone are those of the whole, whose numbers `all` holds in C order.
inline void expect_parts(const ImageValues& values, const std::vector<int64_t>& shape, const float* all) {
  if (element_count(shape, 1) <= 0) return;
  for (const ArrayPart& part : some_parts(shape)) {
    const std::vector<float> expected = cut(all, shape, part);
    std::vector<float> read(expected.size(), -1);
    const bool finite = values.read(part, dense_strides(part.size), read.data());
    EXPECT_TRUE(same_bits(read.data(), expected)) << testing::PrintToString(part.first);
    EXPECT_EQ(finite, std::ranges::all_of(expected, [](float v) { return v * 0 == 0; }));
  }
}

// The same of a spectrum image of a file, through the options for reading. Whether there is one.
inline bool expect_parts_of_file(const std::string& path, const ReadOptions& options = {}) {
  SCOPED_TRACE(path);
  bool finite = false;
  const SpectrumImage whole = read_spectrum_image(path, options, &finite);
  const ImageToRead opened = open_spectrum_image(path, options);
  EXPECT_EQ(opened.image.energy, whole.energy);
  const std::vector<int64_t> shape = {whole.y.size, whole.x.size, whole.energy.size};
  for (const ArrayPart& part : some_parts(shape)) {
    const auto range = [&](size_t d) { return std::array{part.first[d], part.first[d] + part.size[d]}; };
    CountArray counts;
    opened.read({range(0), range(1), {range(2)[0], range(2)[1]}}, counts);
    const std::vector<float> expected = cut(whole.counts.data(), shape, part);
    EXPECT_EQ(counts.size(), expected.size());
    EXPECT_TRUE(counts.size() == expected.size() && same_bits(counts.data(), expected))
        << testing::PrintToString(part.first);
  }
  return whole.pixels() > 0;
}

}  // namespace eelsvae
