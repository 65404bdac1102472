#include "engine/prepare/set_aside.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "engine/image/excluded.h"
#include "engine/short_number.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr double brightest_share = 0.95;
constexpr int64_t saturated_run = 4;  // noise hardly repeats a count exactly, and not the highest one
constexpr double surely = 6;          // standard deviations

double quantile(std::vector<double>& values, double share) {
  const auto place =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

// Absent where no pixel is left to judge.
template <typename Judged>
std::optional<SetAsideLevels> measure_levels(const std::vector<SpectrumTraits>& traits, const Judged& judged,
                                             double least) {
  SetAsideLevels levels{-std::numeric_limits<double>::infinity(), 0};
  std::vector<double> totals;
  for (size_t pixel = 0; pixel < traits.size(); ++pixel) {
    if (!judged(pixel)) continue;
    totals.push_back(traits[pixel].total);
    levels.highest = std::max(levels.highest, traits[pixel].highest);
  }
  if (totals.empty()) return std::nullopt;
  const double brightest = quantile(totals, brightest_share), limit = least * brightest;
  std::vector<double> noises;  // of bright pixels
  for (size_t pixel = 0; pixel < traits.size(); ++pixel)
    if (judged(pixel) && traits[pixel].total >= brightest / 2)
      noises.push_back(std::sqrt(traits[pixel].variance));
  const bool tells = brightest > 0 && brightest - limit > surely * quantile(noises, 0.5);
  if (tells) levels.dark_below = limit;
  return levels;
}

}  // namespace

void SpectrumTraits::add(float counts) {
  if (channels++ == 0) {
    lowest = highest = counts;
  } else {
    const double difference = static_cast<double>(counts - last);
    variance += difference * difference / 2;  // where neighbours are independent
  }
  total += static_cast<double>(counts);
  lowest = std::min(lowest, counts);
  if (counts > highest) {
    highest = counts;
    run_of_highest = false;
    run = 0;
  }
  run = counts == highest ? run + 1 : 0;
  run_of_highest = run_of_highest || run == saturated_run;
  last = counts;
}

void add_traits(std::vector<SpectrumTraits>& traits, const SpectrumImageView& block, int64_t first,
                int64_t columns, ChannelWindow window) {
  expect(0 <= window.first && window.first < window.last && window.last <= block.energy.size,
         "a window beyond the energy axis");
#pragma omp parallel for schedule(static)
  for (int64_t pixel = 0; pixel < block.pixels(); ++pixel) {
    if (!block.excluded.empty() && block.excluded[static_cast<size_t>(pixel)]) continue;
    const int64_t place = first + pixel / block.x.size * columns + pixel % block.x.size;
    SpectrumTraits so_far = traits[static_cast<size_t>(place)];
    const float* spectrum = block.spectrum(pixel);
    for (int64_t e = window.first; e < window.last; ++e) so_far.add(spectrum[e]);
    traits[static_cast<size_t>(place)] = so_far;
  }
}

SetAside set_aside_pixels(SpectrumImage& image, ChannelWindow window, double least,
                          const SetAsideLevels* levels, SetAsideLevels* measured) {
  std::vector<SpectrumTraits> traits(static_cast<size_t>(image.pixels()));
  add_traits(traits, image, 0, image.x.size, window);
  return set_aside_pixels(image.excluded, traits, least, levels, measured);
}

SetAside set_aside_pixels(std::vector<uint8_t>& mask, const std::vector<SpectrumTraits>& traits, double least,
                          const SetAsideLevels* levels, SetAsideLevels* measured) {
  expect(0 <= least && least <= 1, "a share of the brightest counts that is none");
  std::vector<uint8_t> excluded = mask;
  excluded.resize(traits.size());
  // Not to be judged here: what is not finite is refused later.
  auto judged = [&](size_t pixel) { return !excluded[pixel] && std::isfinite(traits[pixel].total); };

  SetAside found;
  for (size_t pixel = 0; pixel < traits.size(); ++pixel)
    if (judged(pixel) && traits[pixel].lowest == traits[pixel].highest) {
      excluded[pixel] = without_counts;
      ++found.constant;
    }
  SetAsideLevels own;
  if (!levels) {
    const std::optional<SetAsideLevels> found_levels = measure_levels(traits, judged, least);
    if (!found_levels) return {};
    own = *found_levels;
    levels = &own;
  }
  if (measured) *measured = *levels;
  int64_t left = 0;
  for (size_t pixel = 0; pixel < traits.size(); ++pixel) {
    if (!judged(pixel)) continue;
    if (traits[pixel].total < levels->dark_below) {
      excluded[pixel] = without_counts;
      ++found.dark;
    } else if (traits[pixel].highest >= levels->highest && traits[pixel].run_of_highest) {
      excluded[pixel] = saturated;
      ++found.saturated;
    } else {
      ++left;
    }
  }
  if ((left == 0 && levels == &own) || found.all() == 0) return {};
  mask = std::move(excluded);
  return found;
}

std::string set_aside_note(const SetAside& found, double least) {
  if (found.all() == 0) return "";
  std::string parts;
  auto add = [&](int64_t count, const std::string& what) {
    if (count == 0) return;
    parts += (parts.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  add(found.dark,
      "with less than " + short_number(100 * least, 3) + " % of the brightest ones' counts (vacuum)");
  add(found.constant, "whose channels are all equal (unscanned or dead)");
  add(found.saturated, "saturated");
  return std::to_string(found.all()) + (found.all() == 1 ? " pixel" : " pixels") + " set aside: " + parts +
         "; they are neither learnt from nor scored (preprocess.set_aside=0 keeps them)";
}

}  // namespace eelsvae
