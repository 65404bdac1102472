#include "engine/prepare/scaling.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "kernels/error.h"

namespace eelsvae {
namespace {

// Order-preserving image of a float among the unsigned numbers.
uint32_t ordered_key(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);  // -0 becomes +0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
float value_of_key(uint32_t key) {
  return std::bit_cast<float>(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// The values at the given ranks (0: the smallest) by radix selection: a histogram of the keys' leading digit
// finds each rank's digit, the next pass counts the second digit among keys that share a wanted first digit,
// and so on. The wanted prefixes form a tree, kept in `child`.
std::vector<float> order_statistics(std::span<const float> values, std::span<const int64_t> ranks) {
  constexpr int64_t levels = 3, radix = 2048;
  constexpr std::array<int, levels> shift = {21, 10, 0};
  constexpr std::array<uint32_t, levels> mask = {2047, 2047, 1023};
  struct Query {
    int64_t rank;   // among the keys of its group
    int64_t group;  // of keys with the same leading digits
    uint32_t key;
  };
  std::vector<Query> queries;
  for (int64_t rank : ranks) queries.push_back({rank, 0, 0});

  std::array<std::vector<int32_t>, levels> child;  // child[level][group * radix + digit]: next group, or -1
  int64_t groups = 1;
  // Each thread's table may take 32 MB; eight threads are enough to read memory at its full rate.
  const int threads = std::min(omp_get_max_threads(), 8);
  const auto count = static_cast<int64_t>(values.size());
  for (size_t level = 0; level < levels; ++level) {
    const int64_t bins = groups * radix;
    std::vector<int64_t> tables(static_cast<size_t>(threads * bins));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; ++i) {
      uint32_t key = ordered_key(values[static_cast<size_t>(i)]);
      int64_t group = 0;
      for (size_t l = 0; l < level && group >= 0; ++l)
        group = child[l][static_cast<size_t>(group * radix + ((key >> shift[l]) & mask[l]))];
      if (group >= 0)
        ++tables[static_cast<size_t>(omp_get_thread_num() * bins + group * radix +
                                     ((key >> shift[level]) & mask[level]))];
    }
    for (int thread = 1; thread < threads; ++thread)
      for (int64_t bin = 0; bin < bins; ++bin)
        tables[static_cast<size_t>(bin)] += tables[static_cast<size_t>(thread * bins + bin)];

    child[level].assign(static_cast<size_t>(bins), -1);
    groups = 0;
    for (Query& query : queries) {
      int64_t bin = query.group * radix;
      while (query.rank >= tables[static_cast<size_t>(bin)]) query.rank -= tables[static_cast<size_t>(bin++)];
      query.key |= static_cast<uint32_t>(bin - query.group * radix) << shift[level];
      int32_t& next = child[level][static_cast<size_t>(bin)];
      if (next < 0) next = static_cast<int32_t>(groups++);
      query.group = next;
    }
  }
  std::vector<float> found;
  for (const Query& query : queries) found.push_back(value_of_key(query.key));
  return found;
}

// The same where few ranks are wanted of many values, in one passage: a sample says between which two values
// a rank must lie, values below are counted and those between are collected. Returns nothing if a rank lies
// elsewhere after all, or if many values are equal and would all be collected.
std::optional<std::vector<float>> bracketed_statistics(std::span<const float> values,
                                                       std::span<const int64_t> ranks) {
  constexpr int64_t sampled = 1 << 16, block = 1 << 12;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const auto count = static_cast<int64_t>(values.size());
  std::vector<int64_t> places;
  for (int64_t i = 0; i < sampled; ++i) {
    // Multiples of the golden ratio fill an interval evenly, in step with no axis.
    const double turns = static_cast<double>(i) * 0.61803398874989485;
    const auto at = static_cast<int64_t>((turns - std::floor(turns)) * static_cast<double>(count));
    places.push_back(std::min(count - 1, at));
  }
  std::sort(places.begin(), places.end());  // memory is read in its order: it may be a disk's
  std::vector<float> sample;
  for (int64_t place : places) sample.push_back(values[static_cast<size_t>(place)]);
  std::sort(sample.begin(), sample.end());
  struct Bracket {
    float low, high;
    int64_t below = 0;
    std::vector<float> inside = {};
  };
  std::vector<Bracket> brackets;  // ascending, without overlap
  std::vector<size_t> of_rank;
  for (int64_t rank : ranks) {
    const double share = static_cast<double>(rank) / static_cast<double>(count);
    const double centre = share * sampled, spread = 4 * std::sqrt(sampled * share * (1 - share)) + 2;
    const auto first = static_cast<int64_t>(centre - spread),
               last = static_cast<int64_t>(centre + spread) + 1;
    const float low = first < 0 ? -infinity : sample[static_cast<size_t>(first)],
                high = last >= sampled ? infinity : sample[static_cast<size_t>(last)];
    if (!brackets.empty() && low <= brackets.back().high)
      brackets.back().high = std::max(brackets.back().high, high);
    else
      brackets.push_back({low, high});
    of_rank.push_back(brackets.size() - 1);
  }
  const int64_t blocks = (count + block - 1) / block;
  const auto most = static_cast<size_t>(count / 32);
  bool too_many = false;
#pragma omp parallel reduction(|| : too_many)
  {
    std::vector<Bracket> own = brackets;
    std::array<uint64_t, block / 8> inside;  // a byte for each value
    auto* flags = reinterpret_cast<uint8_t*>(inside.data());
#pragma omp for schedule(static)
    for (int64_t b = 0; b < blocks; ++b)
      for (Bracket& bracket : own) {
        const float *x = values.data() + b * block, low = bracket.low, high = bracket.high;
        const int64_t size = std::min(block, count - b * block);
        int below = 0;
#pragma omp simd reduction(+ : below)
        for (int64_t i = 0; i < size; ++i) below += x[i] < low ? 1 : 0;
#pragma omp simd
        for (int64_t i = 0; i < size; ++i)
          flags[i] = static_cast<uint8_t>(static_cast<int>(x[i] >= low) & static_cast<int>(x[i] <= high));
        bracket.below += below;
        std::fill(flags + size, flags + block, uint8_t{0});
        too_many = too_many || bracket.inside.size() > most;
        if (too_many) continue;
        // Few bytes are set: eight at a time are looked at.
        for (size_t word = 0; word < inside.size(); ++word)
          if (inside[word] != 0)
            for (size_t i = 8 * word; i < 8 * word + 8; ++i)
              if (flags[i]) bracket.inside.push_back(x[i]);
      }
#pragma omp critical
    for (size_t i = 0; i < brackets.size(); ++i) {
      brackets[i].below += own[i].below;
      brackets[i].inside.insert(brackets[i].inside.end(), own[i].inside.begin(), own[i].inside.end());
    }
  }
  if (too_many) return std::nullopt;
  std::vector<float> found;
  for (size_t i = 0; i < ranks.size(); ++i) {
    Bracket& bracket = brackets[of_rank[i]];
    const int64_t place = ranks[i] - bracket.below;
    if (place < 0 || place >= std::ssize(bracket.inside)) return std::nullopt;
    std::nth_element(bracket.inside.begin(), bracket.inside.begin() + place, bracket.inside.end());
    found.push_back(bracket.inside[static_cast<size_t>(place)] + 0.0f);  // -0 becomes +0
  }
  return found;
}

// Sum of term(x) in double, added up in blocks of fixed size so that the number of threads does not show.
template <typename Term>
double sum_of(std::span<const float> values, Term term) {
  constexpr int64_t block = 1 << 16;
  const auto count = static_cast<int64_t>(values.size());
  std::vector<double> partial(static_cast<size_t>((count + block - 1) / block));
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < static_cast<int64_t>(partial.size()); ++b) {
    double sum = 0;
    for (int64_t i = b * block; i < std::min(count, (b + 1) * block); ++i)
      sum += term(static_cast<double>(values[static_cast<size_t>(i)]));
    partial[static_cast<size_t>(b)] = sum;
  }
  return std::accumulate(partial.begin(), partial.end(), 0.0);
}

template <typename Map>
void transform(std::span<float> values, Map map) {
  float* data = values.data();
  const auto count = static_cast<int64_t>(values.size());
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) data[i] = map(data[i]);
}

// Counts in the host's memory.
class HostStatistics final : public CountStatistics {
 public:
  explicit HostStatistics(std::span<const float> values) : values_(values) {}
  int64_t count() const override { return std::ssize(values_); }
  std::vector<float> at_ranks(std::span<const int64_t> ranks) const override {
    constexpr size_t few = 16, many = 1 << 20;
    std::optional<std::vector<float>> bracketed;
    if (ranks.size() <= few && values_.size() >= many) bracketed = bracketed_statistics(values_, ranks);
    return bracketed ? *bracketed : order_statistics(values_, ranks);
  }
  double sum() const override {
    return sum_of(values_, [](double x) { return x; });
  }
  double squared_deviations(double mean) const override {
    return sum_of(values_, [mean](double x) { return (x - mean) * (x - mean); });
  }

