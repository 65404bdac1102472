#include "io/simplon/frame_sum.h"

#include <chrono>
#include <cmath>
#include <random>

#include "io/simplon/bit_planes.h"
#include "tests/io/file_test.h"
#include "tests/io/simplon/detector_messages.h"

namespace eelsvae {
namespace {

template <class Pixel>
std::vector<Pixel> random_image(int64_t rows, int64_t columns, double mean, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::poisson_distribution<int> counts(mean);
  std::vector<Pixel> image(static_cast<size_t>(rows * columns));
  for (Pixel& pixel : image) pixel = static_cast<Pixel>(counts(random) % 250);
  return image;
}

template <class Pixel>
EncodedFrame frame_of(int64_t rows, int64_t columns, FramePacking packing, const Bytes& bytes) {
  EncodedFrame frame;
  frame.rows = rows, frame.columns = columns;
  frame.pixel_bytes = sizeof(Pixel);
  frame.packing = packing;
  frame.shuffled_bytes = sizeof(Pixel);
  frame.bytes = as_bytes(bytes);
  return frame;
}

// By plain loops in 64 bits.
template <class Pixel>
std::vector<float> sums(const std::vector<Pixel>& image, int64_t columns, int64_t first_row, int64_t last_row,
                        int64_t first_column, int64_t last_column) {
  std::vector<float> spectrum;
  for (int64_t c = first_column; c < last_column; ++c) {
    uint64_t sum = 0;
    for (int64_t r = first_row; r < last_row; ++r) sum += image[static_cast<size_t>(r * columns + c)];
    spectrum.push_back(static_cast<float>(sum));
  }
  return spectrum;
}

std::vector<float> copy(std::span<const float> spectrum) {
  return {spectrum.begin(), spectrum.end()};
}

std::string refusal(const EncodedFrame& frame, const DetectorRegion& region = {}) {
  FrameSum sum(region);
  return user_error([&] { sum.spectrum(frame); });
}

template <class Pixel>
class FrameSumTest : public testing::Test {};
using Pixels = testing::Types<uint8_t, uint16_t, uint32_t>;
TYPED_TEST_SUITE(FrameSumTest, Pixels);

TYPED_TEST(FrameSumTest, EveryPackingGivesTheSumsOfTheRegion) {
  // Sizes that fit no block, no byte of a plane, and no vector.
  for (const auto& [rows, columns] :
       std::vector<std::pair<int64_t, int64_t>>{{64, 100}, {37, 129}, {7, 3}, {1, 1}, {200, 257}}) {
    const std::vector<TypeParam> image = random_image<TypeParam>(rows, columns, 9);
    const Bytes bytes = bytes_of(image);
    const std::vector<std::pair<FramePacking, Bytes>> packings = {
        {FramePacking::none, bytes},
        {FramePacking::lz4, lz4_block(bytes)},
        {FramePacking::lz4_blocks, lz4_blocks(bytes, size_t{1} << 30)},
        {FramePacking::lz4_blocks, lz4_blocks(bytes, 1024)},
        {FramePacking::bitshuffle_lz4, bitshuffle_lz4(bytes, sizeof(TypeParam))},
        {FramePacking::bitshuffle_lz4, bitshuffle_lz4(bytes, sizeof(TypeParam), 32 * 8 * sizeof(TypeParam))},
        {FramePacking::bitshuffle_lz4, bitshuffle_lz4(bytes, sizeof(TypeParam), 8 * sizeof(TypeParam))}};
    for (const DetectorRegion& region :
         {DetectorRegion{}, DetectorRegion{rows / 3, rows - rows / 4, columns / 5, columns - columns / 7},
          DetectorRegion{rows - 1, rows, columns - 1, columns}}) {
      FrameSum sum(region);
      const std::vector<float> expected =
          sums(image, columns, region.first_row, region.last_row.value_or(rows), region.first_column,
               region.last_column.value_or(columns));
      for (const auto& [packing, packed] : packings)
        EXPECT_EQ(copy(sum.spectrum(frame_of<TypeParam>(rows, columns, packing, packed))), expected)
            << rows << " x " << columns << ", packing " << static_cast<int>(packing);
      EXPECT_EQ(sum.drawn_columns(), 0);
    }
  }
}

TYPED_TEST(FrameSumTest, SumsAreExactAsFarAsAFloatIs) {
  const int64_t rows = 3000, columns = 5;
  const TypeParam largest = std::numeric_limits<TypeParam>::max() - 1;
  const Bytes bytes = bytes_of(std::vector<TypeParam>(static_cast<size_t>(rows * columns), largest));
  FrameSum sum(DetectorRegion{});
  for (const float value : sum.spectrum(frame_of<TypeParam>(rows, columns, FramePacking::none, bytes)))
    EXPECT_EQ(value, static_cast<float>(static_cast<uint64_t>(rows) * largest));
}

TYPED_TEST(FrameSumTest, PixelsWithoutDataAreLeftOut) {
  constexpr TypeParam none = std::numeric_limits<TypeParam>::max();
  const int64_t rows = 4, columns = 6;
  std::vector<TypeParam> image(24, 10);
  image[1 * 6 + 1] = none;  // one of column 1
  image[2 * 6 + 1] = 40;
  for (size_t r = 0; r < 4; ++r) image[r * 6 + 3] = image[r * 6 + 4] = none;
  for (size_t r = 0; r < 4; ++r) image[r * 6 + 5] = 40;
  const Bytes bytes = bytes_of(image);
  FrameSum sum(DetectorRegion{});
  EXPECT_EQ(copy(sum.spectrum(frame_of<TypeParam>(rows, columns, FramePacking::none, bytes))),
            (std::vector<float>{40, 80, 40, 80, 120, 160}));
  EXPECT_EQ(sum.drawn_columns(), 2);
  // At the ends: as the nearest.
  FrameSum end(DetectorRegion{0, 4, 2, 5});
  EXPECT_EQ(copy(end.spectrum(frame_of<TypeParam>(rows, columns, FramePacking::none, bytes))),
            (std::vector<float>{40, 40, 40}));
  EXPECT_EQ(refusal(frame_of<TypeParam>(rows, columns, FramePacking::none, bytes), {0, 4, 3, 5}),
            "an image without data in the region");
}

TYPED_TEST(FrameSumTest, TheOtherOrderOfBytes) {
  const std::vector<TypeParam> image = random_image<TypeParam>(9, 21, 100);
  Bytes bytes = bytes_of(image);
  for (size_t i = 0; i < bytes.size(); i += sizeof(TypeParam))
    std::reverse(bytes.begin() + static_cast<ptrdiff_t>(i),
                 bytes.begin() + static_cast<ptrdiff_t>(i + sizeof(TypeParam)));
  EncodedFrame frame = frame_of<TypeParam>(9, 21, FramePacking::none, bytes);
  frame.big_endian = true;
  FrameSum sum(DetectorRegion{});
  EXPECT_EQ(copy(sum.spectrum(frame)), sums(image, 21, 0, 9, 0, 21));
}

TEST(FrameSum, NumbersThatBitshuffleTookForOthers) {
  const std::vector<uint16_t> image = random_image<uint16_t>(16, 40, 7);
  for (const size_t element : {1, 2, 4}) {
    const Bytes packed = bitshuffle_lz4(bytes_of(image), element);
    EncodedFrame frame = frame_of<uint16_t>(16, 40, FramePacking::bitshuffle_lz4, packed);
    frame.shuffled_bytes = static_cast<int>(element);
    FrameSum sum(DetectorRegion{});
    EXPECT_EQ(copy(sum.spectrum(frame)), sums(image, 40, 0, 16, 0, 40)) << element;
  }
}

TEST(FrameSum, AnEmptyHeaderOfBitshuffleStandsForTheUsualBlocks) {
  const std::vector<uint16_t> image = random_image<uint16_t>(64, 200, 7);
  Bytes packed = bitshuffle_lz4(bytes_of(image), 2);
  packed.replace(0, 12, 12, '\0');
  FrameSum sum(DetectorRegion{});
  EXPECT_EQ(copy(sum.spectrum(frame_of<uint16_t>(64, 200, FramePacking::bitshuffle_lz4, packed))),
            sums(image, 200, 0, 64, 0, 200));
}

TEST(FrameSum, BytesThatAreCutAreRefused) {
  const Bytes bytes = bytes_of(random_image<uint16_t>(9, 33, 7));
  const std::vector<std::pair<FramePacking, Bytes>> packings = {
      {FramePacking::none, bytes},
      {FramePacking::lz4, lz4_block(bytes)},
      {FramePacking::lz4_blocks, lz4_blocks(bytes, 100)},
      {FramePacking::bitshuffle_lz4, bitshuffle_lz4(bytes, 2, 128)}};
  for (const auto& [packing, packed] : packings)
    for (size_t size = 0; size < packed.size(); ++size)
      EXPECT_NE(refusal(frame_of<uint16_t>(9, 33, packing, packed.substr(0, size))), "")
          << static_cast<int>(packing) << " " << size;
}

// What is cut or damaged behind them would else be refused.
TEST(FrameSum, RowsBehindTheRegionAreNotUnpacked) {
  const std::vector<uint16_t> image = random_image<uint16_t>(40, 100, 7);
  const Bytes bytes = bytes_of(image), block = lz4_block(bytes).substr(0, lz4_block(bytes).size() / 2);
  const Bytes one_block =
      big_endian(bytes.size(), 8) + big_endian(bytes.size(), 4) + big_endian(block.size(), 4) + block;
  const Bytes small_blocks = lz4_blocks(bytes, 1000), shuffled = bitshuffle_lz4(bytes, 2, 1024);
  FrameSum sum(DetectorRegion{3, 10, 0, {}});
  for (const auto& [packing, packed] : std::vector<std::pair<FramePacking, Bytes>>{
           {FramePacking::lz4, block},
           {FramePacking::lz4_blocks, one_block},
           {FramePacking::lz4_blocks, small_blocks.substr(0, small_blocks.size() / 2)},
           {FramePacking::bitshuffle_lz4, shuffled.substr(0, shuffled.size() / 2)}}) {
    const EncodedFrame frame = frame_of<uint16_t>(40, 100, packing, packed);
    EXPECT_EQ(copy(sum.spectrum(frame)), sums(image, 100, 3, 10, 0, 100)) << static_cast<int>(packing);
    EXPECT_NE(refusal(frame), "");
  }
}

TEST(FrameSum, DamagedBytesNeverMoreThanFail) {
  const Bytes bytes = bytes_of(random_image<uint16_t>(12, 50, 7));
  std::mt19937 random(3);
  FrameSum sum(DetectorRegion{2, 9, 3, 40});
  for (const auto& [packing, packed] : std::vector<std::pair<FramePacking, Bytes>>{
           {FramePacking::lz4, lz4_block(bytes)},
           {FramePacking::lz4_blocks, lz4_blocks(bytes, 128)},
           {FramePacking::bitshuffle_lz4, bitshuffle_lz4(bytes, 2, 128)}}) {
    for (int i = 0; i < 3000; ++i) {
      Bytes damaged = packed;
      for (int changes = 0; changes < 3; ++changes)
        damaged[random() % damaged.size()] = static_cast<char>(random());
      const std::string error =
          user_error([&] { sum.spectrum(frame_of<uint16_t>(12, 50, packing, damaged)); });
      EXPECT_LT(error.size(), 200u);
    }
  }
}

TEST(FrameSum, SizesAreCheckedBeforeAnythingIsAllocated) {
  const Bytes little(64, '\0');
  EncodedFrame frame = frame_of<uint32_t>(60000, 60000, FramePacking::lz4, little);
  EXPECT_EQ(refusal(frame), "an image of 60000 rows and 60000 columns; at most 33554432 pixels are taken");
  frame.rows = frame.columns = 5000;
  EXPECT_EQ(refusal(frame), "the compressed image is damaged: it is too short");
  frame.packing = FramePacking::bitshuffle_lz4;
  const Bytes one_block =
      big_endian(100000000, 8) + big_endian(1 << 30, 4) + big_endian(20, 4) + Bytes(20, '\0');
  frame.bytes = as_bytes(one_block);
  EXPECT_EQ(refusal(frame), "the compressed image is damaged: it is too short");
  frame.rows = 0;
  EXPECT_NE(refusal(frame), "");
  frame.rows = -1;
  EXPECT_NE(refusal(frame), "");
}

TEST(FrameSum, ARegionHasToLieInTheImage) {
  const Bytes bytes = bytes_of(std::vector<uint16_t>(20 * 30, 1));
  const EncodedFrame frame = frame_of<uint16_t>(20, 30, FramePacking::none, bytes);
  EXPECT_EQ(refusal(frame, {10, 40, 0, {}}),
            "the region (rows 10 to 40 and columns 0 to 30) does not lie in images of 20 rows and 30 "
            "columns; give one "
            "that does");
  for (const DetectorRegion& region :
       {DetectorRegion{5, 5, 0, {}}, DetectorRegion{-1, 5, 0, {}}, DetectorRegion{20, {}, 0, {}},
        DetectorRegion{0, {}, 0, 31}, DetectorRegion{0, {}, 30, {}}, DetectorRegion{9, 2, 0, {}}})
    EXPECT_NE(refusal(frame, region), "");
}

TEST(BitPlanes, AreJoinedAsBitByBit) {
  std::mt19937 random(5);
  for (const size_t element : {1, 2, 4}) {
    for (const size_t count : {8, 16, 248, 256, 264, 4096, 5000}) {
      Bytes bytes(count * element, '\0');
      for (char& byte : bytes) byte = static_cast<char>(random());
      Bytes joined(bytes.size(), '\0');
      const Bytes planes = bit_planes(bytes, element);
      join_bit_planes(as_bytes(planes), element,
                      std::as_writable_bytes(std::span(joined.data(), joined.size())));
      EXPECT_EQ(joined, bytes) << element << " " << count;
    }
  }
}

}  // namespace
}  // namespace eelsvae
