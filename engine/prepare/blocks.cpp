#include "engine/prepare/blocks.h"

#include <algorithm>

#include "engine/short_number.h"
#include "kernels/host_memory.h"

namespace eelsvae {
namespace {

using Range = std::array<int64_t, 2>;

// An axis in steps of about `step`, a multiple of the bin.
std::vector<Range> cut_axis(const Range& whole, int64_t step, int64_t together, int64_t bin) {
  std::vector<Range> ranges;
  for (int64_t first = whole[0]; first < whole[1];) {
    int64_t last = std::min(first + step, whole[1]);
    if (last < whole[1]) {
      const int64_t chunk_end = last / together * together;  // the last one within reach
      const int64_t bin_end = whole[0] + (chunk_end - whole[0]) / bin * bin;
      if (bin_end > first) last = bin_end;
    }
    ranges.push_back({first, last});
    first = last;
  }
  return ranges;
}

}  // namespace

std::vector<ImagePart> blocks_of(const ImagePart& part, const std::array<int64_t, 3>& together,
                                 const std::array<int64_t, 3>& bins, size_t bytes) {
  const std::array<Range, 3> whole = {part.y, part.x, {part.energy.first, part.energy.last}};
  std::array<int64_t, 3> size, step;
  auto block = static_cast<int64_t>(sizeof(float));
  for (size_t d = 0; d < 3; ++d) {
    size[d] = whole[d][1] - whole[d][0];
    step[d] = std::min((together[d] + bins[d] - 1) / bins[d] * bins[d], size[d]);
    block *= step[d];
  }
  // Spectra are kept whole as long as possible, then rows.
  for (const size_t d : {2, 1, 0}) {
    const int64_t fitting = static_cast<int64_t>(bytes) / std::max<int64_t>(block, 1);
    if (fitting < 2) break;
    block = block / step[d];
    step[d] = step[d] >= size[d] / fitting + (size[d] % fitting != 0) ? size[d] : step[d] * fitting;
    block *= step[d];
  }
  std::vector<ImagePart> blocks;
  for (const Range& y : cut_axis(whole[0], step[0], together[0], bins[0]))
    for (const Range& x : cut_axis(whole[1], step[1], together[1], bins[1]))
      for (const Range& e : cut_axis(whole[2], step[2], together[2], bins[2]))
        blocks.push_back({y, x, {e[0], e[1]}, true});
  if (!blocks.empty()) blocks.back().more = false;
  return blocks;
}

std::string scratch_note() {
  if (scratch_bytes() == 0) return "";
  return short_number(static_cast<double>(scratch_bytes()) * 1e-9, 3) +
         " GB of spectra do not fit into memory and lie in scratch files in " + scratch_folder().string();
}

}  // namespace eelsvae