 private:
  std::span<const float> values_;
};

// A place among the sorted values: so far from rank `below` towards the next.
struct Position {
  int64_t below;
  double fraction;
};

std::vector<double> interpolate(const CountStatistics& values, const std::vector<Position>& positions) {
  expect(values.count() > 0, "percentiles of nothing");
  const int64_t last = values.count() - 1;
  std::vector<int64_t> ranks;
  for (const Position& position : positions) {
    ranks.push_back(position.below);
    ranks.push_back(std::min(position.below + 1, last));
  }
  const std::vector<float> neighbours = values.at_ranks(ranks);
  std::vector<double> result;
  for (size_t i = 0; i < positions.size(); ++i) {
    const double below = neighbours[2 * i], above = neighbours[2 * i + 1];
    result.push_back(below + (above - below) * positions[i].fraction);
  }
  return result;
}

std::vector<double> percentiles_of(const CountStatistics& values, std::span<const double> percents) {
  const auto last = static_cast<double>(values.count() - 1);
  std::vector<Position> positions;
  for (double percent : percents) {
    expect(percent >= 0 && percent <= 100, "percentile outside 0 to 100");
    const double position = percent / 100 * last;
    positions.push_back({static_cast<int64_t>(position), position - std::floor(position)});
  }
  return interpolate(values, positions);
}

}  // namespace

