#include "engine/network/shared_lines.h"

#include <map>
#include <numeric>

#include "kernels/error.h"

namespace eelsvae {

SharedLines share_lines(std::span<const int64_t> starts, int64_t tile,
                        std::span<const AxisWindow> convolutions) {
  expect(!starts.empty() && tile > 0, "no tiles to share lines");
  SharedLines shared;
  shared.tiles = std::ssize(starts);
  shared.counts.push_back(starts.back() + tile - starts.front());
  // The lines of each tile, after as many convolutions as have been done.
  std::vector<std::vector<int64_t>> lines(starts.size(), std::vector<int64_t>(static_cast<size_t>(tile)));
  for (size_t t = 0; t < lines.size(); ++t)
    std::iota(lines[t].begin(), lines[t].end(), starts[t] - starts.front());
  for (const AxisWindow& c : convolutions) {
    std::map<std::vector<int64_t>, int64_t> known;
    std::vector<int64_t>& sources = shared.sources.emplace_back();
    for (std::vector<int64_t>& own : lines) {
      const std::vector<int64_t> input = std::move(own);
      const int64_t size = std::ssize(input), outputs = (size + 2 * c.padding - c.kernel) / c.stride + 1;
      own.clear();
      for (int64_t o = 0; o < outputs; ++o) {
        std::vector<int64_t> seen;
        for (int64_t k = 0; k < c.kernel; ++k) {
          const int64_t i = o * c.stride + k - c.padding;
          seen.push_back(i < 0 || i >= size ? -1 : input[static_cast<size_t>(i)]);
        }
        const auto [place, is_new] = known.try_emplace(std::move(seen), std::ssize(known));
        if (is_new) sources.insert(sources.end(), place->first.begin(), place->first.end());
        own.push_back(place->second);
      }
    }
    shared.counts.push_back(std::ssize(known));
  }
  for (const std::vector<int64_t>& own : lines)
    shared.of_tiles.insert(shared.of_tiles.end(), own.begin(), own.end());
  return shared;
}

}  // namespace eelsvae
