#include "engine/prepare/blocks.h"

#include <gtest/gtest.h>

#include <map>

namespace eelsvae {
namespace {

using Sizes = std::array<int64_t, 3>;

std::array<std::array<int64_t, 2>, 3> ranges(const ImagePart& part) {
  return {part.y, part.x, {part.energy.first, part.energy.last}};
}

int64_t counts_in(const ImagePart& part) {
  int64_t counts = 1;
  for (const auto& [first, last] : ranges(part)) counts *= last - first;
  return counts;
}

// How often each chunk that has something of the part is unpacked.
std::map<Sizes, int> unpacked(const std::vector<ImagePart>& blocks, const Sizes& together) {
  std::map<Sizes, int> times;
  for (const ImagePart& block : blocks) {
    const auto range = ranges(block);
    Sizes at;
    const auto chunks = [&](size_t d) { return (range[d][1] - 1) / together[d] + 1; };
    for (at[0] = range[0][0] / together[0]; at[0] < chunks(0); ++at[0])
      for (at[1] = range[1][0] / together[1]; at[1] < chunks(1); ++at[1])
        for (at[2] = range[2][0] / together[2]; at[2] < chunks(2); ++at[2]) ++times[at];
  }
  return times;
}

int most(const std::map<Sizes, int>& times) {
  int most = 0;
  for (const auto& [chunk, count] : times) most = std::max(most, count);
  return most;
}

// Every count is in one block, every bin in one, and each block but the last says that more follows.
void expect_whole(const std::vector<ImagePart>& blocks, const ImagePart& part, const Sizes& bins) {
  int64_t counts = 0;
  std::map<Sizes, int> begins;
  for (const ImagePart& block : blocks) {
    counts += counts_in(block);
    const auto range = ranges(block), whole = ranges(part);
    for (size_t d = 0; d < 3; ++d) {
      EXPECT_EQ((range[d][0] - whole[d][0]) % bins[d], 0);
      EXPECT_TRUE(range[d][1] == whole[d][1] || (range[d][1] - whole[d][0]) % bins[d] == 0);
      EXPECT_LT(range[d][0], range[d][1]);
    }
    ++begins[{range[0][0], range[1][0], range[2][0]}];
    EXPECT_EQ(block.more, &block != &blocks.back());
  }
  EXPECT_EQ(counts, counts_in(part));
  EXPECT_EQ(begins.size(), blocks.size());
}

TEST(Blocks, UnpackNothingTwiceWhereBinsEndWithChunks) {
  const ImagePart whole{{0, 96}, {0, 80}, {0, 200}};
  const Sizes bins = {4, 4, 2};
  for (const Sizes together : {Sizes{16, 16, 16},
                               {96, 8, 16},
                               {96, 80, 1},
                               {1, 80, 200},
                               {1, 1, 200},
                               {8, 80, 10},
                               {96, 80, 200},
                               {1, 1, 1}})
    for (const size_t bytes : {size_t{0}, size_t{20000}, size_t{200000}, size_t{2000000}, size_t{1} << 30}) {
      const std::vector<ImagePart> blocks = blocks_of(whole, together, bins, bytes);
      expect_whole(blocks, whole, bins);
      EXPECT_EQ(most(unpacked(blocks, together)), 1) << testing::PrintToString(together) << bytes;
      for (const ImagePart& block : blocks) {  // no larger than it may be, or than chunks with whole bins
        int64_t least = 1;
        for (size_t d = 0; d < 3; ++d) least *= std::max(together[d] + bins[d], 2 * bins[d]);
        EXPECT_LE(static_cast<size_t>(counts_in(block)) * sizeof(float),
                  std::max(bytes, static_cast<size_t>(least) * sizeof(float)));
      }
    }
  EXPECT_EQ(blocks_of(whole, {1, 1, 1}, bins, size_t{1} << 30).size(), 1u);
  EXPECT_EQ(blocks_of(whole, {1, 80, 200}, bins, 0).size(), 24u);
}

TEST(Blocks, UnpackAtMostOnceAgainAlongEachAxisOtherwise) {
  const ImagePart part{{5, 91}, {3, 79}, {11, 190}};
  for (const Sizes bins : {Sizes{3, 3, 5}, {7, 7, 1}, {10, 10, 8}})
    for (const Sizes together : {Sizes{16, 16, 16}, {96, 8, 16}, {1, 80, 200}, {13, 11, 9}})
      for (const size_t bytes : {size_t{0}, size_t{20000}, size_t{200000}}) {
        const std::vector<ImagePart> blocks = blocks_of(part, together, bins, bytes);
        expect_whole(blocks, part, bins);
        EXPECT_LE(most(unpacked(blocks, together)), 8) << testing::PrintToString(together) << bytes;
      }
}

}  // namespace
}  // namespace eelsvae