std::vector<double> percentiles(std::span<const float> values, std::span<const double> percents) {
  return percentiles_of(HostStatistics(values), percents);
}

ScalingParameters ScalingParameters::fit(std::span<const float> counts, const PreprocessConfig& config) {
  return fit(HostStatistics(counts), config);
}

ScalingParameters ScalingParameters::fit(const CountStatistics& counts, const PreprocessConfig& config) {
  expect(counts.count() > 0, "scaling of nothing");
  ScalingParameters fitted;
  fitted.method = config.scaling_method;
  switch (config.scaling_method) {
    case Scaling::none:
      return fitted;
    case Scaling::robust_minmax: {
      std::vector<double> limits = percentiles_of(counts, config.percentiles);
      fitted.offset = limits[0];
      fitted.range = limits[1] - limits[0];
      break;
    }
    case Scaling::minmax: {
      std::vector<double> limits = percentiles_of(counts, std::array<double, 2>{0, 100});
      fitted.offset = limits[0];
      fitted.range = limits[1] - limits[0];
      break;
    }
    case Scaling::zscore: {
      const auto n = static_cast<double>(counts.count());
      const double mean = counts.sum() / n;
      fitted.offset = mean;
      fitted.range = std::sqrt(counts.squared_deviations(mean) / n);
      // Of equal counts the rounding of their mean is left.
      if (fitted.range <= 1e-12 * std::abs(mean)) fitted.range = 0;
      break;
    }
    case Scaling::quantile: {
      const int64_t last = counts.count() - 1;
      const int64_t steps = std::clamp<int64_t>(last, 1, 999);
      // In whole numbers: counts are often whole, and a quantile that rounding moves off a run of equal
      // counts would count half of the run elsewhere.
      std::vector<Position> positions;
      for (int64_t i = 0; i <= steps; ++i)
        positions.push_back(
            {i * last / steps, static_cast<double>(i * last % steps) / static_cast<double>(steps)});
      fitted.quantiles = interpolate(counts, positions);
      fitted.range = fitted.quantiles.back() - fitted.quantiles.front();
      break;
    }
  }
  if (!(fitted.range > 0)) {
    bool robust = config.scaling_method == Scaling::robust_minmax;
    throw UserError(
        std::string(robust ? "all counts between preprocess.percentiles are equal" : "all counts are equal") +
        ", so there is nothing to scale by; check the data and data.energy_range");
  }
  if (config.scaling_method == Scaling::quantile) fitted.range = 1;
  return fitted;
}

std::optional<LinearMap> ScalingParameters::linear() const {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  if (method == Scaling::quantile) return std::nullopt;
  if (method == Scaling::none) return LinearMap{0, 1, -infinity, infinity};
  LinearMap map{static_cast<float>(offset), static_cast<float>(1 / range), -infinity, infinity};
  if (method == Scaling::robust_minmax) {
    map.low = 0;
    map.high = 1;
  }
  return map;
}

void ScalingParameters::apply(std::span<float> counts) const {
  if (method == Scaling::none) return;
  if (const std::optional<LinearMap> map = linear()) return transform(counts, *map);
  expect(quantiles.size() >= 2, "quantile scaling without quantiles");
  transform(counts, [q = quantiles.data(), n = std::ssize(quantiles)](float x) {
    return share_below(q, n, static_cast<double>(x));
  });
}

void ScalingParameters::invert(std::span<float> scaled) const {
  const auto zero = static_cast<float>(offset), factor = static_cast<float>(range);
  switch (method) {
    case Scaling::none:
      return;
    case Scaling::robust_minmax:
    case Scaling::minmax:
    case Scaling::zscore:
      return transform(scaled, [=](float x) { return zero + x * factor; });
    case Scaling::quantile:
      expect(quantiles.size() >= 2, "quantile scaling without quantiles");
      return transform(scaled, [this](float x) {
        const auto last = static_cast<double>(quantiles.size() - 1);
        double position = std::clamp(static_cast<double>(x), 0.0, 1.0) * last;
        auto below = static_cast<size_t>(std::min(position, last - 1));
        double fraction = position - static_cast<double>(below);
        return static_cast<float>(quantiles[below] + fraction * (quantiles[below + 1] - quantiles[below]));
      });
  }
}

}  // namespace eelsvae
